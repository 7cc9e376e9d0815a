"""Calls with an idempotency key, results of asynchronous invocations by request id, and what the command line says."""

import concurrent.futures
import json
import uuid

import pytest

from functions import create
from squall_server import Server, wait_until

pytestmark = pytest.mark.expected_log("gave up on an accepted event")

KEY = "X-Squall-Idempotency-Key"

# Leaves a file for each time that it ran, and answers what it was sent.
COUNTED = """
import os, time, uuid
def handler(event, context):
    open(os.path.join(os.environ["FOLDER"], uuid.uuid4().hex), "w").close()
    time.sleep(event.get("sleep", 0))
    if "raise" in event:
        raise ValueError(event["raise"])
    return {"did": event, "id": context.aws_request_id}
"""


@pytest.fixture
def counted(client, meeting):
    """(function, how often it ran)"""
    name = create(client, COUNTED, Environment={"Variables": {"FOLDER": str(meeting)}})
    return name, lambda: len(list(meeting.iterdir()))


def invoke(client, key, **kwargs):
    """An unmodified client's call, with one header more."""
    def add_header(params, **_):
        params["headers"][KEY] = key

    client.meta.events.register("before-call.lambda", add_header, unique_id=KEY)
    try:
        return client.invoke(**kwargs)
    finally:
        client.meta.events.unregister("before-call.lambda", unique_id=KEY)


def read(answer):
    """What tells one answer from another."""
    meta = answer["ResponseMetadata"]
    return (answer["StatusCode"], answer.get("FunctionError"), answer.get("ExecutedVersion"), meta["RequestId"],
            answer["Payload"].read())


def is_repeat(answer):
    return answer["ResponseMetadata"]["HTTPHeaders"].get("x-squall-idempotent-repeat") == "true"


@pytest.mark.parametrize("event", [{"n": 1}, {"raise": "no such order"}])
def test_a_repeat_has_the_first_answer(client, counted, event):
    name, runs = counted
    key, payload = uuid.uuid4().hex, json.dumps(event)
    first = invoke(client, key, FunctionName=name, Payload=payload)
    repeat = invoke(client, key, FunctionName=name, Payload=payload)
    assert (is_repeat(first), is_repeat(repeat), runs()) == (False, True, 1)
    assert read(first) == read(repeat)


def test_repeats_at_once_wait_for_the_first(server, counted):
    name, runs = counted
    key, payload = uuid.uuid4().hex, json.dumps({"sleep": 1})
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        # Each has a client of its own: the header is set on the client.
        calls = [pool.submit(invoke, server.client("lambda"), key, FunctionName=name, Payload=payload)
                 for _ in range(8)]
        answers = [call.result() for call in calls]
    assert sorted(map(is_repeat, answers)) == [False] + [True] * 7
    assert len({read(answer) for answer in answers}) == 1
    assert runs() == 1


def test_a_key_stands_for_one_call(client, counted):
    name, runs = counted
    key = uuid.uuid4().hex
    invoke(client, key, FunctionName=name, Payload=b'{"n": 1}')
    for other in [{"Payload": b'{"n": 2}'}, {"Payload": b'{"n": 1}', "InvocationType": "Event"}]:
        with pytest.raises(client.exceptions.InvalidParameterValueException, match="used for another call"):
            invoke(client, key, FunctionName=name, **other)
    assert runs() == 1


@pytest.mark.parametrize("key", ["two words", "k" * 256])
def test_a_bad_key_is_refused(client, counted, key):
    with pytest.raises(client.exceptions.InvalidParameterValueException, match="1 to 255 visible"):
        invoke(client, key, FunctionName=counted[0], Payload=b"{}")


def test_a_stream_takes_no_key(client, counted):
    def add_header(params, **_):
        params["headers"][KEY] = "k"

    client.meta.events.register("before-call.lambda", add_header, unique_id=KEY)
    try:
        with pytest.raises(client.exceptions.InvalidParameterValueException, match="does not support"):
            client.invoke_with_response_stream(FunctionName=counted[0], Payload=b"{}")
    finally:
        client.meta.events.unregister("before-call.lambda", unique_id=KEY)


