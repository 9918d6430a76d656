"""The `argus` command line, working on the cluster's bucket."""

import subprocess
import sys

from stage.kubectl import ROOT, environment


def argus(*arguments: str) -> None:
    """Runs `argus ...` with the address and keys of the cluster's S3 server.

    Raises subprocess.CalledProcessError when it ends with an error.
    """
    variables = environment()
    packages = ":".join(str(ROOT / folder) for folder in ("contract", "trainer"))
    own = {"PYTHONPATH": packages, "AWS_ENDPOINT_URL": variables["ARGUS_S3_ENDPOINT"]}
    command = [sys.executable, "-m", "argus_trainer", *arguments]
    subprocess.run(command, cwd=ROOT, env={**variables, **own}, check=True)
