"""A run's plan is made once, whoever is first."""

from datetime import UTC, datetime

import pytest

from argus_contract.plan import Plan, Split, TimeWindow
from argus_trainer.checkpoints.run import RunStore
from argus_trainer.errors import ConfigurationError, DataError

MONTH = TimeWindow(start=datetime(2026, 1, 1, tzinfo=UTC), end=datetime(2026, 2, 1, tzinfo=UTC))


def plan_of(maker: str) -> Plan:
    return Plan(
        run_key="k",
        created_at=datetime(2026, 1, 31, 10, 0, 0, 123456, tzinfo=UTC),
        data_uri="s3://metrics",
        window=MONTH,
        objects=(),
        manifest_digest="0",
        split=Split(train_end=0, validation_end=0),
        image=maker,
        seed=42,
        block_chunks=1,
        mix_width=1,
        bundle_name="tft_model_20260131_100000",
        configuration_digest="0",
    )


def test_the_plan_is_made_once_and_read_ever_after(store_at):
    run = RunStore(store_at("run"))
    first = run.plan_or(lambda: plan_of("first"))
    assert first.image == "first"
    assert run.plan_or(lambda: pytest.fail("a plan stands: no other is made")) == first


def test_the_loser_of_the_race_for_the_plan_goes_on_with_the_winners(store_at):
    winner, loser = RunStore(store_at("run")), RunStore(store_at("run"))

    def slowly() -> Plan:
        winner.plan_or(lambda: plan_of("winner"))
        return plan_of("loser")

    assert loser.plan_or(slowly).image == "winner"
    assert winner.plan_or(slowly) == loser.plan_or(slowly)


def test_a_plan_of_another_contract_version_is_refused_with_the_way_out(tmp_path, store_at):
    store = store_at("run")
    store.put_new("plan.json", b'{"contractVersion": 99, "unknownField": true}')
    with pytest.raises(ConfigurationError, match=r"99.*image that began the run"):
        RunStore(store).plan_or(lambda: plan_of("never"))


@pytest.mark.parametrize("damaged", [b"", b"\x00\x01", b'{"contractVersion": 1, "seed": 1}'])
def test_a_damaged_plan_is_refused_and_never_replaced(store_at, damaged):
    store = store_at("run")
    store.put_new("plan.json", damaged)
    with pytest.raises(DataError, match=r"plan\.json"):
        RunStore(store).plan_or(lambda: plan_of("never"))
    assert store.get("plan.json") == damaged
