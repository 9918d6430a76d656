"""Which addresses can be a place at all, before anything is contacted or written."""

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from argus_trainer.errors import UsageError


def fault_of_address(uri: str, *, reading: bool = False) -> str | None:
    """Returns what is wrong with `uri` and the way out, None for one that may work.

    What is only read may stand in any store that fsspec knows.
    """
    if not uri.strip():
        return "names no place: use a folder or s3://bucket/prefix"
    if uri.startswith("s3://"):
        return None if urlsplit(uri).netloc else "names no bucket: use s3://bucket/prefix"
    if "://" in uri and not uri.startswith("file://") and not reading:
        return "is no known address: use s3://bucket/prefix or a local folder"
    return None


def folder_of(uri: str) -> Path | None:
    """Returns the folder that `uri` names, None for a bucket."""
    if uri.startswith("s3://"):
        return None
    return Path(unquote(urlsplit(uri).path) if uri.startswith("file://") else uri)


def check_address(option: str, address: str, *, reading: bool = False) -> None:
    """Raises UsageError, which names the option, for an address that can be no place."""
    fault = fault_of_address(address, reading=reading)
    if fault:
        raise UsageError(f"{option} {address!r} {fault}")


def check_folder(option: str, address: str) -> None:
    """Raises UsageError for what `check_address` refuses, and for a file or below one."""
    check_address(option, address)
    folder = folder_of(address)
    if folder is None:
        return
    for place in (folder, *folder.parents):
        # The functions of os.path say no where those of Path raise, for example at long names.
        if os.path.isdir(place):
            return
        if os.path.exists(place):
            raise UsageError(
                f"{option} {address}: {place} is a file: name a folder or s3://bucket/prefix"
            )
