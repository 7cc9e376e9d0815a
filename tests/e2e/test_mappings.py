"""Event source mappings from queues to functions, through boto3 as a user has them."""

import json

import botocore.exceptions
import pytest

from functions import create, fresh_name
from squall_server import wait_until

APPEND = """
import json, os
def handler(event, context):
    failures = []
    for record in event["Records"]:
        message = json.loads(record["body"])
        with open(message["file"], "a") as file:
            file.write(json.dumps(record) + "\\n")
        if message.get("fail"):
            failures.append({"itemIdentifier": record["messageId"]})
    if event["Records"] and json.loads(event["Records"][0]["body"]).get("raise"):
        raise ValueError("no")
    return {"batchItemFailures": failures}
"""


@pytest.fixture(scope="module")
def sqs(server):
    return server.client("sqs")


@pytest.fixture(scope="module")
def function(client):
    return create(client, APPEND)


def queue(sqs, suffix="", **attributes):
    url = sqs.create_queue(QueueName=fresh_name("q") + suffix, Attributes=attributes)["QueueUrl"]
    return url, sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]


def send(sqs, url, file, **message):
    sqs.send_message(QueueUrl=url, MessageBody=json.dumps({"file": str(file)} | message))


def seen(file):
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def is_empty(sqs, url):
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed"]
    counts = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return all(count == "0" for count in counts.values())


def test_the_life_of_a_mapping(client, sqs, function, workdir):
    url, arn = queue(sqs)
    made = client.create_event_source_mapping(EventSourceArn=arn, FunctionName=function)
    assert (made["State"], made["BatchSize"], made["MaximumBatchingWindowInSeconds"]) == ("Creating", 10, 0)
    assert made["FunctionArn"].endswith(f":function:{function}")
    uuid = made["UUID"]
    assert client.get_event_source_mapping(UUID=uuid)["State"] == "Enabled"
    assert [m["UUID"] for m in client.list_event_source_mappings(EventSourceArn=arn)["EventSourceMappings"]] == [uuid]
    with pytest.raises(client.exceptions.ResourceConflictException):
        client.create_event_source_mapping(EventSourceArn=arn, FunctionName=function)
    ran = workdir / fresh_name("ran")
    send(sqs, url, ran)
    [record] = wait_until("the function has run", lambda: seen(ran))
    assert record["eventSource"] == "aws:sqs" and record["eventSourceARN"] == arn and record["awsRegion"] == "us-east-1"
    assert record["attributes"]["ApproximateReceiveCount"] == "1" and record["md5OfBody"]
    wait_until("the message is deleted", lambda: is_empty(sqs, url))
    assert client.get_event_source_mapping(UUID=uuid)["LastProcessingResult"] == "OK"
    assert client.update_event_source_mapping(UUID=uuid, Enabled=False, BatchSize=5)["State"] == "Disabling"
    changed = client.get_event_source_mapping(UUID=uuid)
    assert (changed["State"], changed["BatchSize"]) == ("Disabled", 5)
    send(sqs, url, ran, late=True)
    assert client.update_event_source_mapping(UUID=uuid, Enabled=True)["State"] == "Enabling"
    wait_until("the second message has come", lambda: len(seen(ran)) == 2)
    assert client.delete_event_source_mapping(UUID=uuid)["State"] == "Deleting"
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_event_source_mapping(UUID=uuid)


def test_a_mapping_that_cannot_work_is_refused(client, sqs, function):
    _, arn = queue(sqs)
    _, short = queue(sqs, VisibilityTimeout="2")
    _, fifo = queue(sqs, ".fifo", FifoQueue="true")
    for settings in (
        {"EventSourceArn": arn + "-none"}, {"FunctionName": "none"}, {"BatchSize": 11}, {"EventSourceArn": short},
        {"EventSourceArn": fifo, "BatchSize": 11}, {"FilterCriteria": {"Filters": [{"Pattern": "{\"body\": 1}"}]}},
        {"StartingPosition": "LATEST"}, {"ScalingConfig": {"MaximumConcurrency": 1001}},
        {"EventSourceArn": "arn:aws:kinesis:us-east-1:000000000000:stream/s"}, {"ParallelizationFactor": 2},
    ):
        with pytest.raises(client.exceptions.InvalidParameterValueException):
            client.create_event_source_mapping(**({"EventSourceArn": arn, "FunctionName": function} | settings))
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.delete_event_source_mapping(UUID="00000000-0000-0000-0000-000000000000")


