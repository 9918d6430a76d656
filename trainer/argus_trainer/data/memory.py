"""How much memory the data of a run takes: arithmetic on the plan, before anything is read.

    group       blocks that are drawn from at once, and the order of their windows
    batches     the one that is trained on, and the one that is filled
    making      one object on its way, its rows while they are decoded, masks of a block
    the plan    what is known of each object
    the rest    blocks made ahead, then objects fetched ahead, then decoded chunks for the
                halo of a next block, then objects of several chunks, then blocks that stay
                for the next epoch

Only the first four are needed. What a budget leaves beyond them saves reading; no batch
depends on it. Training and validation take turns and share one budget; the pass over all objects
that statistics are made in comes before both and has the same one (`SurveyShares`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from argus_contract.decimals import value_of
from argus_contract.plan import Plan, Statistics
from argus_contract.spec import TrainingMode, TrainingSpec
from argus_trainer.data.fetch import LARGE_BYTES, NUM_THREADS
from argus_trainer.data.inputs import Inputs
from argus_trainer.data.step_record import Record
from argus_trainer.data.windows import (
    Span,
    WindowRules,
    object_steps,
    training_spans,
    validation_spans,
)
from argus_trainer.errors import ConfigurationError

MIB = 2**20
CGROUP = Path("/sys/fs/cgroup")
MEMINFO = Path("/proc/meminfo")
MOST_AHEAD = 2
"""Blocks made ahead: one is made while another one waits, more would only wait as well."""
FETCH_BYTES = 64 * MIB
"""More bytes on their way would not come sooner."""
COPIES = 4
"""Of a chunk's values in float64 that exist at once while it is decoded."""
DECODED_PER_BYTE = 8
"""Bytes that a byte of an object takes while it is decoded, where rows are not known: they may
be recorded more often than the steps of the run."""
OBJECT_BYTES = 3 << 10
"""Of what the process knows of an object: its entry in the plan, its times, its places."""
SURVEY_LEAST = 64 * MIB
"""Statistics are made within no less, before the libraries of a training are loaded, which take
several times as much. A budget that is too small for a training is refused meanwhile
(`foresight`)."""
SURVEY_FETCH_BYTES = 32 * MIB
"""Fetched and not yet read at once, while statistics are made."""
RECORD_BYTES = 16 * MIB
"""Of records that wait to be written: more would not be fewer requests that count."""
RECORD_COPIES = 4
"""Of these records while they are written, or read again."""
MASK_BYTES = 48
"""Per server and step while a block is made: what finds gaps and windows."""
ORDER_BYTES = 24
"""Per window of a group: random words, the permutation, and the memory of the sort."""


@dataclass(frozen=True, kw_only=True)
class Shares:
    """What a budget is spent on."""

    blocks_ahead: int
    """Blocks made before they are asked for."""
    fetch_bytes: int
    """Of objects on their way beside the one that is decoded."""
    chunk_bytes: int
    """Of decoded chunks that stay for the halo of a next block."""
    slice_bytes: int = 0
    """Of objects that stay because they reach into several chunks."""
    block_bytes: int | None
    """Of blocks that stay for the next epoch; None: all of them."""


