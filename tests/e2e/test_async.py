"""Asynchronous invokes with boto3: how they are tried, where what came of them goes, and who looks after the rest."""

import json
import uuid

import botocore.exceptions
import pytest

from functions import create, zipped
from squall_server import wait_until

pytestmark = pytest.mark.expected_log("gave up on an accepted event")

# Answers what it is sent, or raises where that says so.
WORKER = """
def handler(event, context):
    if "raise" in event:
        raise ValueError(event["raise"])
    return {"did": event, "id": context.aws_request_id}
"""

# Keeps what it is sent where the test can read it.
KEEPER = """
import json, os, uuid
def handler(event, context):
    custom = context.client_context.custom if context.client_context else None
    path = os.path.join(os.environ["FOLDER"], uuid.uuid4().hex)
    with open(path + ".new", "w") as file:
        json.dump({"event": event, "custom": custom}, file)
    os.rename(path + ".new", path)
"""


@pytest.fixture(scope="module")
def worker(client):
    return create(client, WORKER)


@pytest.fixture
def keeper(client, meeting):
    """(ARN, what it was sent so far)"""
    name = create(client, KEEPER, Environment={"Variables": {"FOLDER": str(meeting)}})
    arn = client.get_function_configuration(FunctionName=name)["FunctionArn"]

    def sent():
        return [json.loads(path.read_text()) for path in meeting.iterdir() if not path.name.endswith(".new")]

    return arn, sent


def send(client, name, event, **kwargs):
    answer = client.invoke(FunctionName=name, InvocationType="Event", Payload=json.dumps(event), **kwargs)
    assert answer["StatusCode"] == 202
    return answer["ResponseMetadata"]["RequestId"]


def refused(call, code, **kwargs):
    with pytest.raises(botocore.exceptions.ClientError) as error:
        call(**kwargs)
    assert error.value.response["Error"]["Code"] == code
    return error.value.response["Error"]["Message"]


def test_a_configuration_is_put_changed_listed_and_deleted(client, worker, keeper):
    arn, _ = keeper
    put = client.put_function_event_invoke_config(
        FunctionName=worker, MaximumRetryAttempts=1, MaximumEventAgeInSeconds=120,
        DestinationConfig={"OnSuccess": {"Destination": arn}},
    )
    assert put["FunctionArn"].endswith(f":function:{worker}:$LATEST")
    assert (put["MaximumRetryAttempts"], put["MaximumEventAgeInSeconds"]) == (1, 120)
    assert put["DestinationConfig"] == {"OnSuccess": {"Destination": arn}, "OnFailure": {}}
    changed = client.update_function_event_invoke_config(FunctionName=worker, MaximumRetryAttempts=0)
    assert (changed["MaximumRetryAttempts"], changed["MaximumEventAgeInSeconds"]) == (0, 120)
    got = client.get_function_event_invoke_config(FunctionName=worker, Qualifier="$LATEST")
    assert got["LastModified"] == changed["LastModified"] >= put["LastModified"]
    client.publish_version(FunctionName=worker)
    client.put_function_event_invoke_config(FunctionName=worker, Qualifier="1", MaximumRetryAttempts=2)
    listed = client.list_function_event_invoke_configs(FunctionName=worker)["FunctionEventInvokeConfigs"]
    assert [config["FunctionArn"].rpartition(":")[2] for config in listed] == ["$LATEST", "1"]
    client.delete_function_event_invoke_config(FunctionName=worker)
    refused(client.get_function_event_invoke_config, "ResourceNotFoundException", FunctionName=worker)


def test_bad_configurations_are_refused_by_name(client, worker):
    put = client.put_function_event_invoke_config
    absent = "arn:aws:lambda:us-east-1:000000000000:function:absent"
    own = client.get_function_configuration(FunctionName=worker)["FunctionArn"]
    topic = "arn:aws:sns:us-east-1:000000000000:topic"
    ordered = "arn:aws:sqs:us-east-1:000000000000:ordered.fifo"
    for target, why in [(absent, "there is no"), (own, "its own destination"), (topic, "not supported"),
                        (ordered, "a FIFO queue")]:
        destination = {"OnFailure": {"Destination": target}}
        message = refused(put, "InvalidParameterValueException", FunctionName=worker, DestinationConfig=destination)
        assert why in message and target in message
    refused(put, "InvalidParameterValueException", FunctionName=worker)
    refused(put, "ResourceNotFoundException", FunctionName=worker, Qualifier="77", MaximumRetryAttempts=1)
    refused(put, "ResourceNotFoundException", FunctionName="absent", MaximumRetryAttempts=1)
    refused(
        client.update_function_configuration, "InvalidParameterValueException",
        FunctionName=worker, DeadLetterConfig={"TargetArn": absent},
    )


def test_a_success_is_told_to_a_function(client, worker, keeper):
    arn, sent = keeper
    client.put_function_event_invoke_config(
        FunctionName=worker, DestinationConfig={"OnSuccess": {"Destination": arn}})
    request_id = send(client, worker, {"n": 1})
    told = wait_until("the destination was told", sent)[0]["event"]
    assert told["version"] == "1.0"
    assert told["requestContext"] == {
        "requestId": request_id,
        "functionArn": client.get_function_configuration(FunctionName=worker)["FunctionArn"] + ":$LATEST",
        "condition": "Success",
        "approximateInvokeCount": 1,
    }
    assert told["requestPayload"] == {"n": 1}
    assert told["responseContext"] == {"statusCode": 200, "executedVersion": "$LATEST"}
    assert told["responsePayload"] == {"did": {"n": 1}, "id": request_id}
    client.delete_function_event_invoke_config(FunctionName=worker)


