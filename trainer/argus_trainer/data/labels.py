"""Columns of text: codes into their own distinct values, from any type that can be a name."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from argus_trainer.errors import DataError

NO_NAMES = ("", "nan")
"""Texts that name nothing: pandas writes `nan` for a missing text, and the stock encoder of a
bundle gives that word the code of what training never saw."""
MOST_BYTES = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Labels:
    """A text column: codes into its own values."""

    codes: NDArray[np.int64]
    """[n]; -1 where the row has none."""
    values: tuple[str, ...]
    """Distinct."""

    def at(self, rows: NDArray[np.int64]) -> "Labels":
        """Returns some of the rows."""
        return Labels(codes=self.codes[rows], values=self.values)


def labels(column: "pa.ChunkedArray[Any]", name: str) -> Labels:
    """Returns a column as labels. `name` says file and column.

    Raises DataError for a type that is no name, a text that is no UTF-8, one with a NUL (which
    NumPy's fixed-width text in a bundle would cut off), and one above 64 KiB.
    """
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not (_is_text(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind)):
        raise DataError(f"{name} is {kind}: a label is text or a whole number: convert it")
    if not pa.types.is_dictionary(column.type):
        column = (column.cast(pa.string()) if not _is_text(kind) else column).dictionary_encode()
    encoded: Any = column.unify_dictionaries().combine_chunks()
    try:
        texts = encoded.dictionary.cast(pa.string()).to_pylist()
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise DataError(f"{name} holds a text that is no UTF-8: write it again") from error
    places: dict[str, int] = {}
    code_of = np.full(len(texts) + 1, -1, dtype=np.int64)
    for code, text in enumerate(texts):
        if text is not None and text not in NO_NAMES:
            _check(text, name)
            code_of[code] = places.setdefault(text, len(places))
    codes = encoded.indices.fill_null(len(texts)).to_numpy(zero_copy_only=False)
    return Labels(codes=code_of[codes], values=tuple(places))


def joined(parts: Sequence[Labels]) -> Labels:
    """Returns the rows of several columns as one."""
    if len(parts) == 1:
        return parts[0]
    places: dict[str, int] = {}
    codes = []
    for part in parts:
        code_of = [places.setdefault(value, len(places)) for value in part.values]
        # The last entry answers the code -1.
        codes.append(np.array([*code_of, -1], dtype=np.int64)[part.codes])
    return Labels(
        codes=np.concatenate(codes or [np.empty(0, dtype=np.int64)]), values=tuple(places)
    )


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
    )


def _check(text: str, name: str) -> None:
    if "\0" in text:
        raise DataError(f"{name} holds a text with a NUL ({text[:40]!r}): rename it")
    if len(text.encode()) > MOST_BYTES:
        raise DataError(
            f"{name} holds a text of {len(text.encode())} bytes ({text[:40]!r}...), more than "
            f"{MOST_BYTES}: shorten it"
        )
