"""Training goes on over objects that changed: the same places, filled with what there is."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from argus_trainer.checkpoints.repins import Repins
from argus_trainer.data.windows import SERVER_SHIFT
from argus_trainer.errors import DataError
from argus_trainer.storage.local import LocalStore

Change = Callable[[pd.DataFrame], pd.DataFrame]


def rewrite(path: Path, change: Change) -> None:
    table = pq.read_table(path)
    changed = pa.Table.from_pandas(change(table.to_pandas()), table.schema, preserve_index=False)
    pq.write_table(changed, path)


def drawn(run: Any, pins: Repins) -> list[list[int]]:
    return [batch.window_ids.tolist() for batch in run.dataset(pins=pins).training_batches(0)]


@pytest.fixture
def pins(tmp_path: Path) -> Callable[[], Repins]:
    return lambda: Repins(LocalStore(tmp_path / "run"), lambda _: None)


def test_other_values_in_the_same_rows_leave_the_order_as_it_was(prepared, chunk_of, pins) -> None:
    run = prepared()
    before = drawn(run, pins())
    raised = 7.5
    rewrite(chunk_of(run.folder, 3), lambda frame: frame.assign(cpu_user_pct=raised))
    repins = pins()
    targets = np.concatenate(
        [
            batch.x["encoder_target"].ravel()
            for batch in run.dataset(pins=repins).training_batches(0)
        ]
    )
    assert np.isclose(targets, raised).any()
    assert repins.reason is not None
    assert drawn(run, pins()) == before


def test_places_of_windows_that_are_gone_are_filled_evenly(prepared, chunk_of, pins) -> None:
    run = prepared()
    before = drawn(run, pins())
    rewrite(chunk_of(run.folder, 3), lambda frame: frame[frame["server_name"] != "srv1"])
    after = drawn(run, pins())
    assert [len(batch) for batch in after] == [len(batch) for batch in before]
    gone = {i for batch in before for i in batch} - {i for batch in after for i in batch}
    counts = Counter(i for batch in after for i in batch)
    assert gone
    assert set(counts.values()) == {1, 2}
    doubled = {i >> SERVER_SHIFT for i, count in counts.items() if count == 2}
    assert doubled == {0, 1, 2}, "whatever is left is drawn again, not only what comes first"
    assert drawn(run, pins()) == after, "the same for every later attempt"


def test_a_block_without_a_window_left_is_named(prepared, chunk_of, pins) -> None:
    run = prepared()
    for index in (4, 5):
        rewrite(chunk_of(run.folder, index), lambda frame: frame.iloc[:0])
    with pytest.raises(DataError, match=r"not one of its \d+ windows left since .*changed after"):
        drawn(run, pins())