def test_a_failure_is_told_to_destination_and_dead_letter_target(client, keeper):
    arn, sent = keeper
    name = create(client, WORKER, DeadLetterConfig={"TargetArn": arn})
    assert client.get_function_configuration(FunctionName=name)["DeadLetterConfig"] == {"TargetArn": arn}
    client.put_function_event_invoke_config(
        FunctionName=name, MaximumRetryAttempts=0, DestinationConfig={"OnFailure": {"Destination": arn}})
    request_id = send(client, name, {"raise": "no such order"})
    wait_until("both were told", lambda: len(sent()) == 2)
    by_version = {"version" in one["event"]: one for one in sent()}
    record, letter = by_version[True]["event"], by_version[False]
    assert record["requestContext"]["condition"] == "RetriesExhausted"
    assert record["responseContext"] == {
        "statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"}
    assert record["responsePayload"]["errorMessage"] == "no such order"
    assert letter["event"] == {"raise": "no such order"}
    assert letter["custom"] == {
        "RequestID": request_id, "ErrorCode": "200", "ErrorMessage": "no such order"}


def test_a_queue_is_a_destination_and_a_dead_letter_queue(server, client):
    sqs = server.client("sqs")
    url = sqs.create_queue(QueueName="letters")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    name = create(client, WORKER, DeadLetterConfig={"TargetArn": arn})
    client.put_function_event_invoke_config(
        FunctionName=name, MaximumRetryAttempts=0, DestinationConfig={"OnSuccess": {"Destination": arn}})
    receive = lambda: sqs.receive_message(
        QueueUrl=url, WaitTimeSeconds=5, MessageAttributeNames=["All"]).get("Messages", [])
    request_id = send(client, name, {"n": 1})
    [told] = wait_until("the success was told", receive, 20)
    record = json.loads(told["Body"])
    assert record["requestContext"]["requestId"] == request_id and record["responsePayload"]["did"] == {"n": 1}
    sqs.delete_message(QueueUrl=url, ReceiptHandle=told["ReceiptHandle"])
    request_id = send(client, name, {"raise": "no such order"})
    [letter] = wait_until("the failure was told", receive, 20)
    assert json.loads(letter["Body"]) == {"raise": "no such order"}
    attributes = {name: value["StringValue"] for name, value in letter["MessageAttributes"].items()}
    assert attributes == {"RequestID": request_id, "ErrorCode": "200", "ErrorMessage": "no such order"}
    # A queue that does not exist cannot be named.
    missing = arn.replace("letters", "absent")
    refused(
        client.update_function_configuration, "InvalidParameterValueException",
        FunctionName=name, DeadLetterConfig={"TargetArn": missing},
    )


def test_a_failed_event_is_seen_explained_and_redriven(server, client):
    name = create(client, WORKER)
    client.put_function_event_invoke_config(FunctionName=name, MaximumRetryAttempts=0)
    request_id = send(client, name, {"raise": "for now"})
    listed = lambda: json.loads(server.squall("events", "ls", "--function", name, "--output", "json").stdout)
    events = wait_until("it was given up", listed)
    assert [event["request_id"] for event in events] == [request_id]
    shown = json.loads(server.squall("events", "show", request_id).stdout)
    assert (shown["state"], shown["condition"], shown["failures"]) == ("failed", "RetriesExhausted", 1)
    assert shown["payload"] == {"raise": "for now"}
    assert "ValueError: for now" in shown["notes"][0]["text"]
    # It is still there after a restart, and runs again on better code.
    server.restart()
    client = server.client()
    good = "def handler(event, context): print('mended', context.aws_request_id)"
    client.update_function_code(FunctionName=name, ZipFile=zipped({"app.py": good}))
    client.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
    assert f"{request_id} runs again" in server.squall("events", "redrive", request_id).stdout
    logs = lambda: f"mended {request_id}" in server.squall("logs", name).stdout
    wait_until("it ran on the new code", logs)
    assert listed() == []


def test_events_of_a_deleted_function_are_kept_for_its_owner(server):
    client = server.client()
    name = create(client, WORKER)
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    request_id = send(client, name, {})
    waiting = server.squall("events", "ls", "--waiting", "--function", name).stdout
    assert request_id in waiting
    client.delete_function(FunctionName=name)
    listed = lambda: json.loads(server.squall("events", "ls", "--function", name, "--output", "json").stdout)
    [event] = wait_until("it was given up", listed)
    assert event["condition"] == "FunctionDeleted"
    server.squall("events", "rm", request_id)
    assert listed() == []
    gone = server.squall("events", "rm", request_id, check=False)
    assert gone.returncode == 1 and "ResourceNotFoundException" in gone.stderr


def test_unknown_events_are_not_found(server):
    for words in (["show", str(uuid.uuid4())], ["redrive", str(uuid.uuid4())], ["show", "nonsense"]):
        answer = server.squall("events", *words, check=False)
        assert answer.returncode == 1, words
