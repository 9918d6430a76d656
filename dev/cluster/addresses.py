"""Where the parts of a cluster listen.

The whole cluster has Kubernetes' own ports, on the bridge where pods must reach a part. A cluster
of the API-only size takes a block of ports that is free when it starts, on 127.0.0.1, and keeps it
until `down`, so that several of them stand beside each other and beside the whole one. The blocks
lie below the range from which the kernel gives ports to clients: a part that was killed finds its
own free again.
"""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass

from .failures import MissingPrerequisite
from .places import HOST_ADDRESS, Places, Size

LOOPBACK = "127.0.0.1"
FIRST_PORTS = range(21000, 22000, 10)
"""The first port of each block."""


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """The listeners of the control plane."""

    host: str
    """Of the API server; the others listen on loopback."""
    api_server_port: int
    etcd_port: int
    etcd_peer_port: int
    controller_manager_port: int
    scheduler_port: int
    kwok_port: int | None = None
    pod_network: str | None = None
    """Addresses that kwok gives to pods: loopback ones, so that nothing asks a stranger."""

    @property
    def api_server(self) -> str:
        return f"https://{self.host}:{self.api_server_port}"

    @property
    def etcd(self) -> str:
        return f"https://{LOOPBACK}:{self.etcd_port}"

    @classmethod
    def of_block(cls, first: int) -> Addresses:
        """The addresses of the API-only size, from the first port of its block."""
        number = (first - FIRST_PORTS.start) // FIRST_PORTS.step
        return cls(
            host=LOOPBACK,
            api_server_port=first,
            etcd_port=first + 1,
            etcd_peer_port=first + 2,
            controller_manager_port=first + 3,
            scheduler_port=first + 4,
            kwok_port=first + 5,
            pod_network=f"127.{100 + number}.0.1/16",
        )


WHOLE = Addresses(
    host=HOST_ADDRESS,
    api_server_port=6443,
    etcd_port=2379,
    etcd_peer_port=2380,
    controller_manager_port=10257,
    scheduler_port=10259,
)


def addresses_of(places: Places) -> Addresses:
    """Raises MissingPrerequisite when a cluster of the API-only size was not started yet."""
    if places.size is Size.WHOLE:
        return WHOLE
    if not places.chosen_ports.exists():
        raise MissingPrerequisite(
            f"no cluster with ARGUS_DEV_API_STATE {places.state} is running: start it with "
            "`up --size api`"
        )
    return Addresses.of_block(json.loads(places.chosen_ports.read_text()))


def choose_ports(places: Places) -> None:
    """Take a block of ports for this cluster, unless it has one."""
    if places.size is Size.WHOLE or places.chosen_ports.exists():
        return
    first = next((first for first in FIRST_PORTS if _is_free(first)), None)
    if first is None:
        raise MissingPrerequisite(
            f"no ten ports in a row are free between {FIRST_PORTS.start} and {FIRST_PORTS.stop}: "
            "take down a cluster of the API-only size that nobody needs any more"
        )
    places.chosen_ports.write_text(json.dumps(first))


def _is_free(first: int) -> bool:
    for port in range(first, first + FIRST_PORTS.step):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                return False
    return True
