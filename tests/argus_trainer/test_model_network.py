"""The network and its loss against pytorch-forecasting's own."""

import numpy as np
import pytest
import torch
from pytorch_forecasting.metrics import QuantileLoss
from pytorch_forecasting.models import TemporalFusionTransformer

from argus_contract.spec import ModelSpec
from argus_trainer.data.batch import Batch
from argus_trainer.model.interpolation import interpolate_exactly, interpolation_matrix
from argus_trainer.model.loss import LossParts, batch_loss, quantile_loss
from argus_trainer.model.network import (
    QUANTILES,
    build_network,
    full_state,
    network_arguments,
    own_tensors,
    predict,
)

SMALL = ModelSpec(
    encoder_length=24,
    prediction_length=6,
    hidden_size=8,
    attention_heads=2,
    hidden_continuous_size=4,
    dropout="0.1",
)


def test_the_same_seed_gives_the_same_weights_and_leaves_the_callers_randomness_alone(toy_fleet):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, two, other = (build_network(toy_fleet.reference, SMALL, seed) for seed in (1, 1, 2))

    assert torch.equal(torch.rand(3), expected)
    for name, tensor in own_tensors(one).items():
        assert torch.equal(tensor, own_tensors(two)[name])
    assert any(not torch.equal(t, own_tensors(other)[n]) for n, t in own_tensors(one).items())


def test_a_prediction_has_one_tensor_of_quantiles_per_target(toy_fleet):
    network = build_network(toy_fleet.reference, SMALL, 1)
    predictions = predict(network, toy_fleet.batch([0, 1, 2]).x)
    assert [tuple(p.shape) for p in predictions] == [(3, 6, len(QUANTILES))] * 2


def test_a_network_made_from_the_bundles_arguments_takes_the_full_state_strictly(toy_fleet):
    network = build_network(toy_fleet.reference, SMALL, 1).eval()
    state = full_state(network, own_tensors(network))
    assert len({t.data_ptr() for t in state.values()}) == len(state)

    with pytest.warns(UserWarning, match="already saved during checkpointing"):
        theirs = TemporalFusionTransformer.from_dataset(
            toy_fleet.reference, **network_arguments(SMALL, 2)
        ).eval()
    theirs.load_state_dict(state)
    x = toy_fleet.batch([0, 5]).x
    for ours, other in zip(predict(network, x), predict(theirs, x), strict=True):
        assert torch.equal(ours, other)


def test_the_exact_interpolation_is_that_of_the_stock_network_with_its_gradients(
    toy_fleet, monkeypatch
):
    x = toy_fleet.batch([0, 1, 2]).x
    stock, exact = (build_network(toy_fleet.reference, SMALL, 1).eval() for _ in range(2))
    interpolate_exactly(exact)
    theirs = predict(stock, x)
    sum(p.square().mean() for p in theirs).backward()
    monkeypatch.setattr(torch.nn.functional, "interpolate", None)
    ours = predict(exact, x)
    sum(p.square().mean() for p in ours).backward()

    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    gradient_of = {name: p.grad for name, p in stock.named_parameters() if p.grad is not None}
    found = {name: p.grad for name, p in exact.named_parameters() if p.grad is not None}
    torch.testing.assert_close(found, gradient_of, rtol=1e-3, atol=1e-4)
    assert exact.state_dict().keys() == stock.state_dict().keys()


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (1, 4), (4, 1), (5, 5), (3, 8), (8, 3)])
def test_the_matrix_of_an_interpolation_is_that_of_torch(inputs, outputs):
    x = torch.randn(7, inputs, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    theirs = torch.nn.functional.interpolate(
        x.unsqueeze(1), outputs, mode="linear", align_corners=True
    ).squeeze(1)
    torch.testing.assert_close(x @ interpolation_matrix(inputs, outputs), theirs)


def test_the_unscaled_loss_is_that_of_pytorch_forecasting():
    generator = torch.Generator().manual_seed(3)
    prediction = torch.randn(4, 6, len(QUANTILES), generator=generator)
    target = torch.randn(4, 6, generator=generator)

    torch.testing.assert_close(
        quantile_loss(prediction, target), QuantileLoss().loss(prediction, target)
    )
    batch = _batch(target)
    ours = batch_loss([prediction], batch).mean(torch.ones(1))
    torch.testing.assert_close(ours, QuantileLoss()(prediction, target))


def test_a_loss_counts_alike_for_a_server_of_any_spread():
    prediction, target = torch.zeros(1, 6, len(QUANTILES)), torch.ones(1, 6)
    small = batch_loss([prediction], _batch(target, spread=1.0))
    large = batch_loss([prediction * 50], _batch(target * 50, spread=50.0))
    torch.testing.assert_close(small.loss_of_target, large.loss_of_target)


def test_a_masked_step_changes_nothing_even_when_it_holds_nan():
    target = torch.ones(1, 6)
    weight = torch.ones(1, 6)
    weight[0, 2] = 0
    prediction = torch.zeros(1, 6, len(QUANTILES), requires_grad=True)
    whole = batch_loss([prediction], _batch(target, weight=weight)).mean(torch.ones(1))
    target[0, 2] = float("nan")
    masked = batch_loss([prediction], _batch(target, weight=weight)).mean(torch.ones(1))
    masked.backward()

    assert float(masked.detach()) == float(whole.detach())
    assert torch.isfinite(prediction.grad).all()
    assert (prediction.grad[0, 2] == 0).all()


def test_a_batch_without_any_seen_step_has_loss_zero():
    loss = batch_loss(
        [torch.zeros(1, 6, len(QUANTILES))], _batch(torch.ones(1, 6), weight=torch.zeros(1, 6))
    )
    assert float(loss.mean(torch.ones(1))) == 0.0


def test_targets_count_by_their_relative_weight():
    parts = LossParts(
        loss_of_target=torch.tensor([4.0, 8.0]), weight_of_target=torch.tensor([2.0, 2.0])
    )
    assert float(parts.mean(torch.tensor([1.0, 1.0]))) == 3.0
    assert float(parts.mean(torch.tensor([3.0, 1.0]))) == 2.5
    assert float(parts.mean(torch.tensor([6.0, 2.0]))) == 2.5


def _batch(target, *, spread=1.0, weight=None):
    return Batch(
        x={},
        y=[target],
        spread=torch.full((1, len(target)), spread),
        weight=torch.ones_like(target) if weight is None else weight,
        window_ids=np.arange(len(target)),
    )
