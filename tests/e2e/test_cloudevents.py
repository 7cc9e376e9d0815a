"""CloudEvents 1.0 over HTTP: both forms in and out, onto buses, through function URLs; what is none is refused."""

import base64
import json

import pytest

import wire
from functions import ECHO, create, fresh_name
from squall_server import wait_until

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
ANSWER = """
def handler(event, context):
    if event.get("type") == "fail":
        raise ValueError("no")
    if event.get("type") == "silent":
        return None
    return event | {"id": "answer", "source": "/f", "got": event["id"]}
"""
BINARY = {
    "ce-specversion": "1.0", "ce-id": "1", "ce-source": "/shop", "ce-type": "paid", "ce-subject": "order%207",
    "ce-number": "5", "content-type": "application/json",
}


def event(**more):
    return {"specversion": "1.0", "id": "1", "source": "/shop", "type": "paid"} | more


def post(server, path, body, headers=None):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return wire.send_signed(server, f"/squall/v1/cloudevents/{path}", "POST", headers or {"content-type": STRUCTURED}, body)


@pytest.fixture(scope="module")
def echo(client):
    return create(client, ECHO)


@pytest.fixture(scope="module")
def answering(client):
    return create(client, ANSWER)


def test_a_function_sees_the_structured_form_of_either(server, echo):
    for headers, body, expected in [
        ({"content-type": STRUCTURED}, event(data={"n": 1}), event(data={"n": 1})),
        ({"content-type": STRUCTURED}, event(data_base64="AAEC"), event(data_base64="AAEC")),
        (BINARY, {"n": 2}, event(subject="order 7", number="5", datacontenttype="application/json", data={"n": 2})),
        (
            BINARY | {"content-type": "image/png"},
            b"\x00\x01",
            event(subject="order 7", number="5", datacontenttype="image/png", data_base64="AAE="),
        ),
    ]:
        answer = post(server, echo, body, headers)
        # What comes back is an event: as a document, or as headers and data.
        if answer.headers["content-type"] == STRUCTURED:
            assert answer.json() == expected
            continue
        asked = post(server, echo, body, headers | {"accept": STRUCTURED})
        assert asked.headers["content-type"] == STRUCTURED and asked.json() == expected
        assert (answer.headers["ce-id"], answer.headers["ce-type"], answer.headers["ce-subject"]) == ("1", "paid", "order%207")
        data = json.dumps(expected["data"]).replace(" ", "").encode() if "data" in expected else base64.b64decode(expected["data_base64"])
        assert answer.body == data and answer.headers["content-type"] == expected["datacontenttype"]


def test_a_function_answers_with_an_event_of_its_own_or_none_or_fails(server, answering):
    answer = post(server, answering, event(data="text"))
    assert answer.json() == event(id="answer", source="/f", got="1", data="text")
    assert post(server, answering, event(type="silent")).status == 204
    failed = post(server, answering, event(type="fail"))
    assert failed.status == 502 and failed.json()["errorType"] == "ValueError"
    assert failed.headers["x-amz-function-error"] == "Unhandled"


def test_nobody_waits_for_an_asynchronous_one(server, client, workdir):
    file = workdir / fresh_name("seen")
    name = create(client, f"def handler(event, context):\n    open({str(file)!r}, 'w').write(event['id'])\n")
    headers = {"content-type": STRUCTURED, "x-amz-invocation-type": "Event"}
    assert post(server, name, event(id="42"), headers).status == 202
    wait_until("it ran", lambda: file.exists() and file.read_text() == "42", 60)


def test_events_go_onto_a_bus_whole_one_by_one_or_as_a_batch(server):
    events, sqs = server.client("events"), server.client("sqs")
    url = sqs.create_queue(QueueName=fresh_name("q"))["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    rule, source = fresh_name("rule"), fresh_name("/source")
    events.put_rule(Name=rule, EventPattern=json.dumps({"source": [source], "detail": {"data": {"n": [{"numeric": [">", 0]}]}}}))
    events.put_targets(Rule=rule, Targets=[{"Id": "1", "Arn": arn}])
    sent = [event(id=str(n), source=source, subject="order/7", data={"n": n}) for n in range(4)]
    one = post(server, "buses/default", sent[1])
    assert one.status == 202 and len(one.json()["event_ids"]) == 1
    many = post(server, "buses/default", [sent[0], *sent[2:]], {"content-type": BATCH})
    assert many.status == 202 and len(many.json()["event_ids"]) == 3
    got = {}

    def all_there():
        for message in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1).get("Messages", []):
            on_bus = json.loads(message["Body"])
            got[on_bus["detail"]["id"]] = on_bus
        return set(got) == {"1", "2", "3"}

    wait_until("all but the one without a number above 0 are there", all_there, 60)
    on_bus = got["2"]
    assert on_bus["detail"] == sent[2]
    assert (on_bus["source"], on_bus["detail-type"], on_bus["resources"]) == (source, "paid", ["order/7"])


def test_a_function_url_carries_both_forms_too(server, client):
    code = """
def handler(event, context):
    headers = {name: value for name, value in event["headers"].items() if name.startswith("ce-")}
    headers["content-type"] = event["headers"]["content-type"]
    body = {"body": event["body"], "isBase64Encoded": event["isBase64Encoded"]}
    return {"statusCode": 200, "headers": headers} | body
"""
    name = create(client, code)
    client.create_function_url_config(FunctionName=name, AuthType="NONE")
    url = f"{server.endpoint}/lambda-url/{name}/"
    answer = wire.send(url, "POST", BINARY, b'{"n": 1}')
    assert answer.headers["ce-id"] == "1" and answer.headers["ce-subject"] == "order%207" and answer.json() == {"n": 1}
    document = json.dumps(event(data=1)).encode()
    answer = wire.send(url, "POST", {"content-type": STRUCTURED}, document)
    assert answer.headers["content-type"] == STRUCTURED and answer.json() == event(data=1)


@pytest.mark.parametrize(
    ("headers", "body", "status", "word"),
    [
        ({"content-type": STRUCTURED}, b"{", 400, "JSON"),
        ({"content-type": STRUCTURED}, b"[]", 400, "JSON object"),
        ({"content-type": STRUCTURED}, b"{}", 400, "specversion"),
        ({"content-type": "application/json"}, b"{}", 400, "specversion"),
        (BINARY | {"ce-specversion": "0.3"}, b"{}", 400, "1.0"),
        (BINARY | {"ce-time": "noon"}, b"{}", 400, "RFC 3339"),
        (BINARY, b"not json", 400, "JSON"),
        (BINARY | {"content-type": "application/cloudevents+avro"}, b"x", 415, "avro"),
        ({"content-type": BATCH}, b"[]", 400, "batch"),
        (BINARY | {"x-amz-invocation-type": "Later"}, b"{}", 400, "Later"),
    ],
)
def test_what_is_no_event_is_refused_with_the_reason(server, echo, headers, body, status, word):
    answer = post(server, echo, body, headers)
    assert answer.status == status, answer
    assert word in (answer.json().get("message") or answer.json()["Message"])


def test_what_is_not_there_and_who_is_not_known_is_refused(server, echo):
    assert post(server, "nobody", event()).status == 404
    assert post(server, "buses/nowhere", event()).status == 404
    unsigned = wire.send(f"{server.endpoint}/squall/v1/cloudevents/{echo}", "POST", BINARY, b"{}")
    assert unsigned.status == 403