def test_a_filter_chooses_and_the_rest_is_deleted(client, sqs, function, workdir):
    url, arn = queue(sqs)
    ran = workdir / fresh_name("ran")
    for kind in ("order", "noise", "order"):
        send(sqs, url, ran, kind=kind)
    sqs.send_message(QueueUrl=url, MessageBody="no JSON")
    pattern = json.dumps({"body": {"kind": ["order"]}})
    client.create_event_source_mapping(
        EventSourceArn=arn, FunctionName=function, FilterCriteria={"Filters": [{"Pattern": pattern}]})
    wait_until("the queue is empty", lambda: is_empty(sqs, url))
    assert [json.loads(record["body"])["kind"] for record in seen(ran)] == ["order", "order"]


def test_a_poisoned_message_ends_in_the_dead_letter_queue_alone(client, sqs, function, workdir):
    dead, dead_arn = queue(sqs)
    policy = json.dumps({"deadLetterTargetArn": dead_arn, "maxReceiveCount": 2})
    url, arn = queue(sqs, VisibilityTimeout="3", RedrivePolicy=policy)
    ran = workdir / fresh_name("ran")
    for number in range(6):
        send(sqs, url, ran, number=number, fail=number == 3)
    client.create_event_source_mapping(
        EventSourceArn=arn, FunctionName=function, FunctionResponseTypes=["ReportBatchItemFailures"])
    [got] = wait_until("the dead letter", lambda: sqs.receive_message(QueueUrl=dead, WaitTimeSeconds=20).get("Messages"), 40)
    assert json.loads(got["Body"])["number"] == 3
    wait_until("the queue is empty", lambda: is_empty(sqs, url))
    numbers = [json.loads(record["body"])["number"] for record in seen(ran)]
    assert sorted(numbers) == [0, 1, 2, 3, 3, 4, 5]


def test_messages_wait_for_a_function_that_is_gone(client, sqs, workdir):
    name = create(client, APPEND)
    url, arn = queue(sqs)
    uuid = client.create_event_source_mapping(EventSourceArn=arn, FunctionName=name)["UUID"]
    client.delete_function(FunctionName=name)
    ran = workdir / fresh_name("ran")
    send(sqs, url, ran)
    problem = lambda: client.get_event_source_mapping(UUID=uuid)["LastProcessingResult"].startswith("PROBLEM")
    wait_until("the mapping says what is wrong", problem)
    create(client, APPEND, name=name)
    [record] = wait_until("the message has come", lambda: seen(ran), 60)
    assert record["attributes"]["ApproximateReceiveCount"] == "1"


def test_a_mapping_works_after_a_restart_and_the_cli_redrives(workdir):
    from conftest import judged
    from squall_server import Server

    server = Server(workdir / "restarted")
    with judged(server):
        server.start()
        sqs, name = server.client("sqs"), create(server.client(), APPEND)
        url, arn = queue(sqs)
        server.client().create_event_source_mapping(EventSourceArn=arn, FunctionName=name)
        server.restart()
        ran = workdir / fresh_name("ran")
        sqs = server.client("sqs")
        send(sqs, sqs.get_queue_url(QueueName=arn.rpartition(":")[2])["QueueUrl"], ran)
        wait_until("the function has run", lambda: seen(ran))


def test_reserved_concurrency_of_zero_loses_nothing(client, sqs, workdir):
    name = create(client, APPEND)
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    dead, dead_arn = queue(sqs)
    policy = json.dumps({"deadLetterTargetArn": dead_arn, "maxReceiveCount": 1})
    url, arn = queue(sqs, RedrivePolicy=policy)
    uuid = client.create_event_source_mapping(EventSourceArn=arn, FunctionName=name)["UUID"]
    ran = workdir / fresh_name("ran")
    send(sqs, url, ran)
    throttled = lambda: "throttled" in client.get_event_source_mapping(UUID=uuid)["LastProcessingResult"]
    wait_until("it is throttled", throttled)
    client.delete_function_concurrency(FunctionName=name)
    wait_until("the message has come", lambda: seen(ran), 60)
    assert is_empty(sqs, dead)
