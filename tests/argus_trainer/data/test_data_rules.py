"""`data.columns`, `data.servers` and `data.timeZone`: a user's files in Argus's words."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from argus_contract.data_spec import DataRules
from argus_trainer.data.decode import ChunkFile, Columns
from argus_trainer.data.rules import Rules
from argus_trainer.data.schema import calendar, measured_inputs
from argus_trainer.errors import ConfigurationError, DataError

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def rules_of(**fields: object) -> Rules:
    return Rules.of(DataRules.model_validate(fields))


def file_of(rules: Rules, **columns: object) -> ChunkFile:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return ChunkFile("bucket/chunk", sink.getvalue().to_pybytes(), rules)


def read(rules: Rules, metrics: list[str], **columns: object) -> Columns:
    return file_of(rules, **columns).columns(metrics, status=False, profile=False)


class TestColumns:
    OWN = (
        {"name": "timestamp", "from": "when"},
        {"name": "server_name", "from": "host.name"},
        {"name": "status", "from": "state"},
        {"name": "mem_used_pct", "from": "memory ratio", "factor": "100"},
        {"name": "gpu_util", "factor": "0.1"},
    )

    def test_own_names_and_units_become_those_of_argus(self) -> None:
        rules = rules_of(columns=self.OWN)
        file = file_of(
            rules,
            when=[NOON, NOON],
            **{"host.name": ["a", "b"], "memory ratio": [0.5, 0.07]},
            state=["idle", None],
            gpu_util=[30.0, 7.0],
        )
        present = file.present()
        assert set(present.numeric) == {"mem_used_pct", "gpu_util"}
        assert (present.has_status, present.has_profile) == (True, False)
        columns = file.columns(["gpu_util", "mem_used_pct"], status=True, profile=False)
        assert columns.values.tolist() == [[30.0 * 0.1, 0.5 * 100.0], [7.0 * 0.1, 0.07 * 100.0]]
        assert columns.status is not None
        assert columns.status.values == ("idle",)

    def test_a_metric_of_ones_own_is_an_input_when_it_is_listed(self) -> None:
        rules = rules_of(columns=self.OWN)
        there = ("gpu_util", "mem_used_pct", "fan_rpm", "cpu_user_pct")
        assert measured_inputs(there, ["cpu_user_pct"], rules.metrics) == (
            "mem_used_pct",
            "gpu_util",
        )

    def test_names_can_be_exchanged(self) -> None:
        rules = rules_of(
            columns=[
                {"name": "net_in_mb_s", "from": "net_out_mb_s"},
                {"name": "net_out_mb_s", "from": "net_in_mb_s"},
            ]
        )
        columns = read(
            rules,
            ["net_in_mb_s", "net_out_mb_s"],
            timestamp=[NOON],
            server_name=["a"],
            net_in_mb_s=[1.0],
            net_out_mb_s=[2.0],
        )
        assert columns.values.tolist() == [[2.0, 1.0]]

    def test_two_columns_of_one_name_are_both_named(self) -> None:
        rules = rules_of(columns=[{"name": "mem_used_pct", "from": "memory"}])
        with pytest.raises(DataError, match=r"data.columns makes memory mem_used_pct, and a"):
            file_of(rules, memory=[1.0], mem_used_pct=[2.0]).present()

    def test_a_source_that_is_missing_is_named_with_what_it_is_for(self) -> None:
        rules = rules_of(columns=[{"name": "mem_used_pct", "from": "memory"}])
        with pytest.raises(
            DataError, match=r"no column memory, which data.columns makes mem_used_pct; it has mem"
        ):
            file_of(rules, mem=[1.0]).present()

    def test_a_value_that_grows_beyond_numbers_is_none(self) -> None:
        rules = rules_of(columns=[{"name": "load_average", "factor": "1000"}])
        columns = read(
            rules, ["load_average"], timestamp=[NOON], server_name=["a"], load_average=[1e306]
        )
        assert np.isnan(columns.values).all()
        assert columns.not_finite == 1

    @pytest.mark.parametrize(
        ("column", "message"),
        [
            ({"name": "hour"}, "hour is an input that Argus makes"),
            ({"name": "time_idx"}, "time_idx is an input that Argus makes"),
        ],
    )
    def test_what_a_column_cannot_be_is_refused(self, column, message) -> None:
        with pytest.raises(ConfigurationError, match=message):
            rules_of(columns=[column])


class TestServers:
    @pytest.mark.parametrize(
        ("servers", "chosen"),
        [
            ({}, {"web-1", "web-2-canary", "db-1", "WEB-3"}),
            ({"include": ["web-*"]}, {"web-1", "web-2-canary"}),
            ({"exclude": ["*-canary", "db-?"]}, {"web-1", "WEB-3"}),
            ({"include": ["web-*", "db-[0-9]"], "exclude": ["*-canary"]}, {"web-1", "db-1"}),
        ],
    )
    def test_servers_are_chosen_by_patterns(self, servers, chosen) -> None:
        names = ["web-1", "web-2-canary", "db-1", "WEB-3", "web-1"]
        columns = read(
            rules_of(servers=servers),
            ["load_average"],
            timestamp=[NOON] * 5,
            server_name=names,
            load_average=[0.0, 1.0, 2.0, 3.0, 4.0],
        )
        kept = [index for index, name in enumerate(names) if name in chosen]
        assert columns.values[:, 0].tolist() == kept
        assert [columns.servers.values[c] for c in columns.servers.codes] == [
            names[index] for index in kept
        ]
        assert columns.not_chosen == 5 - len(kept)


class TestTimeZone:
    def test_an_unknown_zone_is_refused_with_an_example(self) -> None:
        with pytest.raises(
            ConfigurationError, match=r"data.timeZone Europe/Atlantis is unknown.*Europe/Berlin"
        ):
            rules_of(timeZone="Europe/Atlantis")

    @given(
        st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe"]),
        st.lists(
            st.datetimes(datetime(1990, 1, 1), datetime(2037, 12, 31)), min_size=1, max_size=20
        ),
        st.sampled_from([60, 300, 3_600]),
    )
    def test_the_calendar_is_that_of_a_clock_on_the_wall(self, zone, times, cadence) -> None:
        steps = np.array([int(t.replace(tzinfo=UTC).timestamp()) // cadence for t in times])
        local = [datetime.fromtimestamp(step * cadence, ZoneInfo(zone)) for step in steps.tolist()]
        for name, told in {
            "hour": [t.hour for t in local],
            "day_of_week": [t.weekday() for t in local],
            "is_weekend": [float(t.weekday() >= 5) for t in local],
            "month": [t.month for t in local],
        }.items():
            assert calendar(steps, cadence, name, zone).tolist() == told

    def test_a_day_in_autumn_has_25_hours(self) -> None:
        start = int(datetime(2026, 10, 24, 22, tzinfo=UTC).timestamp()) // 1_800
        hours = calendar(np.arange(start, start + 50), 1_800, "hour", "Europe/Berlin")
        assert hours.tolist() == np.repeat([0, 1, 2, 2, *range(3, 24)], 2).tolist()

    def test_a_day_in_spring_has_23_hours(self) -> None:
        start = int(datetime(2026, 3, 28, 23, tzinfo=UTC).timestamp()) // 1_800
        hours = calendar(np.arange(start, start + 46), 1_800, "hour", "Europe/Berlin")
        assert hours.tolist() == np.repeat([0, 1, *range(3, 24)], 2).tolist()
        days = calendar(np.arange(start, start + 48), 1_800, "day_of_week", "Europe/Berlin")
        assert days.tolist() == [6] * 46 + [0] * 2

    @pytest.mark.parametrize("clock", ["zone", "offset", "none"])
    @pytest.mark.parametrize("noon", ["2026-03-28T12:00Z", "2026-10-24T12:00Z"])
    def test_rows_of_a_day_that_switches_are_as_many_as_it_has_steps(
        self, run_over, rows, write, clock, noon
    ) -> None:
        """Whether clocks tell the zone, an offset, or nothing and mean UTC."""
        frame = rows(servers=["a"])
        frame["timestamp"] += pd.Timestamp(noon) - frame["timestamp"].min()
        utc = frame["timestamp"]
        folder = write(frame)
        for path in sorted(folder.glob("*/*.parquet")):
            inside = pd.read_parquet(path)["timestamp"].astype("int64").to_numpy()
            part = frame[utc.astype("int64").isin(inside)]
            told = {
                "zone": part["timestamp"].dt.tz_convert("Europe/Berlin"),
                "offset": part["timestamp"].dt.tz_convert("Europe/Berlin").map(str),
                "none": part["timestamp"].dt.tz_localize(None),
            }[clock]
            part.assign(timestamp=told).to_parquet(path, index=False)
        (folder / "server_metrics_partitioned/chunk_manifest.json").unlink()
        run = run_over(folder, rules_of_data={"time_zone": "Europe/Berlin"}).prepare()
        assert run.statistics.rows == 14 * 12
        assert run.statistics.notes == ()
        windows = sum(block.windows for block in run.statistics.training_blocks)
        assert windows == 14 * 12 - 8

    def test_blocks_and_frames_tell_the_same_local_hours(self, run_over, rows, write) -> None:
        frame = rows()
        frame["timestamp"] = frame["timestamp"] + pd.Timedelta(hours=636)  # to noon of the 28th
        run = run_over(write(frame), rules_of_data={"time_zone": "Europe/Berlin"}).prepare()
        assert run.statistics.time_zone == "Europe/Berlin"
        dataset = run.dataset()
        at = [feature.name for feature in run.statistics.features].index("hour")
        scaler = run.statistics.features[at].scaler
        seen = set()
        for batch in dataset.training_batches(0):
            window = int(batch.window_ids[0])
            told = dataset.frame(window)["hour"].to_numpy()
            row = batch.x["encoder_cont"][0, :, 2 * len(run.targets) + at].numpy()
            ours = np.rint(row * scaler.scale + scaler.center)
            assert ours.tolist() == told[: len(ours)].tolist()
            first = datetime.fromtimestamp(dataset.frame(window)["time_idx"].iloc[0] * 600, UTC)
            assert told[0] == first.astimezone(ZoneInfo("Europe/Berlin")).hour
            seen.add(first.astimezone(ZoneInfo("Europe/Berlin")).utcoffset())
        assert seen == {timedelta(hours=1), timedelta(hours=2)}
