"""The command line: `PYTHONPATH=dev python3 -m cluster COMMAND [--size api]`."""

from __future__ import annotations

import argparse
import fcntl
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .execution import timed
from .failures import ClusterError
from .images import build_image
from .places import Places, Size
from .prerequisites import require_system
from .report import print_environment, print_status
from .start import bring_up, build
from .stop import take_down
from .trouble import SIGNALS, send_signal


def main(arguments: Sequence[str]) -> int:
    """Run one command; the exit status says whether it succeeded."""
    options = _parser().parse_args(arguments)
    try:
        require_system(options.size)
        return _run(options, Places.from_environment(os.environ, options.size))
    except ClusterError as error:
        print(f"cluster: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever read the output has seen enough (`status | head`); the rest goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("cluster: interrupted; the same command continues where it stopped", file=sys.stderr)
        return 130


def _run(options: argparse.Namespace, places: Places) -> int:
    match options.command:
        case "status":
            return 0 if print_status(places) else 1
        case "env":
            print_environment(places)
        case "build":
            with _alone(places):
                build(places)
        case "up":
            with _alone(places), timed("up, in all"):
                bring_up(places)
        case "signal":
            with _alone(places):
                send_signal(places, options.part, options.signal)
        case "down":
            with _alone(places):
                take_down(places)
        case _:
            dockerfile: Path = options.dockerfile
            with _alone(places):
                build_image(places, options.tag, dockerfile, options.context or dockerfile.parent)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cluster", description="A real Kubernetes on this machine."
    )
    parser.set_defaults(size=Size.WHOLE)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    of_a_size = argparse.ArgumentParser(add_help=False)
    of_a_size.add_argument(
        "--size",
        type=Size,
        choices=list(Size),
        default=Size.WHOLE,
        help="whole: with a node that runs containers, and S3; api: the control plane and kwok",
    )

    def add(name: str, help_line: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=help_line, parents=[of_a_size])

    add("build", "make binaries and base images, and keep them in the cache")
    add("up", "start what is not running, building what is missing")
    add("status", "one line per part; exit status 1 if something is down")
    add("down", "remove the cluster and everything it made")
    trouble = add("signal", "send one part a signal: KILL is a crash")
    trouble.add_argument("part", metavar="PART", help="a name that status prints")
    trouble.add_argument("signal", choices=SIGNALS)
    add("env", "print export lines for eval")
    image = commands.add_parser("image", help="build an image and import it as localhost/TAG")
    image.add_argument("tag", metavar="TAG", help="name and tag, such as argus/operator:dev")
    image.add_argument("dockerfile", metavar="DOCKERFILE", type=Path)
    image.add_argument(
        "context", metavar="CONTEXT", type=Path, nargs="?", help="default: its folder"
    )
    return parser


@contextmanager
def _alone(places: Places) -> Iterator[None]:
    """Let one changing command run at a time; a second one waits."""
    places.cache.mkdir(parents=True, exist_ok=True)
    with places.lock.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
