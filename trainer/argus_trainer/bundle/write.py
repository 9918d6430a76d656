"""Writes a bundle: its files first and MANIFEST.json last, which makes it count.

Every retry writes the same bytes, and writing the same bytes again is success: so a pod that
dies in publishing leaves nothing that its successor has to clean up.
"""

import hashlib

from argus_contract import layout
from argus_contract.ledger import BundleFile, BundleManifest
from argus_trainer.bundle.content import BundleContent
from argus_trainer.bundle.files import files_of
from argus_trainer.storage.records import write_new
from argus_trainer.storage.store import Store


def write_bundle(output: Store, content: BundleContent) -> BundleManifest:
    """Writes the bundle of `content` below its name in `output` and returns its manifest.

    Raises ObjectExists when another content stands under that name.
    """
    name = content.plan.bundle_name
    files = files_of(content)
    for file_name, data in files.items():
        output.put_new(f"{name}/{file_name}", data)
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
    write_new(output, f"{name}/{layout.BUNDLE_MANIFEST}", manifest)
    return manifest
