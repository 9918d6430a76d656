"""`python -m argus_operator`: ARGUS_CONFIG names the chart's configuration file.

Inside a cluster the pod's service account is used; outside, KUBECONFIG. ARGUS_LIVENESS,
if set, is the address at which probes are answered, for example http://0.0.0.0:8081/healthz.
"""

import asyncio
import os
import sys

from argus_operator import log
from argus_operator.configuration import ConfigurationError, read_configuration
from argus_operator.process import StartError, Surroundings, run


def main() -> int:
    log.configure()
    try:
        surroundings = Surroundings.read(os.environ)
        configuration = read_configuration(surroundings.configuration_path)
        asyncio.run(run(surroundings, configuration))
    except (ConfigurationError, StartError) as error:
        print(f"argus-operator: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
