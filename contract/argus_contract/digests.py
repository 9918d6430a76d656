"""Bytes and digests of records: the same record is the same bytes, wherever it is written.

Keys are sorted, absent fields left out, one trailing newline for people who print the object.
"""

import hashlib
import io
import json

from argus_contract.model import Model


def wire_bytes(record: Model) -> bytes:
    """Returns the one form in which a record stands in the bucket: UTF-8 JSON."""
    buffer = io.BytesIO()
    # Written piece by piece: a plan of 100,000 chunks is 22 MB of text and millions of pieces.
    with io.TextIOWrapper(buffer, encoding="utf-8", newline="") as text:
        json.dump(record.to_wire(), text, sort_keys=True, indent=1, allow_nan=False)
        text.write("\n")
        text.flush()
        return buffer.getvalue()


def digest_of(record: Model) -> str:
    """Returns the SHA-256 of a record's bytes in the bucket, 64 hexadecimal digits."""
    return hashlib.sha256(wire_bytes(record)).hexdigest()
