"""The bucket, read as a user would: with s3fs and the keys of the cluster."""

import json
from typing import Any

import s3fs
from botocore.exceptions import ClientError

from stage.kubectl import environment


def filesystem() -> s3fs.S3FileSystem:
    """Returns the bucket's file system, without a listing cache."""
    variables = environment()
    return s3fs.S3FileSystem(
        key=variables["AWS_ACCESS_KEY_ID"],
        secret=variables["AWS_SECRET_ACCESS_KEY"],
        endpoint_url=variables["ARGUS_S3_ENDPOINT"],
        client_kwargs={"region_name": variables["AWS_DEFAULT_REGION"]},
        use_listings_cache=False,
    )


def read_json(uri: str) -> dict[str, Any]:
    """Returns a JSON object by its s3:// address."""
    document: dict[str, Any] = json.loads(filesystem().cat_file(uri))
    return document


def files(uri: str) -> list[tuple[str, int]]:
    """Returns (name, bytes) of the objects directly under an s3:// prefix, sorted."""
    entries = filesystem().ls(uri, detail=True)
    return sorted(
        (entry["Key"].rsplit("/", 1)[-1], int(entry["size"]))
        for entry in entries
        if entry["type"] == "file"
    )


def upload(folder: str, uri: str) -> None:
    """Copies a local folder under an s3:// prefix, replacing what is there."""
    filesystem().put(folder.rstrip("/") + "/", uri.rstrip("/") + "/", recursive=True)


def refusal(access: str, secret: str) -> str:
    """Returns the server's code for a listing with these keys; empty when it lets them in."""
    variables = environment()
    client = s3fs.S3FileSystem(
        key=access,
        secret=secret,
        endpoint_url=variables["ARGUS_S3_ENDPOINT"],
        client_kwargs={"region_name": variables["AWS_DEFAULT_REGION"]},
        use_listings_cache=False,
        skip_instance_cache=True,
    )
    try:
        client.call_s3("list_objects_v2", Bucket="argus", MaxKeys=1)
    except (OSError, ClientError) as error:
        return f"{type(error).__name__}: {error}"
    return ""
