"""A file becomes columns: clocks, names, units and types of any kind, in pieces of any size."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from argus_contract.data_spec import DataRules
from argus_trainer.data import decode
from argus_trainer.data.decode import ChunkFile, Columns
from argus_trainer.data.labels import labels
from argus_trainer.data.rules import Rules
from argus_trainer.errors import DataError

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
NOON_MICROS = int(NOON.timestamp()) * 1_000_000
MINUTE = 60_000_000
PLAIN = Rules.of(DataRules())


def parquet(columns: dict[str, object] | pa.Table, **options: object) -> bytes:
    table = columns if isinstance(columns, pa.Table) else pa.table(columns)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **options)
    return sink.getvalue().to_pybytes()


def three_rows(**columns: object) -> dict[str, object]:
    rows = {
        "timestamp": [NOON + timedelta(minutes=minute) for minute in range(3)],
        "server_name": ["a", "b", "a"],
        "cpu_user_pct": [1.0, 2.0, 3.0],
    }
    return rows | columns


def read(
    columns: dict[str, object] | pa.Table,
    metrics: tuple[str, ...] = ("cpu_user_pct",),
    rules: Rules = PLAIN,
    **labels: bool,
) -> Columns:
    chosen = {"status": False, "profile": False} | labels
    return ChunkFile("bucket/chunk", parquet(columns), rules).columns(metrics, **chosen)


def names(columns: Columns) -> list[str]:
    return [columns.servers.values[code] for code in columns.servers.codes]


BERLIN = timezone(timedelta(hours=1))
CLOCKS: dict[str, object] = {
    "seconds": pa.array([1_772_452_800, 1_772_452_860, 1_772_452_920]),
    "seconds in 32 bits": pa.array([1_772_452_800, 1_772_452_860, 1_772_452_920], pa.int32()),
    "milliseconds": pa.array([1_772_452_800_000, 1_772_452_860_000, 1_772_452_920_000]),
    "microseconds": pa.array([NOON_MICROS + MINUTE * i for i in range(3)], pa.uint64()),
    "nanoseconds": pa.array([(NOON_MICROS + MINUTE * i) * 1_000 for i in range(3)]),
    "seconds as floats": pa.array([1_772_452_800.0, 1_772_452_860.0, 1_772_452_920.0]),
    "milliseconds as floats": pa.array([1_772_452_800e3, 1_772_452_860e3, 1_772_452_920e3]),
    "microseconds as floats": pa.array([float(NOON_MICROS + MINUTE * i) for i in range(3)]),
    "nanoseconds as floats": pa.array([(NOON_MICROS + MINUTE * i) * 1e3 for i in range(3)]),
    "timestamp[s]": pa.array([1_772_452_800, 1_772_452_860, 1_772_452_920], pa.timestamp("s")),
    "timestamp[ns] of a zone": pa.array(
        [(NOON_MICROS + MINUTE * i) * 1_000 for i in range(3)], pa.timestamp("ns", "Asia/Tokyo")
    ),
    "text in UTC": ["2026-03-02T12:00:00", "2026-03-02 12:01:00", "2026-03-02T12:02"],
    "text with offsets": [
        "2026-03-02T12:00:00Z",
        "2026-03-02T13:01:00+01:00",
        "2026-03-02 07:02:00.000-0500",
    ],
    "text with and without": ["2026-03-02T12:00Z", "2026-03-02T12:01", "2026-03-02T13:02+01"],
    "repeated text": pa.array(
        ["2026-03-02T12:00Z", "2026-03-02T12:01Z", "2026-03-02T12:02Z"]
    ).dictionary_encode(),
    "long text": pa.array(
        ["2026-03-02T12:00Z", "2026-03-02T12:01Z", "2026-03-02T12:02Z"], pa.large_string()
    ),
}


@pytest.mark.parametrize("clock", CLOCKS.values(), ids=CLOCKS)
def test_every_clock_names_the_same_instants(clock: object) -> None:
    columns = read(three_rows(timestamp=clock))
    assert columns.micros.tolist() == [NOON_MICROS + MINUTE * i for i in range(3)]


def test_fractions_of_a_second_are_kept_to_the_microsecond() -> None:
    instant = pa.array([(NOON_MICROS + 7) * 1_000 + 999] * 3, pa.timestamp("ns"))
    assert set(read(three_rows(timestamp=instant)).micros.tolist()) == {NOON_MICROS + 7}


def test_fractions_of_floats_are_kept_to_the_microsecond() -> None:
    micros = NOON_MICROS + np.arange(0, 10**6, 997)
    found = read({"timestamp": micros / 1e6, "server_name": ["a"] * len(micros)}, ()).micros
    assert found.tolist() == micros.tolist()


def test_a_float_clock_without_a_number_is_no_time() -> None:
    clock = pa.array([1_772_452_800.0, float("nan"), None])
    columns = read(three_rows(timestamp=clock))
    assert (columns.micros.tolist(), columns.without_time) == ([NOON_MICROS], 2)


NO_CLOCKS: dict[str, tuple[object, str]] = {
    "two units": (pa.array([1_772_452_800, 1_772_452_860_000, 1]), "numbers from 1 to"),
    "two units with fractions": (pa.array([1.5, 1_772_452_860.5, 2e12]), "numbers from 1.5 to"),
    "days": (pa.array([20_514, 20_514, 20_515]), "not all are seconds"),
    "coarse": (pa.array([1_772_452_800.0] * 3, pa.float32()), "is float: a time is a timestamp"),
    "words": (["noon", "one", "two"], "a text that is no time"),
    "truth": (pa.array([True] * 3), "is bool: a time is a timestamp"),
}


@pytest.mark.parametrize(("clock", "message"), NO_CLOCKS.values(), ids=NO_CLOCKS)
def test_what_is_no_clock_is_named(clock: object, message: str) -> None:
    with pytest.raises(DataError, match=f"bucket/chunk: column timestamp .*{message}"):
        read(three_rows(timestamp=clock))


NUMBERS: dict[str, object] = {
    "decimal128": pa.array([1, 2, 3], pa.decimal128(10, 4)),
    "int8": pa.array([1, 2, 3], pa.int8()),
    "uint64": pa.array([1, 2, 3], pa.uint64()),
    "float16": pa.array(np.array([1, 2, 3], dtype=np.float16)),
    "float32": pa.array([1, 2, 3], pa.float32()),
}


@pytest.mark.parametrize("numbers", NUMBERS.values(), ids=NUMBERS)
def test_metrics_of_every_numeric_type_are_read(numbers: object) -> None:
    rows = three_rows(cpu_user_pct=numbers)
    assert ChunkFile("x", parquet(rows), PLAIN).present().numeric == ("cpu_user_pct",)
    assert read(rows).values[:, 0].tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("kind", "number"),
    [(pa.int64(), 2**53 + 1), (pa.int64(), -(2**63)), (pa.uint64(), 2**64 - 1)],
    ids=["one above 2**53", "the least int64", "the largest uint64"],
)
def test_whole_numbers_beyond_float64_are_rounded_to_it(kind: pa.DataType, number: int) -> None:
    rows = three_rows(cpu_user_pct=pa.array([number, 1, None], kind))
    columns = read(rows)
    np.testing.assert_array_equal(columns.values[:, 0], [float(number), 1.0, np.nan])
    assert columns.not_finite == 0


def test_truth_is_one_and_an_empty_column_has_no_value() -> None:
    rows = three_rows(cpu_user_pct=[True, False, None], mem_used_pct=pa.nulls(3))
    assert ChunkFile("x", parquet(rows), PLAIN).present().numeric == (
        "cpu_user_pct",
        "mem_used_pct",
    )
    columns = read(rows, ("cpu_user_pct", "mem_used_pct"))
    np.testing.assert_array_equal(columns.values[:, 0], [1.0, 0.0, np.nan])
    assert np.isnan(columns.values[:, 1]).all()
    assert columns.not_finite == 0


@pytest.mark.parametrize(
    "texts",
    [
        pa.array(["a", "b", "a"]).dictionary_encode(),
        pa.array(["a", "b", "a"], pa.large_string()),
        pa.array([b"a", b"b", b"a"]),
        pa.DictionaryArray.from_arrays(pa.array([0, 1, 2]), pa.array(["a", "b", "a"])),
    ],
    ids=["dictionary", "large_string", "binary", "dictionary that repeats"],
)
def test_text_of_every_type_is_a_label(texts: object) -> None:
    columns = read(three_rows(server_name=texts, status=texts), status=True)
    assert names(columns) == ["a", "b", "a"]
    assert sorted(columns.servers.values) == ["a", "b"]
    assert columns.status is not None
    assert columns.status.codes.tolist() == columns.servers.codes.tolist()


def test_a_dictionary_that_repeats_a_name_has_it_once() -> None:
    array = pa.DictionaryArray.from_arrays(pa.array([0, 1, 2, None]), pa.array(["a", "b", "a"]))
    found = labels(pa.chunked_array([array]), "x")
    assert (found.values, found.codes.tolist()) == (("a", "b"), [0, 1, 0, -1])


def test_whole_numbers_are_labels_too() -> None:
    assert names(read(three_rows(server_name=[7, 8, 7]))) == ["7", "8", "7"]


@given(st.lists(st.text(min_size=1), min_size=3, max_size=3))
def test_a_name_of_any_characters_stays_intact(texts: list[str]) -> None:
    sound = [text if "\0" not in text and text != "nan" else "x" for text in texts]
    sound = [text.encode("utf-8", "replace").decode() for text in sound]
    assert names(read(three_rows(server_name=sound))) == sound


def test_a_name_of_ten_kilobytes_stays_intact() -> None:
    long = "sërver/\n" * 1_250
    assert names(read(three_rows(server_name=[long, "b", long]))) == [long, "b", long]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["a\0b", "b", "b"], "NUL"),
        (["x" * 70_000, "b", "b"], "70000 bytes"),
        (pa.array([b"\xff", b"b", b"b"]), "no UTF-8"),
        ([1.5, 2.5, 3.5], "is double: a label is text"),
        ([["a"], ["b"], ["c"]], "a label is text"),
    ],
)
def test_what_is_no_name_is_named(texts: object, message: str) -> None:
    with pytest.raises(DataError, match=f"bucket/chunk: column server_name .*{message}"):
        read(three_rows(server_name=texts))


def test_rows_without_a_time_or_a_name_are_left_out_and_counted() -> None:
    times = [NOON, None, None, NOON, NOON, NOON]
    servers = ["a", "a", None, None, "", "nan"]
    columns = read(
        {"timestamp": times, "server_name": servers, "cpu_user_pct": [1.0, 2, 3, 4, 5, 6]}
    )
    assert (columns.without_time, columns.without_server) == (2, 3)
    assert names(columns) == ["a"]
    assert columns.values.tolist() == [[1.0]]


def test_what_is_no_number_is_no_value_and_counted() -> None:
    columns = read(three_rows(cpu_user_pct=[float("nan"), float("-inf"), None]))
    assert np.isnan(columns.values).all()
    assert columns.not_finite == 2


def test_a_file_without_rows_has_none() -> None:
    table = pa.table(three_rows()).slice(0, 0)
    columns = read(table, status=False)
    assert columns.values.shape == (0, 1)
    assert len(columns.micros) == len(columns.servers.codes) == 0


WRONG: dict[str, tuple[Callable[[], pa.Table], str]] = {
    "text": (
        lambda: pa.table(three_rows(cpu_user_pct=["1", "2", "3"])),
        "bucket/chunk: column cpu_user_pct is string, and cpu_user_pct is a metric",
    ),
    "nested": (
        lambda: pa.table(three_rows(cpu_user_pct=[[1.0], [2.0], [3.0]])),
        "column cpu_user_pct is list<.*and cpu_user_pct is a metric",
    ),
    "twice": (
        lambda: pa.table(
            [*pa.table(three_rows()).columns, pa.array([1.0, 2.0, 3.0])],
            names=["timestamp", "server_name", "cpu_user_pct", "cpu_user_pct"],
        ),
        "bucket/chunk has column cpu_user_pct twice: rename one of them",
    ),
    "missing": (
        lambda: pa.table(three_rows()).drop_columns("cpu_user_pct"),
        "bucket/chunk has no column cpu_user_pct; it has timestamp, server_name",
    ),
}


@pytest.mark.parametrize(("table", "message"), WRONG.values(), ids=WRONG)
def test_a_column_that_cannot_be_read_is_named(table: Callable[[], pa.Table], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(table())


def test_a_metric_of_the_guide_that_is_text_is_not_passed_over() -> None:
    file = ChunkFile("bucket/chunk", parquet(three_rows(mem_used_pct=["1", "2", "3"])), PLAIN)
    with pytest.raises(DataError, match="column mem_used_pct is string"):
        file.present()


def test_text_that_is_no_metric_is_nobodys_business() -> None:
    file = ChunkFile("bucket/chunk", parquet(three_rows(comment=["x", "y", "z"])), PLAIN)
    assert file.present().numeric == ("cpu_user_pct",)


@pytest.mark.parametrize("cut", [0, 3, 200, -9])
def test_a_file_that_was_cut_off_is_named(cut: int) -> None:
    content = parquet(three_rows())[:cut]
    with pytest.raises(DataError, match="bucket/chunk is no Parquet file"):
        ChunkFile("bucket/chunk", content, PLAIN)


def test_a_page_that_is_damaged_is_named() -> None:
    content = bytearray(parquet(three_rows(), compression="zstd"))
    content[4:120] = bytes(116)
    with pytest.raises(DataError, match="bucket/chunk cannot be decoded"):
        ChunkFile("bucket/chunk", bytes(content), PLAIN).columns(
            ["cpu_user_pct"], status=False, profile=False
        )


def test_one_bit_that_changed_in_a_chunk_of_ours_never_changes_a_value(write, rows) -> None:
    (path,) = write(rows(chunks=1)).glob("*/*.parquet")
    whole = path.read_bytes()
    metrics = ["cpu_user_pct", "mem_used_pct", "load_average"]

    def columns(content: bytes) -> Columns:
        return ChunkFile("bucket/chunk", content, PLAIN).columns(
            metrics, status=False, profile=False
        )

    expected, noticed = columns(whole), 0
    rng = np.random.default_rng(4)
    for place in rng.integers(0, len(whole), 60):
        content = bytearray(whole)
        content[place] ^= 1 << int(rng.integers(8))
        try:
            found = columns(bytes(content))
        except DataError:
            noticed += 1
        else:
            # A bit of what nobody reads: the author's name, say.
            np.testing.assert_array_equal(found.values, expected.values)
            np.testing.assert_array_equal(found.micros, expected.micros)
            assert found.servers.values == expected.servers.values
    assert noticed > 20


def test_the_order_of_columns_and_their_types_may_differ_between_files() -> None:
    table = pa.table(three_rows(mem_used_pct=[4, 5, 6]))
    turned = table.select(["mem_used_pct", "cpu_user_pct", "server_name", "timestamp"])
    wanted = ("cpu_user_pct", "mem_used_pct")
    np.testing.assert_array_equal(read(table, wanted).values, read(turned, wanted).values)


@pytest.mark.parametrize("large", [1, 300, 100_000])
def test_a_file_gives_the_same_in_pieces_of_any_size(monkeypatch, large: int) -> None:
    rng = np.random.default_rng(3)
    rows = 500
    table = pa.table(
        {
            "timestamp": pa.array(NOON_MICROS + np.arange(rows) * MINUTE, pa.timestamp("us")),
            "server_name": rng.choice(["a", "b", None, "c"], rows),
            "status": rng.choice(["idle", "healthy", None], rows),
            "cpu_user_pct": rng.choice([1.0, 2.0, np.nan, np.inf], rows),
            "mem_used_pct": rng.uniform(size=rows),
        }
    )
    content = parquet(table, row_group_size=37)
    rules = Rules.of(DataRules.model_validate({"servers": {"exclude": ["c"]}}))

    def columns() -> Columns:
        return ChunkFile("x", content, rules).columns(
            ("mem_used_pct", "cpu_user_pct"), status=True, profile=False
        )

    whole = columns()
    monkeypatch.setattr(decode, "LARGE", large)
    parts = columns()
    assert names(parts) == names(whole)
    assert set(names(whole)) == {"a", "b"}
    for one, other in ((parts.micros, whole.micros), (parts.values, whole.values)):
        np.testing.assert_array_equal(one, other)
    assert parts.not_finite == whole.not_finite > 0
    assert parts.without_server == whole.without_server > 0
    assert parts.not_chosen == whole.not_chosen > 0
