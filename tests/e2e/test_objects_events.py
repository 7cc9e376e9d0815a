"""Notifications: changes of objects reach functions and queues, as S3's records, also through a kill -9."""

import json
import urllib.parse

import pytest
from botocore.exceptions import ClientError

from conftest import judged
from functions import create, fresh_name
from squall_server import Server, wait_until

HOME = "000000000000"
WAIT = 60

RECORD = """
import os
def handler(event, context):
    for record in event["Records"]:
        line = f"{record['eventName']} {record['s3']['object']['key']}\\n"
        file = os.open(os.environ["FILE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(file, line.encode())
        os.close(file)
"""


def function_arn(name):
    return f"arn:aws:lambda:us-east-1:{HOME}:function:{name}"


def queue_arn(name):
    return f"arn:aws:sqs:us-east-1:{HOME}:{name}"


def notify(s3, bucket, **configurations):
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=configurations)


def rules(prefix="", suffix=""):
    return {"Key": {"FilterRules": [{"Name": "prefix", "Value": prefix}, {"Name": "suffix", "Value": suffix}]}}


class Queue:
    """A queue that bucket events come to."""

    def __init__(self, server):
        self.name, self.sqs = fresh_name("told"), server.client("sqs")
        self.url = self.sqs.create_queue(QueueName=self.name)["QueueUrl"]

    def take(self, count):
        """So many messages."""
        found = []

        def complete():
            got = self.sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10, WaitTimeSeconds=1)
            for message in got.get("Messages", []):
                self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
                found.append(json.loads(message["Body"]))
            return len(found) >= count

        wait_until(f"{count} events are in the queue", complete, WAIT)
        return found


def test_a_queue_is_told_of_every_kind_of_change(server, s3, bucket):
    queue = Queue(server)
    notify(s3, bucket, QueueConfigurations=[
        {"Id": "all", "QueueArn": queue_arn(queue.name), "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]}])
    [test] = queue.take(1)
    assert (test["Event"], test["Bucket"]) == ("s3:TestEvent", bucket)
    etag = s3.put_object(Bucket=bucket, Key="a b/ü.png", Body=b"12345")["ETag"].strip('"')
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "a b/ü.png"})
    upload = s3.create_multipart_upload(Bucket=bucket, Key="parts")["UploadId"]
    part = s3.upload_part(Bucket=bucket, Key="parts", UploadId=upload, PartNumber=1, Body=b"x")["ETag"]
    s3.complete_multipart_upload(Bucket=bucket, Key="parts", UploadId=upload,
                                 MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part}]})
    s3.delete_object(Bucket=bucket, Key="copy")
    s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "parts"}, {"Key": "never there"}]})
    records = [record for event in queue.take(5) for record in event["Records"]]
    told = sorted((record["eventName"], record["s3"]["object"]["key"]) for record in records)
    assert told == [
        ("ObjectCreated:CompleteMultipartUpload", "parts"), ("ObjectCreated:Copy", "copy"),
        ("ObjectCreated:Put", "a+b/%C3%BC.png"), ("ObjectRemoved:Delete", "copy"), ("ObjectRemoved:Delete", "parts")]
    [put] = [record for record in records if record["eventName"] == "ObjectCreated:Put"]
    assert urllib.parse.unquote_plus(put["s3"]["object"]["key"]) == "a b/ü.png"
    assert (put["s3"]["object"]["size"], put["s3"]["object"]["eTag"]) == (5, etag)
    assert (put["eventSource"], put["awsRegion"], put["eventVersion"]) == ("aws:s3", "us-east-1", "2.1")
    assert put["s3"]["bucket"]["arn"] == f"arn:aws:s3:::{bucket}" and put["s3"]["configurationId"] == "all"
    assert put["userIdentity"]["principalId"].endswith(":root")
    [made, removed] = [next(r for r in records if r["eventName"] == name and r["s3"]["object"]["key"] == "copy")
                       for name in ("ObjectCreated:Copy", "ObjectRemoved:Delete")]
    assert made["s3"]["object"]["sequencer"] < removed["s3"]["object"]["sequencer"]


