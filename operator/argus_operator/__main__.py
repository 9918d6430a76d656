"""`python -m argus_operator`: ARGUS_CONFIG names the chart's configuration file.

Inside a cluster the pod's service account is used; outside, KUBECONFIG. ARGUS_REPLICA is the
pod's name: a container that is started again is the same replica. ARGUS_PROBES, if set, is
the address at which probes are answered, as host:port or :port.
"""

import os
import sys

import uvloop

from argus_operator import log, signals
from argus_operator.configuration import ConfigurationError, read_configuration
from argus_operator.errors import Ending
from argus_operator.process import Surroundings, run

MAX_DEPTH = 25_000
"""Of calls. The API server takes JSON of 10,000 levels, and anybody may nest an affinity so deep:
the lists and watches that it is in must still be read. That takes less than 2 MiB of stack."""


def main() -> int:
    sys.setrecursionlimit(MAX_DEPTH)
    signals.block()
    log.configure()
    try:
        # A fifth less processor time for each run than with asyncio's own loop.
        uvloop.run(_main())
    except (ConfigurationError, Ending) as error:
        print(f"argus-operator: {error}", file=sys.stderr)
        return 1
    return 0


async def _main() -> None:
    stop = signals.stop_on_signal()
    surroundings = Surroundings.read(os.environ)
    await run(surroundings, read_configuration(surroundings.configuration_path), stop)


if __name__ == "__main__":
    sys.exit(main())
