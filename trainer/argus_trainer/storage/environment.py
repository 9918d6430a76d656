"""How a command line reaches a store: AWS's own variables. A pod is told in its launch document."""

import os

from argus_contract.launch import LaunchStorage


def storage_from_environment() -> LaunchStorage:
    """Returns where the store is; keys are found by the S3 client itself."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return LaunchStorage(
        endpoint=endpoint,
        region=os.environ.get("AWS_DEFAULT_REGION") or os.environ.get("AWS_REGION"),
        path_style=endpoint is not None,
    )
