"""`up`: from nothing, from half a cluster or from a whole one to a whole one.

Every step looks first whether it is done, so that `up` may be interrupted anywhere, repeated, and
used to bring back a part that died.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from . import processes
from .addresses import choose_ports
from .api import default_account_exists, node_is_ready
from .binaries import build_binaries
from .certificates import make_certificates
from .configuration import write_configuration
from .execution import timed
from .failures import MissingPrerequisite, PartFailed
from .images import build_base_images, import_image
from .network import bridge_exists, set_up_network
from .parts import Part, all_parts, environment_of_parts
from .places import BRIDGE, PAUSE_IMAGE, Places, Size
from .prerequisites import find_weed, install_packages
from .stop import take_down

NUM_SECONDS_BETWEEN_LOOKS = 0.1
NUM_SECONDS_FOR_NODE = 90.0


def build(places: Places) -> None:
    """Everything that is made once and kept in the cache."""
    install_packages(places.size)
    build_binaries(places)
    if places.size is Size.WHOLE:
        build_base_images(places)


def bring_up(places: Places) -> None:
    """Build what is missing, start what is not running, wait until all of it answers."""
    is_whole = places.size is Size.WHOLE
    if is_whole:
        find_weed()
    build(places)
    if _is_of_an_earlier_boot(places):
        take_down(places)
    if is_whole and bridge_exists() and not places.state.exists():
        raise MissingPrerequisite(
            f"{BRIDGE} belongs to a cluster with another ARGUS_DEV_STATE; if that is gone: "
            f"ip link delete {BRIDGE}"
        )
    for folder in (places.state, places.configuration, places.records, places.logs):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (places.state / "boot").write_text(processes.boot_id())
    choose_ports(places)
    if is_whole:
        (places.state / "s3").mkdir(exist_ok=True)
        set_up_network(places)
    with timed("certificates and configuration"):
        make_certificates(places)
        write_configuration(places)
    parts = {part.name: part for part in all_parts(places)}
    for stage in sorted({part.stage for part in parts.values()}):
        _start_together([part for part in parts.values() if part.stage == stage], places)
    with timed("ready"):
        if is_whole:
            import_image(places, PAUSE_IMAGE)
            _wait(parts["kubelet"], lambda: node_is_ready(places), NUM_SECONDS_FOR_NODE)
        controllers = parts["kube-controller-manager"]
        _wait(controllers, lambda: default_account_exists(places), NUM_SECONDS_FOR_NODE)


def _is_of_an_earlier_boot(places: Places) -> bool:
    """A restart of the machine takes mounts and bridge; etcd's data never reached the disk."""
    note = places.state / "boot"
    return note.exists() and note.read_text() != processes.boot_id()


def _start_together(parts: Sequence[Part], places: Places) -> None:
    for part in parts:
        if part.process() is None:
            processes.start(
                part.argv,
                log=part.log,
                environment=environment_of_parts(places),
                record=part.record,
            )
    for part in parts:
        with timed(f"{part.name} healthy"):
            _wait(part, part.is_healthy, part.num_seconds_to_start)


def _wait(part: Part, is_true: Callable[[], bool], num_seconds: float) -> None:
    deadline = time.monotonic() + num_seconds
    while True:
        if part.process() is None:
            raise PartFailed(part.name, "ended by itself", part.log)
        if is_true():
            return
        if time.monotonic() > deadline:
            raise PartFailed(part.name, f"was not ready after {num_seconds:.0f} s", part.log)
        time.sleep(NUM_SECONDS_BETWEEN_LOOKS)
