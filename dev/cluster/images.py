"""Container images without a daemon and without a registry.

Two images are made here: a minimal Debian with Python that stands in for the official
`python:3.11-slim-bookworm` (its interpreter is the system's, marked as externally managed, so a
Dockerfile must install into a virtual environment), and the pause image. Others are built from
Dockerfiles. Buildah keeps all of them in its own storage in the cache; containerd, whose store dies
with the cluster, gets a copy. A label on the copy names the image it was made from, which makes a
second import free.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .execution import execute, timed
from .failures import MissingPrerequisite
from .places import PAUSE_IMAGE, PYTHON_IMAGE, Places

RECIPE_LABEL = "argus.dev/recipe"
ID_LABEL = "argus.dev/image-id"
CERTIFICATES = "/etc/ssl/certs"
DEBIAN = ("--variant=minbase", "--include=python3,python3-venv,ca-certificates")
"""Measured: 225 MB."""
PYTHON_LINK = "--customize-hook=ln -s python3 $1/usr/bin/python"
PYTHON_DOCKERFILE = """\
FROM scratch
ADD root.tar /
CMD ["python3"]
"""
PAUSE_DOCKERFILE = """\
FROM scratch
COPY pause /pause
ENTRYPOINT ["/pause"]
"""


def build_base_images(places: Places) -> None:
    """Make the images that every pod and every other image stand on, unless they are there."""
    recipe = _digest("".join((*DEBIAN, PYTHON_LINK, PYTHON_DOCKERFILE)).encode())
    if _label_of_built(places, PYTHON_IMAGE, RECIPE_LABEL) != recipe:
        with timed(f"base image {PYTHON_IMAGE}"), _scratch_folder(places) as folder:
            root = str(folder / "root.tar")
            debian = ["nice", "mmdebstrap", *DEBIAN, PYTHON_LINK, "bookworm", root]
            execute(debian, step="mmdebstrap")
            _build_from_text(places, PYTHON_IMAGE, PYTHON_DOCKERFILE, folder, recipe)
    pause = (places.programs / "pause").read_bytes()
    recipe = _digest(pause + PAUSE_DOCKERFILE.encode())
    if _label_of_built(places, PAUSE_IMAGE, RECIPE_LABEL) != recipe:
        with timed(f"pause image {PAUSE_IMAGE}"), _scratch_folder(places) as folder:
            shutil.copy(places.programs / "pause", folder / "pause")
            _build_from_text(places, PAUSE_IMAGE, PAUSE_DOCKERFILE, folder, recipe)


def build_image(places: Places, tag: str, dockerfile: Path, context: Path) -> None:
    """Build an image of the project and hand it to containerd as `localhost/TAG`."""
    if not places.containerd_socket.exists():
        raise MissingPrerequisite("no cluster is running: start it with `up`")
    name = f"localhost/{tag}"
    with timed(f"build of {name}"):
        # Hosts whose proxy re-signs TLS have its authority among their own certificates.
        trust = ["--volume", f"{CERTIFICATES}:{CERTIFICATES}:ro", "--env", "UV_SYSTEM_CERTS=1"]
        stand_in = ["--build-arg", f"BASE_IMAGE={PYTHON_IMAGE}"]
        _build(places, name, [*trust, *stand_in, "-f", str(dockerfile), str(context)])
    import_image(places, name)


def import_image(places: Places, name: str) -> None:
    """Copy an image from buildah to containerd, unless this very image is already there."""
    image_id = _inspect(places, name, "{{.FromImageID}}")
    if f"{ID_LABEL}={image_id}" in _ctr(places, "images", "ls", f"name=={name}"):
        return
    with timed(f"import of {name}"), _scratch_folder(places) as folder:
        archive = folder / "image.tar"
        push = ["push", "--quiet", name, f"docker-archive:{archive}:{name}"]
        execute(_buildah(places, *push), step=f"export of {name}")
        # containerd needs the packed layers no more once they are unpacked: half of the disk.
        _ctr(places, "images", "import", "--local", "--discard-unpacked-layers", str(archive))
        _ctr(places, "images", "label", name, f"{ID_LABEL}={image_id}")


def _build_from_text(
    places: Places, name: str, dockerfile: str, context: Path, recipe: str
) -> None:
    file = context / "Dockerfile"
    file.write_text(dockerfile)
    _build(places, name, ["--label", f"{RECIPE_LABEL}={recipe}", "-f", str(file), str(context)])


def _build(places: Places, name: str, arguments: list[str]) -> None:
    options = ["--pull-never", "--isolation", "chroot", "--network", "host", "--layers"]
    execute(
        ["nice", *_buildah(places, "build", *options, "--tag", name, *arguments)],
        step=f"build of {name}",
    )


def _buildah(places: Places, *arguments: str) -> list[str]:
    storage = places.image_layers
    # Without skip_mount_home a mount of the storage on itself would stay until the next boot.
    driver = ["--storage-driver", "overlay", "--storage-opt", "overlay.skip_mount_home=true"]
    roots = ["--root", f"{storage}/layers", "--runroot", f"{storage}/run"]
    return ["buildah", *roots, *driver, *arguments]


def _inspect(places: Places, name: str, template: str) -> str:
    argv = _buildah(places, "inspect", "--type", "image", "--format", template, name)
    return execute(argv, step=f"inspecting {name}").strip()


def _label_of_built(places: Places, name: str, label: str) -> str | None:
    """A label of an image in buildah's storage; None when there is no such image."""
    template = f'{{{{index .OCIv1.Config.Labels "{label}"}}}}'
    argv = _buildah(places, "inspect", "--type", "image", "--format", template, name)
    ended = subprocess.run(argv, capture_output=True, text=True, check=False)
    return ended.stdout.strip() if ended.returncode == 0 else None


def _ctr(places: Places, *arguments: str) -> str:
    program = [str(places.programs / "ctr"), "--address", str(places.containerd_socket)]
    return execute([*program, "--namespace", "k8s.io", *arguments], step=f"ctr {arguments[1]}")


def _digest(recipe: bytes) -> str:
    return hashlib.sha256(recipe).hexdigest()[:12]


@contextmanager
def _scratch_folder(places: Places) -> Iterator[Path]:
    """A folder for archives of any size: in the cache, because /tmp may live in memory."""
    places.image_layers.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=places.image_layers, prefix="archive-") as folder:
        yield Path(folder)
