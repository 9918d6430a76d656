"""Writes a bundle: its files first and MANIFEST.json last, which makes it count.

Every retry writes the same bytes, and writing the same bytes again is success: so a pod that
dies in publishing leaves nothing that its successor has to clean up.
"""

import hashlib
from functools import partial

from argus_contract import layout
from argus_contract.digests import wire_bytes
from argus_contract.ledger import BundleFile, BundleManifest
from argus_trainer.bundle.content import BundleContent
from argus_trainer.bundle.files import files_of
from argus_trainer.errors import ObjectExists
from argus_trainer.storage.store import Store


def write_bundle(output: Store, content: BundleContent, *, mends: bool = False) -> BundleManifest:
    """Writes the bundle of `content` below its name in `output` and returns its manifest.

    With `mends` a file of other bytes is replaced: the bundle was public, and is damaged. At each
    instant it is damaged still, or whole. Raises ObjectExists when another content stands under
    that name.
    """
    name = content.plan.bundle_name
    files = files_of(content)
    put = partial(_put_or_replace, output) if mends else output.put_new
    for file_name, data in files.items():
        put(f"{name}/{file_name}", data)
    manifest = BundleManifest(
        run_key=content.plan.run_key,
        files=tuple(
            BundleFile(name=file_name, size=len(data), sha256=hashlib.sha256(data).hexdigest())
            for file_name, data in sorted(files.items())
        ),
        manifest_digest=content.plan.manifest_digest,
        window_end=content.plan.window.end,
        seed=content.plan.seed,
        image=content.plan.image,
        metrics={key: repr(value) for key, value in sorted(content.outcome.metrics.items())},
        versions=content.manifest.versions,
    )
    put(f"{name}/{layout.BUNDLE_MANIFEST}", wire_bytes(manifest))
    return manifest


def _put_or_replace(output: Store, key: str, data: bytes) -> None:
    try:
        output.put_new(key, data)
    except ObjectExists:
        output.delete([key])
        output.put_new(key, data)
