"""The S3 server in the hands of its administrator: a bucket without room, keys that change."""

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from cluster.places import HOST_ADDRESS, S3_MASTER_PORT, Places
from cluster.prerequisites import find_weed
from stage.bucket import filesystem, refusal
from stage.kubectl import apply, call
from stage.parts import cluster
from stage.waiting import until

QUOTA_MIB = 1
TENANT = "tenant"
"""An identity of the server beside the cluster's own."""


@dataclass(frozen=True, kw_only=True)
class Keys:
    """One new pair."""

    access: str = field(default_factory=lambda: secrets.token_hex(10))
    secret: str = field(default_factory=lambda: secrets.token_hex(20))

    def put_into(self, namespace: str, name: str) -> None:
        """Makes or changes a Secret."""
        data = {"AWS_ACCESS_KEY_ID": self.access, "AWS_SECRET_ACCESS_KEY": self.secret}
        metadata = {"name": name, "namespace": namespace}
        apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data})

    def are_refused(self) -> bool:
        return bool(refusal(self.access, self.secret))


@contextmanager
def tenant(keys: Keys) -> Iterator[None]:
    """Lets one more identity in; at the end nobody has its keys."""
    let_in(keys)
    try:
        yield
    finally:
        # The server forgets no identity that it has read once.
        let_in(Keys())


def let_in(keys: Keys) -> None:
    """Makes these the only keys of the tenant, without a restart of the server."""
    file = Places.from_environment(os.environ).s3_keys
    identities = json.loads(file.read_text())["identities"]
    own = [identity for identity in identities if identity["name"] != TENANT]
    pair = {"accessKey": keys.access, "secretKey": keys.secret}
    theirs = {**own[0], "name": TENANT, "credentials": [pair]}
    unfinished = file.with_suffix(".unfinished")
    unfinished.touch(mode=0o600)
    unfinished.write_text(json.dumps({"identities": [*own, theirs]}, indent=2))
    unfinished.replace(file)
    cluster("signal", "weed", "HUP")
    until(lambda: not keys.are_refused(), 30, "the S3 server to know the new keys")


@contextmanager
def bucket(name: str) -> Iterator[str]:
    """Makes a bucket that is removed at the end; returns its address."""
    filesystem().mkdir(name)
    try:
        yield f"s3://{name}"
    finally:
        filesystem().rm(name, recursive=True)


@contextmanager
def full(name: str) -> Iterator[None]:
    """Fills a bucket beyond its quota: the server refuses every write, until the end."""
    filesystem().pipe_file(f"{name}/ballast", os.urandom(2 * QUOTA_MIB << 20))
    _shell(f"s3.bucket.quota -name={name} -op=set -sizeMB={QUOTA_MIB}")
    try:
        until(lambda: _enforced() and _is_full(name), 60, f"bucket {name} to be full")
        yield
    finally:
        _shell(f"s3.bucket.quota -name={name} -op=remove")
        until(lambda: _enforced() and not _is_full(name), 60, f"room in bucket {name}")


def _is_full(name: str) -> bool:
    try:
        filesystem().pipe_file(f"{name}/probe", b"1")
    except OSError:
        return True
    return False


def _enforced() -> bool:
    """Compares sizes with quotas now; the server itself does it once a minute."""
    _shell("s3.bucket.quota.enforce -apply")
    return True


def _shell(command: str) -> str:
    """Runs a command of SeaweedFS' administrator, under the lock that it asks for."""
    program = (str(find_weed()), "shell", f"-master={HOST_ADDRESS}:{S3_MASTER_PORT}")
    return call(*program, stdin=f"lock\n{command}\nunlock\n")