def test_an_event_is_accepted_once(server, client, counted):
    name, runs = counted
    key = uuid.uuid4().hex
    send = lambda: invoke(client, key, FunctionName=name, InvocationType="Event", Payload=b'{"n": 1}')
    first, repeat = send(), send()
    ids = {answer["ResponseMetadata"]["RequestId"] for answer in (first, repeat)}
    assert (is_repeat(first), is_repeat(repeat), len(ids)) == (False, True, 1)
    out = server.squall("result", "--wait", *ids)
    assert json.loads(out.stdout) == {"did": {"n": 1}, "id": first["ResponseMetadata"]["RequestId"]}
    send()
    assert runs() == 1


def test_kept_answers_and_results_survive_kill_9(workdir, meeting):
    server = Server(workdir / "killed").start()
    try:
        client = server.client("lambda")
        name = create(client, COUNTED, Environment={"Variables": {"FOLDER": str(meeting)}})
        first = read(invoke(client, "call", FunctionName=name, Payload=b'{"n": 1}'))
        accepted = invoke(client, "event", FunctionName=name, InvocationType="Event", Payload=b'{"n": 2}')
        request_id = accepted["ResponseMetadata"]["RequestId"]
        result = json.loads(server.squall("result", "--wait", request_id).stdout)
        server.kill9()
        server.start()
        client = server.client("lambda")
        assert read(invoke(client, "call", FunctionName=name, Payload=b'{"n": 1}')) == first
        again = invoke(client, "event", FunctionName=name, InvocationType="Event", Payload=b'{"n": 2}')
        assert again["ResponseMetadata"]["RequestId"] == request_id
        assert json.loads(server.squall("result", "--wait", request_id).stdout) == result
    finally:
        server.terminate()
    assert len(list(meeting.iterdir())) == 2


def test_results_are_kept_for_the_time_that_was_set(workdir):
    server = Server(workdir / "brief", ["--result-retention", "1s"]).start()
    try:
        client = server.client("lambda")
        name = create(client, "def handler(event, context):\n    return 1\n")
        answer = client.invoke(FunctionName=name, InvocationType="Event", Payload=b"{}")
        request_id = answer["ResponseMetadata"]["RequestId"]
        gone = lambda: "no result of it is kept" in server.squall("result", request_id, check=False).stderr
        wait_until("its result was forgotten", gone, 60)
    finally:
        server.terminate()


def test_a_failure_is_explained(server, client, counted):
    name, runs = counted
    arn = client.get_function_configuration(FunctionName=name)["FunctionArn"]
    keeper = create(client, "def handler(event, context):\n    return 1\n")
    keeper_arn = client.get_function_configuration(FunctionName=keeper)["FunctionArn"]
    client.put_function_event_invoke_config(
        FunctionName=name, MaximumRetryAttempts=0, DestinationConfig={"OnFailure": {"Destination": keeper_arn}})
    answer = client.invoke(FunctionName=name, InvocationType="Event", Payload=b'{"raise": "no such order"}')
    request_id = answer["ResponseMetadata"]["RequestId"]
    failed = server.squall("result", "--wait", request_id, check=False)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "RetriesExhausted" in failed.stderr and "no such order" in failed.stderr
    told = lambda: server.squall("explain", request_id).stdout
    order = ["failed: RetriesExhausted", "accepted", "ValueError: no such order", f"handed over to {keeper_arn}"]
    # The destination is told, and the log kept, beside the answer.
    story = wait_until("all of it is told", lambda: (text := told()) and all(part in text for part in order) and text, 60)
    places = [story.index(text) for text in order]
    assert places == sorted(places) and arn in story, story
    assert runs() == 1


def test_who_waits_is_said_to_wait(server, client, counted):
    name, _ = counted
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    answer = client.invoke(FunctionName=name, InvocationType="Event", Payload=b"{}")
    request_id = answer["ResponseMetadata"]["RequestId"]
    early = server.squall("result", request_id, check=False)
    assert early.returncode == 1 and "--wait" in early.stderr
    told = lambda: server.squall("explain", request_id).stdout
    wait_until("it is said to be throttled", lambda: "throttled" in told(), 60)
    client.delete_function_concurrency(FunctionName=name)
    assert json.loads(server.squall("result", "--wait", request_id).stdout)["did"] == {}


@pytest.mark.parametrize("command", ["result", "explain"])
def test_an_unknown_invocation_is_said_to_be_unknown(server, command):
    unknown = server.squall(command, str(uuid.uuid4()), check=False)
    assert unknown.returncode == 1 and "no result of it is kept" in unknown.stderr
    wrong = server.squall(command, "no-id", check=False)
    assert wrong.returncode == 1 and "must be a UUID" in wrong.stderr