@dataclass(frozen=True, kw_only=True)
class SurveyShares:
    """What a budget is spent on while statistics are made."""

    fetch_bytes: int
    """Of objects on their way beside those that are decoded."""
    slice_bytes: int
    """Of objects that stay because they reach into several chunks."""
    record_bytes: int
    """Of records that wait to be written."""
    decode_bytes: int | None
    """Of objects that are decoded, with their bytes, at least half of it all; None: no limit."""

    @classmethod
    def of(cls, plan: Plan, budget: int | None) -> "SurveyShares":
        """Returns the shares of a budget in bytes; None: no limit."""
        slices = _slices(plan)
        if budget is None:
            return cls(
                fetch_bytes=SURVEY_FETCH_BYTES,
                slice_bytes=slices,
                record_bytes=RECORD_BYTES,
                decode_bytes=None,
            )
        budget = max(budget, SURVEY_LEAST)
        fetched = min(SURVEY_FETCH_BYTES, budget // 4)
        records = min(RECORD_BYTES, budget // (8 * RECORD_COPIES))
        slices = min(slices, budget // 8)
        return cls(
            fetch_bytes=fetched,
            slice_bytes=slices,
            record_bytes=records,
            decode_bytes=budget - fetched - RECORD_COPIES * records - slices,
        )


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes of the parts of one run."""

    block: int
    """The largest one."""
    blocks: int
    """All of them, training and validation."""
    fetched: int
    """Objects on their way beside the one that is decoded, when no request waits for memory."""
    chunks: int
    """The decoded chunks of the block that needs most of them."""
    slices: int
    """Objects that reach into several chunks."""
    needed: int
    """Batches, order, making and plan, without any block that is drawn from."""
    mix_width: int

    @classmethod
    def of(
        cls, plan: Plan, statistics: Statistics, rules: WindowRules, batch_size: int
    ) -> "Memory":
        """Returns the memory of a run that is planned and counted."""
        found = (*statistics.training_blocks, *statistics.validation_blocks)
        return cls.about(
            plan,
            Inputs.of(statistics),
            rules,
            batch_size,
            cadence_seconds=statistics.cadence_seconds,
            servers=len(statistics.servers) + len(statistics.unseen_servers),
            windows=[block.windows for block in found],
        )

    @classmethod
    def about(
        cls,
        plan: Plan,
        inputs: Inputs,
        rules: WindowRules,
        batch_size: int,
        *,
        cadence_seconds: int,
        servers: int,
        windows: Sequence[int] | None = None,
    ) -> "Memory":
        """Returns the memory of a run over so many servers.

        `windows` of each block, training then validation; None: as many as there may be.
        """
        record = Record.of(inputs)
        spans = (
            *training_spans(plan, cadence_seconds, rules),
            *validation_spans(plan, cadence_seconds, rules),
        )
        if windows is None:
            windows = [servers * (span.end - span.start) for span in spans]
        blocks = [
            block_bytes(span, servers, record, count)
            for span, count in zip(spans, windows, strict=True)
        ]
        steps = [object_steps(pinned, cadence_seconds) for pinned in plan.objects]
        a_step = servers * _chunk_bytes(inputs)
        chunks = [_sum_of_steps(steps, span) * a_step for span in spans]
        longest = max(end - start for start, end in steps)
        # Larger ones are read piece by piece.
        largest = min(max(pinned.size for pinned in plan.objects), LARGE_BYTES)
        rows = servers * longest * COPIES * 8 * (len(inputs.metrics) + 2)
        most_windows = plan.mix_width * max(windows)
        return cls(
            block=max(blocks),
            blocks=sum(blocks),
            fetched=min(FETCH_BYTES, NUM_THREADS * largest),
            chunks=max(chunks),
            slices=_slices(plan),
            needed=2 * batch_size * rules.window * record.num_bytes
            + ORDER_BYTES * most_windows
            + MASK_BYTES * servers * max(span.num_steps for span in spans)
            + largest
            + max(rows, DECODED_PER_BYTE * largest)
            + longest * a_step
            + OBJECT_BYTES * len(plan.objects),
            mix_width=plan.mix_width,
        )

    @property
    def least(self) -> int:
        """Without it no training is possible."""
        return self.needed + self.mix_width * self.block

    @property
    def recommended(self) -> int:
        """With it blocks are made and objects fetched ahead of need, and a halo is not decoded
        again in order, nor an object fetched once for each of its chunks."""
        return self.least + MOST_AHEAD * self.block + self.fetched + self.chunks + self.slices

    @property
    def everything(self) -> int:
        """From it on every block is read once."""
        return self.recommended + self.blocks

    def shares(self, budget: int | None) -> Shares:
        """Returns what a budget in bytes is spent on; None keeps all blocks.

        Raises ConfigurationError for a budget below the least.
        """
        if budget is None:
            return Shares(
                blocks_ahead=MOST_AHEAD,
                fetch_bytes=self.fetched,
                chunk_bytes=self.chunks,
                slice_bytes=self.slices,
                block_bytes=None,
            )
        if budget < self.least:
            raise ConfigurationError(
                f"training.memoryBudget {quantity(budget)} is too small for this data, which "
                f"needs {mebibytes(self.least)} ({self.mix_width} blocks of "
                f"{mebibytes(self.block)} and the way to them): set at least "
                f"{mebibytes(self.least)} (without a value it is half of the memory that the "
                "container may take), or use fewer servers (data.servers) or a shorter "
                "model.encoderLength"
            )
        left = budget - self.least
        ahead = min(MOST_AHEAD, left // self.block)
        left -= ahead * self.block
        fetched = min(self.fetched, left)
        left -= fetched
        chunks = min(self.chunks, left)
        left -= chunks
        slices = min(self.slices, left)
        return Shares(
            blocks_ahead=ahead,
            fetch_bytes=fetched,
            chunk_bytes=chunks,
            slice_bytes=slices,
            block_bytes=left - slices,
        )


def budget_of(
    training: TrainingSpec, *, cgroup: Path = CGROUP, meminfo: Path = MEMINFO
) -> int | None:
    """Returns the bytes that a run's data may take; None: no limit.

    Default: half of the container's limit, or else of the memory that is available. Raises
    ConfigurationError where neither is known.
    """
    if training.mode is TrainingMode.STANDARD:
        return None
    if (asked := asked_budget(training)) is not None:
        return asked
    limit = _container_limit(cgroup)
    return (_available(meminfo) if limit is None else limit) // 2


def asked_budget(training: TrainingSpec) -> int | None:
    """Returns the bytes that the spec itself says; None: it says none, or nothing is limited."""
    if training.mode is TrainingMode.STANDARD or training.memory_budget is None:
        return None
    return int(value_of(training.memory_budget))


def block_bytes(span: Span, servers: int, record: Record, windows: int) -> int:
    """Returns the memory of a block: its records, and the place of each window."""
    return servers * span.num_steps * record.num_bytes + 8 * windows


def mebibytes(count: int) -> str:
    """Returns a number of bytes as a quantity, rounded up."""
    return f"{-(-count // MIB)}Mi"


def quantity(count: int) -> str:
    """Returns a number of bytes as the shortest quantity that is exactly it."""
    for unit, size in (("Gi", 2**30), ("Mi", MIB), ("Ki", 2**10)):
        if count and count % size == 0:
            return f"{count // size}{unit}"
    return f"{count}"


def _slices(plan: Plan) -> int:
    return sum({entry.key: entry.size for entry in plan.objects if entry.sliced}.values())


def _chunk_bytes(inputs: Inputs) -> int:
    """Returns the memory of one server and step of a decoded chunk: values, state, a flag."""
    return 4 * (len(inputs.features) + 2 * len(inputs.targets)) + 2 + 1


def _sum_of_steps(steps: Sequence[tuple[int, int]], span: Span) -> int:
    lengths: Iterable[int] = (steps[index][1] - steps[index][0] for index in span.objects)
    return sum(lengths)


def _container_limit(cgroup: Path) -> int | None:
    """Returns the memory that the cgroup (version 2, or 1) grants, None without a limit."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        file = cgroup / name
        if file.exists():
            text = file.read_text(encoding="ascii").strip()
            # Version 1 writes a number near 2**63 for "no limit".
            return None if text == "max" or int(text) >= 2**62 else int(text)
    return None


def _available(meminfo: Path) -> int:
    """Returns the memory of the machine that programs may still take."""
    if meminfo.exists():
        for line in meminfo.read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(":")
            if name == "MemAvailable":
                return int(value.split()[0]) * 1024
    raise ConfigurationError(
        "the memory of this machine cannot be told: set training.memoryBudget, for example 4Gi"
    )
