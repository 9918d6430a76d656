"""Signs of life that a process leaves in the bucket: its log ends with the time of its upload.

A process uploads its log every so many seconds, whatever else it does. So whoever comes after one
that was killed without a word knows when it was last alive: to within that time, or to within an
outage of the store that came in between.
"""

from datetime import UTC, datetime

STAMP = "%Y-%m-%dT%H:%M:%SZ"
"""Every line of a log begins with it. UTC."""
_EXAMPLE = "2026-01-31T10:00:00Z"
BEAT_SECONDS = 60.0
"""Between two uploads."""


def last_stamp(log: bytes) -> datetime | None:
    """Returns the time of the last line of a log; None when it has none that can be read."""
    line = log.rstrip().rpartition(b"\n")[2]
    try:
        found = datetime.strptime(line[: len(_EXAMPLE)].decode("ascii"), STAMP)
    except ValueError:
        return None
    return found.replace(tzinfo=UTC)
