"""What training must not see moves nothing, and what it never saw has the scale of the fleet."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

TRAINING_HOURS = 28
METRICS = ["cpu_user_pct", "mem_used_pct", "load_average"]


def late_rows(frame: pd.DataFrame) -> pd.Series:
    """Returns the rows of validation and holdout."""
    begin = frame["timestamp"].min() + pd.Timedelta(hours=TRAINING_HOURS)
    return frame["timestamp"] >= begin


@settings(
    max_examples=8,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking files takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_no_later_row_moves_a_scaler_or_reaches_a_training_window(
    rows, run_over, write_to, tmp_path_factory, data: st.DataObject
) -> None:
    frame = rows(status=True, seed=data.draw(st.integers(0, 999), "seed"))
    late = late_rows(frame)
    rng = np.random.default_rng(data.draw(st.integers(0, 999), "change"))
    changed = frame.copy()
    changed.loc[late, METRICS] = rng.lognormal(0, 6, (int(late.sum()), len(METRICS)))
    changed.loc[late & (rng.random(len(frame)) < 0.3), "mem_used_pct"] = np.nan
    changed.loc[late, "status"] = rng.choice(["healthy", "broken", "on fire"], int(late.sum()))
    runs = [
        run_over(write_to(rows_of_run, tmp_path_factory.mktemp("rows"))).prepare()
        for rows_of_run in (frame, changed)
    ]
    a, b = (run.statistics.model_copy(update={"plan_digest": "", "notes": ()}) for run in runs)
    assert a == b
    assert all("validation part that training never saw" in n for n in runs[1].statistics.notes)
    for ours, theirs in zip(*(run.dataset().training_batches(0) for run in runs), strict=True):
        assert (ours.window_ids == theirs.window_ids).all()
        for key, value in ours.x.items():
            pairs = zip(
                *(v if isinstance(v, list) else [v] for v in (value, theirs.x[key])), strict=True
            )
            assert all(torch.equal(one, other) for one, other in pairs), key
        assert all(torch.equal(y, other) for y, other in zip(ours.y, theirs.y, strict=True))


def test_a_server_of_validation_alone_has_the_scale_of_the_fleet(prepared, rows) -> None:
    frame = rows(servers=["ppdb1", "ppweb1", "srv1"])
    late = frame[late_rows(frame)]
    newcomers = [
        late[late["server_name"] == "srv1"].assign(server_name=name) for name in ("ppdb9", "aaa")
    ]
    run = prepared(pd.concat([frame, *newcomers]))
    statistics = run.statistics
    assert statistics.servers == ("ppdb1", "ppweb1", "srv1")
    assert statistics.unseen_servers == ("aaa", "ppdb9")
    assert statistics.notes == (
        "2 servers of the validation part (96 rows) that training never saw: they have the "
        "fleet's scale",
    )
    (target,) = statistics.targets
    found = set()
    for batch in run.dataset().validation_batches():
        codes = batch.window_ids >> 40
        for row in np.flatnonzero(codes >= 3):
            found.add(int(codes[row]))
            scale = torch.tensor([target.fleet.center, target.fleet.scale])
            assert torch.equal(batch.x["target_scale"][row], scale)
            assert batch.spread[0, row] == np.float32(target.fleet_spread)
            assert batch.x["groups"][row] == codes[row] + 2
            # aaa is generic as srv1, ppdb9 a database as ppdb1: sorted, database is 1.
            profile = {3: 2, 4: 1}[int(codes[row])]
            assert (batch.x["encoder_cat"][row, :, 0] == profile).all()
    assert found == {3, 4}
    (*_, batch) = run.dataset().training_batches(0)
    assert (batch.window_ids >> 40 < 3).all()


@pytest.mark.parametrize("profile", ["known", "unknown"])
def test_a_profile_that_training_never_saw_is_unknown(prepared, rows, profile) -> None:
    frame = rows(servers=["ppweb1", "srv1"])
    newcomer = {"known": "ppweb7", "unknown": "ppml7"}[profile]
    late = frame[late_rows(frame) & (frame["server_name"] == "srv1")]
    run = prepared(pd.concat([frame, late.assign(server_name=newcomer)]))
    (*_, batch) = run.dataset().validation_batches()
    of_newcomer = batch.window_ids >> 40 == 2
    assert of_newcomer.any()
    code = {"known": 2, "unknown": 0}[profile]
    assert (batch.x["decoder_cat"][of_newcomer][:, :, 0] == code).all()