def test_filters_choose_what_a_function_is_told(server, client, s3, bucket, workdir):
    told = workdir / fresh_name("told")
    name = create(client, RECORD, Environment={"Variables": {"FILE": str(told)}})
    notify(s3, bucket, LambdaFunctionConfigurations=[
        {"LambdaFunctionArn": function_arn(name), "Events": ["s3:ObjectCreated:Put"], "Filter": rules("in/", ".png")}])
    kept = s3.get_bucket_notification_configuration(Bucket=bucket)["LambdaFunctionConfigurations"][0]
    assert kept["Id"] and kept["Filter"]["Key"]["FilterRules"] == [
        {"Name": "prefix", "Value": "in/"}, {"Name": "suffix", "Value": ".png"}]
    for key in ("out/a.png", "in/a.jpg", "in/a.png"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    s3.copy_object(Bucket=bucket, Key="in/copy.png", CopySource={"Bucket": bucket, "Key": "in/a.png"})
    s3.put_object(Bucket=bucket, Key="in/last.png", Body=b"")
    lines = lambda: sorted(told.read_text().splitlines()) if told.exists() else []
    wait_until("the function is told of the last", lambda: "ObjectCreated:Put in/last.png" in lines(), WAIT)
    wait_until("and of the first", lambda: lines() == ["ObjectCreated:Put in/a.png", "ObjectCreated:Put in/last.png"], WAIT)


def test_notifications_that_cannot_be_are_refused(server, s3, bucket):
    queue = Queue(server)
    good = {"QueueArn": queue_arn(queue.name), "Events": ["s3:ObjectCreated:*"]}
    fifo = fresh_name("f") + ".fifo"
    queue.sqs.create_queue(QueueName=fifo, Attributes={"FifoQueue": "true"})
    for wrong, words in [
        ({"QueueConfigurations": [good | {"QueueArn": queue_arn("nobody")}]}, "Unable to validate"),
        ({"QueueConfigurations": [good | {"QueueArn": queue_arn(fifo)}]}, "FIFO"),
        ({"QueueConfigurations": [good | {"QueueArn": "arn:aws:sns:us-east-1:000000000000:t"}]}, "well formed"),
        ({"LambdaFunctionConfigurations": [
            {"LambdaFunctionArn": function_arn("nobody"), "Events": ["s3:ObjectCreated:*"]}]}, "Unable to validate"),
        ({"QueueConfigurations": [good, good | {"Events": ["s3:ObjectCreated:Put"]}]}, "overlap"),
        ({"QueueConfigurations": [good | {"Events": ["s3:ObjectTagging:*"]}]}, "not supported"),
        ({"EventBridgeConfiguration": {}}, "EventBridge"),
    ]:
        with pytest.raises(ClientError, match=words):
            notify(s3, bucket, **wrong)
    assert "QueueConfigurations" not in s3.get_bucket_notification_configuration(Bucket=bucket)
    both = [good | {"Filter": rules(suffix=".png")}, good | {"Filter": rules(suffix=".jpg")}]
    notify(s3, bucket, QueueConfigurations=both)
    notify(s3, bucket)
    assert "QueueConfigurations" not in s3.get_bucket_notification_configuration(Bucket=bucket)


def test_an_event_is_told_once_though_the_server_dies(workdir):
    with judged(Server(workdir / "killed")) as server:
        server.start()
        s3, queue, bucket = server.client("s3"), Queue(server), fresh_name("killed")
        s3.create_bucket(Bucket=bucket)
        notify(s3, bucket, QueueConfigurations=[
            {"QueueArn": queue_arn(queue.name), "Events": ["s3:ObjectCreated:*"]}])
        queue.take(1)
        keys = []
        for batch in range(4):
            for number in range(10):
                keys.append(f"{batch}-{number}")
                s3.put_object(Bucket=bucket, Key=keys[-1], Body=b"x")
            server.kill9()
            server.start()
            s3 = server.client("s3")
            queue.sqs = server.client("sqs")
            queue.url = queue.sqs.get_queue_url(QueueName=queue.name)["QueueUrl"]
        told = [record["s3"]["object"]["key"] for event in queue.take(len(keys)) for record in event["Records"]]
        assert sorted(told) == sorted(keys)
        more = queue.sqs.receive_message(QueueUrl=queue.url, WaitTimeSeconds=1)
        assert "Messages" not in more, more
