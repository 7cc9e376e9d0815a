"""Who may do what with objects: keys, roles of functions, and what a denial says."""

import json

import boto3
import pytest
from botocore.exceptions import ClientError

import wire
from functions import create, fresh_name
from test_access import HOME, SITE, Holder, inside


@pytest.fixture(scope="module")
def buckets(s3):
    """One that is open and one that is not, each with an object."""
    names = fresh_name("open"), fresh_name("closed")
    for name in names:
        s3.create_bucket(Bucket=name)
        s3.put_object(Bucket=name, Key="k", Body=name.encode())
    return names


READ = """
import boto3
from botocore.exceptions import ClientError

def handler(event, context):
    try:
        return {"body": boto3.client("s3").get_object(**event["parameters"])["Body"].read().decode()}
    except ClientError as error:
        return {"error": error.response["Error"]}
"""


def holder(server, *statements):
    policy = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
    return Holder(server, server.squall("keys", "create", fresh_name("key"), "--policy", policy).stdout)


def allow(action, *resources):
    return {"Effect": "Allow", "Action": action, "Resource": [f"arn:aws:s3:::{one}" for one in resources]}


def denied(call, action, arn):
    with pytest.raises(ClientError) as refused:
        call()
    error = refused.value.response
    assert (error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"]) == ("AccessDenied", 403), error
    words = f"is not authorized to perform: {action} on resource: {arn} because no identity-based policy allows"
    assert words in error["Error"]["Message"], error


def test_a_key_reaches_what_its_policy_names(server, s3, buckets):
    opened, closed = buckets
    key = holder(server, allow(["s3:GetObject", "s3:PutObject"], f"{opened}/*"), allow("s3:ListBucket", opened))
    client = key.client("s3")
    assert client.get_object(Bucket=opened, Key="k")["Body"].read() == opened.encode()
    client.put_object(Bucket=opened, Key="mine", Body=b"x")
    assert client.list_objects_v2(Bucket=opened)["KeyCount"] == 2
    arn = f"arn:aws:s3:::{closed}"
    denied(lambda: client.get_object(Bucket=closed, Key="k"), "s3:GetObject", f"{arn}/k")
    denied(lambda: client.list_objects_v2(Bucket=closed), "s3:ListBucket", arn)
    denied(lambda: client.list_buckets(), "s3:ListAllMyBuckets", r"*")
    denied(lambda: client.delete_object(Bucket=opened, Key="k"), "s3:DeleteObject", f"arn:aws:s3:::{opened}/k")
    denied(lambda: client.create_bucket(Bucket="another"), "s3:CreateBucket", "arn:aws:s3:::another")
    denied(lambda: client.put_object(Bucket=opened, Key="t", Body=b"", Tagging="a=b"), "s3:PutObjectTagging",
           f"arn:aws:s3:::{opened}/t")
    source = {"Bucket": closed, "Key": "k"}
    denied(lambda: client.copy_object(Bucket=opened, Key="c", CopySource=source), "s3:GetObject", f"{arn}/k")
    upload = client.create_multipart_upload(Bucket=opened, Key="c")["UploadId"]
    denied(lambda: client.upload_part_copy(Bucket=opened, Key="c", UploadId=upload, PartNumber=1, CopySource=source),
           "s3:GetObject", f"{arn}/k")
    denied(lambda: client.abort_multipart_upload(Bucket=opened, Key="c", UploadId=upload), "s3:AbortMultipartUpload",
           f"arn:aws:s3:::{opened}/c")
    s3.abort_multipart_upload(Bucket=opened, Key="c", UploadId=upload)


def test_of_many_keys_those_are_deleted_that_may_be(server, s3, buckets):
    opened, _ = buckets
    for key in ("del/1", "del/2", "keep/1"):
        s3.put_object(Bucket=opened, Key=key, Body=b"")
    client = holder(server, allow("s3:DeleteObject", f"{opened}/del/*")).client("s3")
    objects = [{"Key": key} for key in ("del/1", "keep/1", "del/2")]
    done = client.delete_objects(Bucket=opened, Delete={"Objects": objects})
    assert [one["Key"] for one in done["Deleted"]] == ["del/1", "del/2"]
    assert [(one["Key"], one["Code"]) for one in done["Errors"]] == [("keep/1", "AccessDenied")]
    assert s3.head_object(Bucket=opened, Key="keep/1")["ContentLength"] == 0


def test_a_link_may_do_what_its_signer_may(server, s3, buckets):
    opened, closed = buckets
    client = holder(server, allow("s3:GetObject", f"{opened}/*")).client("s3")
    link = lambda operation, bucket: client.generate_presigned_url(operation, {"Bucket": bucket, "Key": "k"}, 60)
    assert wire.send(link("get_object", opened)).body == opened.encode()
    refused = wire.send(link("get_object", closed))
    assert refused.status == 403 and b"s3:GetObject" in refused.body
    assert wire.send(link("put_object", opened), "PUT", body=b"changed").status == 403


def test_code_comes_only_from_objects_that_the_caller_may_read(server, buckets):
    _, closed = buckets
    everything_else = {"Effect": "Allow", "Action": ["lambda:*", "iam:*"], "Resource": "*"}
    client = holder(server, everything_else).client()
    with pytest.raises(ClientError, match=f"s3:GetObject on resource: arn:aws:s3:::{closed}/k"):
        client.create_function(FunctionName=fresh_name(), Runtime="python3.11", Handler="a.b",
                               Role=f"arn:aws:iam::{HOME}:role/squall", Code={"S3Bucket": closed, "S3Key": "k"})


def test_a_function_reads_one_bucket_and_is_denied_another(server, client, s3, buckets):
    opened, closed = buckets
    role = fresh_name("role")
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allow("s3:GetObject", f"{opened}/*")]})
    server.squall("roles", "put", role, "--policy", policy)
    name = create(client, READ, Timeout=60, MemorySize=512, Role=f"arn:aws:iam::{HOME}:role/{role}",
                  Environment={"Variables": {"PYTHONPATH": SITE}})
    assert inside(client, name, "get_object", {"Bucket": opened, "Key": "k"}) == {"body": opened}
    refused = inside(client, name, "get_object", {"Bucket": closed, "Key": "k"})["error"]
    assert refused["Code"] == "AccessDenied", refused
    assert refused["Message"] == (
        f"User: arn:aws:sts::{HOME}:assumed-role/{role}/{name} is not authorized to perform: s3:GetObject "
        f"on resource: arn:aws:s3:::{closed}/k because no identity-based policy allows the s3:GetObject action")
    lines = [json.loads(line) for line in (server.data_dir / "audit.jsonl").read_text().splitlines()]
    ours = [line for line in lines if f"assumed-role/{role}/" in line["principal"] and not line["allowed"]]
    assert [(line["action"], line["resource"]) for line in ours] == [("s3:GetObject", f"arn:aws:s3:::{closed}/k")]


