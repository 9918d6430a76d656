"""The sample of a bucket's lifecycle rules is what S3 takes, and expires nothing that counts."""

import json
from pathlib import Path

import botocore.session
from botocore.validate import ParamValidator

SAMPLE = Path(__file__).resolve().parents[3] / "manifests/samples/bucket-lifecycle.json"


def test_the_sample_is_valid_and_expires_only_the_cache_by_age():
    rules = json.loads(SAMPLE.read_text())
    model = botocore.session.get_session().get_service_model("s3")
    shape = model.operation_model("PutBucketLifecycleConfiguration").input_shape
    request = {"Bucket": "b", "LifecycleConfiguration": rules}
    assert ParamValidator().validate(request, shape).generate_report() == ""
    expired = [rule["Filter"]["Prefix"] for rule in rules["Rules"] if "Expiration" in rule]
    assert expired == ["checkpoints/stats/"]
