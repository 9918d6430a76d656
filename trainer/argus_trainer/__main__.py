"""`python -m argus_trainer`: the entry point of the trainer image.

`main` keeps the signals of a run from the first instant on: the kernel drops a SIGTERM to the
first process of a container as long as nobody blocks or handles it.
"""

import os
import sys
from typing import NoReturn

from argus_trainer.cli import main


def leave(end: SystemExit) -> NoReturn:
    """Ends the process without taking it apart.

    The clean-up of torch's libraries would bring 115 MiB of them into memory that no training
    had touched, when all work is done: a container near its limit would be killed for it.
    """
    if isinstance(end.code, str):
        print(end.code, file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(end.code if isinstance(end.code, int) else int(end.code is not None))


if __name__ == "__main__":
    try:
        main()
    except SystemExit as end:
        leave(end)
