"""`python -m argus_trainer`: the entry point of the trainer image.

In a pod the signals are kept from the first instant on: the kernel drops a SIGTERM to the
first process of a container as long as nobody blocks or handles it.
"""

import sys

from argus_trainer.process.stop import block_signals

if __name__ == "__main__":
    if sys.argv[1:2] == ["run"]:
        block_signals()
    from argus_trainer.cli import main

    main()
