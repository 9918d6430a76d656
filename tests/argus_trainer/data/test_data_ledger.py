"""The ledger: each window exactly once an epoch, whatever files, gaps, memory and threads."""

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from argus_trainer.data.fetch import Fetcher
from argus_trainer.data.memory import Shares
from argus_trainer.data.windows import SERVER_SHIFT
from argus_trainer.errors import DataError

CADENCE = 600


def windows_of(seen: set[int], *, encoder: int, decoder: int, gap: int, percent: int) -> set[int]:
    """Returns the last steps of a server's windows, counted step by step."""
    found = set()
    for end in seen:
        steps = range(end - encoder - decoder + 1, end + 1)
        if steps[0] not in seen:
            continue
        run = longest = 0
        for step in steps:
            run = 0 if step in seen else run + 1
            longest = max(longest, run)
        past = sum(step in seen for step in steps[:encoder])
        future = sum(step in seen for step in steps[encoder:])
        enough = 100 * past >= percent * encoder and 100 * future >= percent * decoder
        if longest <= gap and enough:
            found.add(end)
    return found


def expected_ids(run: Any, frame: pd.DataFrame, **rules: int) -> tuple[set[int], set[int]]:
    """Returns the ids of training and validation windows, from the rows alone."""
    split = run.plan.split
    border = int(run.plan.objects[split.train_end].start.timestamp()) // CADENCE
    stop = int(run.plan.objects[split.validation_end - 1].end.timestamp()) // CADENCE
    training, validation = set(), set()
    everybody = (*run.statistics.servers, *run.statistics.unseen_servers)
    for code, server in enumerate(everybody):
        times = frame.loc[frame["server_name"] == server, "timestamp"]
        seen = {int(time.timestamp()) // CADENCE for time in times}
        for end in windows_of(seen, encoder=run.encoder, decoder=run.decoder, **rules):
            if end < border and end % run.stride == 0:
                training.add((code << SERVER_SHIFT) + end)
            elif end - run.decoder + 1 >= border and end < stop:
                validation.add((code << SERVER_SHIFT) + end)
    return training, validation


FEW_ROWS = 24
"""A first file with fewer, of which some were lost, may tell another cadence than the others."""


def with_gaps(frame: pd.DataFrame, rng: np.random.Generator, lost: float) -> pd.DataFrame:
    """Loses single steps, and a stretch of time of each server."""
    keep = rng.random(len(frame)) >= lost
    for server in frame["server_name"].unique():
        rows = np.flatnonzero(frame["server_name"] == server)
        at = rng.integers(0, len(rows))
        keep[rows[at : at + rng.integers(0, 40)]] = False
    return frame[keep]


def in_files(frame: pd.DataFrame, folder: Path, rng: np.random.Generator, count: int) -> None:
    """Writes files of random lengths in time; some hold some of the servers only."""
    folder.mkdir(parents=True)
    borders = np.sort(rng.choice(len(frame), count - 1))
    number = np.searchsorted(borders, np.arange(len(frame)), side="right")
    apart = rng.random(count) < 0.3
    parts = 2 * number + (apart[number] & (frame["server_name"] == "srv1").to_numpy())
    for name, part in frame.groupby(parts):
        table = pa.Table.from_pandas(part, preserve_index=False)
        pq.write_table(table, folder / f"part-{name:05d}.parquet")


def memory_of(run: Any, share: float) -> Shares:
    """Returns a budget between the least and all of it."""
    memory = run.memory
    shares: Shares = memory.shares(round(memory.least + share * (memory.everything - memory.least)))
    return shares


def drawn(run: Any, shares: Shares, threads: int, epoch: int | None) -> list[int]:
    """Returns the windows of an epoch, or of validation, in their order."""
    with patch("argus_trainer.data.dataset.Fetcher", partial(Fetcher, num_threads=threads)):
        dataset = run.dataset(shares=shares)
    batches = dataset.validation_batches() if epoch is None else dataset.training_batches(epoch)
    return [int(window) for batch in batches for window in batch.window_ids]


@settings(
    max_examples=12,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking files takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_each_window_is_drawn_exactly_once_in_one_order(
    rows, run_over, tmp_path_factory, data: st.DataObject
) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 9_999), "seed of rows"))
    frame = with_gaps(rows(chunks=30), rng, data.draw(st.sampled_from([0.0, 0.02, 0.1]), "lost"))
    folder = tmp_path_factory.mktemp("rows") / "data"
    in_files(frame, folder, rng, data.draw(st.integers(1, 60), "files"))
    gap = data.draw(st.integers(0, 6), "longest gap")
    percent = data.draw(st.sampled_from([50, 80, 100]), "observed")
    run = run_over(
        folder,
        encoder=data.draw(st.integers(1, 30), "encoder"),
        decoder=data.draw(st.integers(1, 10), "decoder"),
        batch_size=data.draw(st.integers(1, 60), "batch"),
        block_chunks=data.draw(st.integers(1, 6), "block"),
        mix_width=data.draw(st.integers(1, 4), "mix"),
        stride=data.draw(st.sampled_from([1, 3]), "stride"),
        rules_of_data={"gaps": {"max_gap_steps": gap, "min_observed_percent": percent}},
    )
    try:
        run.prepare()
    except DataError as error:
        refusals = ["holds no window", "need at least"]
        if pq.read_metadata(min(folder.iterdir())).num_rows < FEW_ROWS:
            refusals.append("as its first chunk shows")
        assert any(refusal in str(error) for refusal in refusals)  # noqa: PT017
        return
    training, validation = expected_ids(run, frame, gap=gap, percent=percent)
    few, many = (data.draw(st.floats(0, 1), f"{name} memory") for name in ("one", "another"))
    threads = [data.draw(st.integers(1, 16), f"{name} threads") for name in ("one", "another")]
    for epoch in (0, 1):
        first = drawn(run, memory_of(run, few), threads[0], epoch)
        assert Counter(first) == Counter(training)
        assert drawn(run, memory_of(run, many), threads[1], epoch) == first
    assert Counter(drawn(run, memory_of(run, few), threads[0], None)) == Counter(validation)
