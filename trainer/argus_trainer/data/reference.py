"""pytorch-forecasting's own TimeSeriesDataSet with the scalers and vocabulary of our pass.

It makes the pickle of a bundle, tells the stock model its shape, and is the oracle of the
tests; no batch of a training comes from it. Everything in it is of stock classes: a process
that knows nothing of Argus loads it. The inverse softplus of the targets is clipped at their
resolution by a chain of stock callables for the same reason.
"""

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from pytorch_forecasting import TimeSeriesDataSet
from pytorch_forecasting.data.encoders import (
    GroupNormalizer,
    MultiNormalizer,
    NaNLabelEncoder,
    SoftplusTransform,
    softplus_inv,
)
from sklearn.preprocessing import StandardScaler
from torch.distributions.transforms import ComposeTransform

from argus_contract.plan import Scaler, Statistics, TargetStatistics
from argus_contract.spec import ModelSpec
from argus_trainer.data.frame import TIME
from argus_trainer.data.inputs import RELATIVE_TIME, Inputs, static_scalers
from argus_trainer.data.schema import PROFILE, SERVER, STATUS
from argus_trainer.data.servers import profile_names


def fitted_dataset(
    statistics: Statistics, model: ModelSpec, frame: pd.DataFrame
) -> TimeSeriesDataSet:
    """Returns the stock dataset over `frame` (columns of `frame_columns`), fitted by us alone."""
    inputs = Inputs.of(statistics)
    normalizers = [_normalizer(target, statistics) for target in statistics.targets]
    several = len(normalizers) > 1
    together = MultiNormalizer(normalizers)
    together.fitted_ = True  # or the stock class fits all of them again
    return TimeSeriesDataSet(
        frame.copy(),
        time_idx=TIME,
        target=list(inputs.targets) if several else inputs.targets[0],
        group_ids=[SERVER],
        max_encoder_length=model.encoder_length,
        min_encoder_length=model.encoder_length,
        max_prediction_length=model.prediction_length,
        min_prediction_length=model.prediction_length,
        # Not the frame's own: a consumer's data may lie before it.
        min_prediction_idx=0,
        static_categoricals=[PROFILE],
        static_reals=[],
        time_varying_known_categoricals=[],
        time_varying_known_reals=list(inputs.calendar),
        time_varying_unknown_categoricals=[STATUS] if inputs.has_status else [],
        time_varying_unknown_reals=list(inputs.metrics),
        allow_missing_timesteps=True,
        add_relative_time_idx=True,
        add_target_scales=True,
        add_encoder_length=False,
        target_normalizer=together if several else normalizers[0],
        categorical_encoders=_encoders(statistics),
        scalers=_scalers(statistics),
    )


def _encoders(statistics: Statistics) -> dict[str, NaNLabelEncoder]:
    """Returns encoders with our codes; 0 is what training never saw."""
    encoders = {
        PROFILE: _encoder(profile_names(statistics)),
        SERVER: _encoder(statistics.servers),
        # The stock class tells series apart by an encoder of its own, which also looks up the
        # scales of a server: both must give the same codes.
        f"__group_id__{SERVER}": _encoder(statistics.servers),
    }
    if statistics.states:
        encoders[STATUS] = _encoder(statistics.states)
    return encoders


def _encoder(values: "tuple[str, ...] | list[str]") -> NaNLabelEncoder:
    encoder = NaNLabelEncoder(add_nan=True)
    encoder.classes_ = {name: code for code, name in enumerate(("nan", *values))}
    encoder.classes_vector_ = np.array(list(encoder.classes_))
    return encoder


def _scalers(statistics: Statistics) -> dict[str, StandardScaler]:
    scalers = {feature.name: feature.scaler for feature in statistics.features}
    scalers |= static_scalers(statistics)
    # The stock class overwrites the relative time after scaling it.
    scalers[RELATIVE_TIME] = Scaler(center=0.0, scale=1.0)
    return {name: _standard(name, scaler) for name, scaler in scalers.items()}


def _standard(name: str, scaler: Scaler) -> StandardScaler:
    standard = StandardScaler()
    standard.mean_ = np.array([scaler.center])
    standard.scale_ = np.array([scaler.scale])
    standard.var_ = standard.scale_**2
    standard.n_features_in_ = 1
    standard.feature_names_in_ = np.array([name], dtype=object)
    standard.n_samples_seen_ = 1
    return standard


def _normalizer(target: TargetStatistics, statistics: Statistics) -> GroupNormalizer:
    # A chain calls its parts in turn; it takes any callable, whatever its annotation says.
    steps: list[Any] = [partial(torch.clamp, min=target.resolution), softplus_inv]
    normalizer = GroupNormalizer(
        groups=[SERVER],
        transformation={
            "forward": ComposeTransform(steps),
            "reverse": F.softplus,
            "inverse_torch": SoftplusTransform(),
        },
    )
    codes = pd.Index(range(1, len(statistics.servers) + 1), name=SERVER)
    normalizer.norm_ = pd.DataFrame(
        [(scaler.center, scaler.scale) for scaler in target.servers],
        # Not pandas' own text type: it would put pyarrow and a pandas version into the pickle.
        columns=pd.Index(["center", "scale"], dtype=object),
        index=codes,
    )
    normalizer.missing_ = {"center": target.fleet.center, "scale": target.fleet.scale}
    return normalizer
