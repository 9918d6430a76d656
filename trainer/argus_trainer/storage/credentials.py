"""Access keys from a mounted Secret: one file per key, read again when the store says no.

The idea: the kubelet swaps the files of a rotated Secret under a running pod, so whoever
reads them once at start holds keys that will be refused one day.
"""

from dataclasses import dataclass
from pathlib import Path

from argus_trainer.errors import ConfigurationError

ACCESS_KEY = "AWS_ACCESS_KEY_ID"
SECRET_KEY = "AWS_SECRET_ACCESS_KEY"
SESSION_TOKEN = "AWS_SESSION_TOKEN"


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """A key pair and, for temporary keys, the token of their session."""

    access_key: str
    secret_key: str
    session_token: str | None = None

    def __repr__(self) -> str:
        return f"Credentials(access_key={self.access_key!r}, ...)"


def read_credentials(directory: Path) -> Credentials:
    """Returns the keys in `directory`. Raises ConfigurationError naming the file at fault."""
    return Credentials(
        access_key=_required(directory, ACCESS_KEY),
        secret_key=_required(directory, SECRET_KEY),
        session_token=_text(directory / SESSION_TOKEN) or None,
    )


def _required(directory: Path, name: str) -> str:
    text = _text(directory / name)
    if not text:
        raise ConfigurationError(
            f"storage: {directory / name} is absent or empty: the Secret that "
            f"storage.secretRef names needs the keys {ACCESS_KEY} and {SECRET_KEY}"
        )
    return text


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"storage: {path} cannot be read ({error}): check the mounted Secret"
        ) from error
