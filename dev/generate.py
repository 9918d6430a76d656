"""Writes the files that are generated from the contract, or checks that they are up to date.

`make generate` writes; `make verify` runs it with --check and fails on a difference.
"""

import sys
from pathlib import Path

from argus_contract.crd import to_yaml

ROOT = Path(__file__).resolve().parent.parent
CRD_FILES = (
    ROOT / "manifests/crd/argustrainingjobs.yaml",
    ROOT / "charts/argus/crd-files/argustrainingjobs.yaml",
)


def main() -> int:
    check = sys.argv[1:] == ["--check"]
    text = to_yaml()
    stale = [path for path in CRD_FILES if not path.is_file() or path.read_text() != text]
    for path in stale:
        if check:
            print(f"{path.relative_to(ROOT)} is not up to date: run `make generate`")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            print(f"wrote {path.relative_to(ROOT)}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