def test_a_token_that_is_missing_or_wrong_is_refused(server, client, buckets):
    opened, _ = buckets
    leak = "import os\ndef handler(e, c):\n    return [os.environ[name] for name in e]\n"
    name = create(client, leak)
    names = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"]
    key, secret, token = json.load(client.invoke(FunctionName=name, Payload=json.dumps(names))["Payload"])
    for wrong in (None, token[:-1] + ("y" if token.endswith("x") else "x")):
        session = boto3.Session(key, secret, wrong, region_name="us-east-1")
        with pytest.raises(ClientError, match="InvalidToken"):
            session.client("s3", endpoint_url=server.endpoint).get_object(Bucket=opened, Key="k")


def test_a_notification_needs_the_right_to_call_its_target(server, client, s3, buckets):
    opened, _ = buckets
    name = create(client, "def handler(e, c):\n    pass\n")
    arn = f"arn:aws:lambda:us-east-1:{HOME}:function:{name}"
    configuration = {"LambdaFunctionConfigurations": [
        {"Id": "n", "LambdaFunctionArn": arn, "Events": ["s3:ObjectCreated:*"]}]}
    setter = holder(server, allow("s3:PutBucketNotification", opened)).client("s3")
    put = lambda: setter.put_bucket_notification_configuration(
        Bucket=opened, NotificationConfiguration=configuration)
    with pytest.raises(ClientError, match="Unable to validate the following destination configurations.*InvokeFunction"):
        put()
    for source in ("arn:aws:s3:::another", f"arn:aws:s3:::{opened}"):
        client.add_permission(FunctionName=name, StatementId=source.rpartition(":")[2], Action="lambda:InvokeFunction",
                              Principal="s3.amazonaws.com", SourceArn=source)
        if source.endswith("another"):
            with pytest.raises(ClientError, match="Unable to validate"):
                put()
    put()
    set_now = s3.get_bucket_notification_configuration(Bucket=opened)
    assert set_now["LambdaFunctionConfigurations"] == configuration["LambdaFunctionConfigurations"]
    s3.put_bucket_notification_configuration(Bucket=opened, NotificationConfiguration={})
