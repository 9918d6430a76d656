"""The bridge that pods hang on, and what the kernel must be told for it.

Pod addresses come from the `bridge` and `host-local` plugins of CNI. Masquerading is one nftables
table of ours instead of the plugin's own rules, so that it goes away with one command. Kernel
settings that the parts change are noted before the start and put back at the end.
"""

from __future__ import annotations

import json
from pathlib import Path

from .execution import execute, succeeds
from .places import BRIDGE, HOST_ADDRESS, POD_NETWORK, Places

NFT_TABLE = "argus-dev"
NFT_TABLES_OF_PROXY = ("ip kube-proxy", "ip6 kube-proxy")

CHANGED_SETTINGS = (
    "net/ipv4/ip_forward",
    # The kubelet sets these four.
    "kernel/panic",
    "kernel/panic_on_oops",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
)

MASQUERADE = f"""
add table ip {NFT_TABLE}
flush table ip {NFT_TABLE}
table ip {NFT_TABLE} {{
    chain postrouting {{
        type nat hook postrouting priority srcnat;
        ip saddr {POD_NETWORK} oifname != "{BRIDGE}" masquerade
    }}
}}
"""


def set_up_network(places: Places) -> None:
    """Make the bridge, the masquerading and the CNI configuration; harmless when they exist."""
    _note_settings(places)
    (Path("/proc/sys") / "net/ipv4/ip_forward").write_text("1")
    if not bridge_exists():
        execute(["ip", "link", "add", BRIDGE, "type", "bridge"], step="making the bridge")
    address = f"{HOST_ADDRESS}/24"
    execute(
        ["ip", "address", "replace", address, "dev", BRIDGE], step="giving the bridge its address"
    )
    execute(["ip", "link", "set", BRIDGE, "up"], step="starting the bridge")
    execute(["nft", "-f", "-"], step="masquerading pods", given=MASQUERADE)
    addresses = {
        "type": "host-local",
        "dataDir": str(places.state / "addresses"),
        "ranges": [[{"subnet": POD_NETWORK, "gateway": HOST_ADDRESS}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {"type": "bridge", "bridge": BRIDGE, "hairpinMode": True, "ipam": addresses}
    network = {"cniVersion": "1.0.0", "name": BRIDGE, "plugins": [bridge]}
    cni = places.configuration / "cni"
    cni.mkdir(exist_ok=True)
    (cni / "10-argus.conflist").write_text(json.dumps(network, indent=2))


def take_down_network(places: Places) -> None:
    """Remove everything that `set_up_network`, the plugins and kube-proxy made."""
    for line in _links_on_bridge():
        succeeds(["ip", "link", "delete", line])
    succeeds(["ip", "link", "delete", BRIDGE])
    for table in (f"ip {NFT_TABLE}", *NFT_TABLES_OF_PROXY):
        succeeds(["nft", "delete", "table", *table.split()])
    _restore_settings(places)


def network_left() -> list[str]:
    """What is still there of it, in words."""
    listed = execute(["nft", "list", "tables"], step="listing nft tables").splitlines()
    ours = {f"table {name}" for name in (f"ip {NFT_TABLE}", *NFT_TABLES_OF_PROXY)}
    bridge = [f"bridge {BRIDGE}"] if bridge_exists() else []
    return [*bridge, *(f"nft {table}" for table in listed if table in ours)]


def bridge_exists() -> bool:
    return Path(f"/sys/class/net/{BRIDGE}").exists()


def _links_on_bridge() -> list[str]:
    if not bridge_exists():
        return []
    listed = execute(["ip", "-o", "link", "show", "master", BRIDGE], step="listing pod links")
    # "7: veth1a2b3c@if2: <BROADCAST..."
    return [line.split()[1].rstrip(":").partition("@")[0] for line in listed.splitlines()]


def _note_settings(places: Places) -> None:
    note = places.configuration / "kernel-settings.json"
    if not note.exists():
        found = {name: (Path("/proc/sys") / name).read_text() for name in CHANGED_SETTINGS}
        note.write_text(json.dumps(found))


def _restore_settings(places: Places) -> None:
    note = places.configuration / "kernel-settings.json"
    if note.exists():
        found: dict[str, str] = json.loads(note.read_text())
        for name, value in found.items():
            (Path("/proc/sys") / name).write_text(value)
