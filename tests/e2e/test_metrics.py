"""What the server counts, read by Prometheus's own parser."""

import json

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

import wire
from functions import create
from squall_server import wait_until

WORKER = """
def handler(event, context):
    if "raise" in event:
        raise ValueError(event["raise"])
    return event
"""


def scrape(server):
    """{(sample name, labels): value}; fails on what is no OpenMetrics."""
    answer = wire.send_signed(server, "/squall/v1/metrics")
    assert answer.status == 200
    families = text_string_to_metric_families(answer.body.decode())
    return {(sample.name, frozenset(sample.labels.items())): sample.value
            for family in families for sample in family.samples}


def value(server, name, **labels):
    return scrape(server).get((f"squall_{name}", frozenset(labels.items())))


def test_calls_are_counted_by_how_they_ended(server, client):
    name = create(client, WORKER)
    for event in ({"n": 1}, {"n": 2}, {"raise": "no such order"}):
        client.invoke(FunctionName=name, Payload=json.dumps(event))
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    with pytest.raises(client.exceptions.TooManyRequestsException):
        client.invoke(FunctionName=name, Payload=b"{}")
    found = scrape(server)
    of = lambda metric, **labels: found[f"squall_{metric}", frozenset({"function": name, **labels}.items())]
    assert (of("invocations_total"), of("errors_total"), of("throttles_total")) == (3, 1, 1)
    assert of("cold_starts_total") >= 1 and of("faults_total") == 0
    assert of("duration_seconds_count") == of("duration_seconds_bucket", le="+Inf") == 3
    assert sum(of("instances", state=state) for state in ("idle", "busy", "starting")) >= 1
    client.delete_function(FunctionName=name)
    gone = lambda: value(server, "invocations_total", function=name) is None
    wait_until("its series are gone", gone, 60)


def test_waiting_events_have_a_number_and_an_age(server, client):
    name = create(client, WORKER)
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    for _ in range(3):
        client.invoke(FunctionName=name, InvocationType="Event", Payload=b"{}")
    assert value(server, "events_queued", function=name) == 3
    assert value(server, "events_accepted_total", function=name) == 3
    wait_until("they have an age", lambda: value(server, "oldest_event_age_seconds", function=name) > 0, 60)
    client.delete_function_concurrency(FunctionName=name)
    wait_until("they ran", lambda: value(server, "events_queued", function=name) == 0, 60)
    assert value(server, "invocations_total", function=name) == 3
    assert value(server, "oldest_event_age_seconds", function=name) == 0


def test_queues_have_a_depth_and_an_age(server):
    sqs = server.client("sqs")
    url = sqs.create_queue(QueueName="depth")["QueueUrl"]
    assert value(server, "queue_oldest_message_age_seconds", queue="depth") == 0
    sqs.send_message_batch(QueueUrl=url, Entries=[{"Id": str(n), "MessageBody": "x"} for n in range(3)])
    sqs.send_message(QueueUrl=url, MessageBody="x", DelaySeconds=900)
    assert len(sqs.receive_message(QueueUrl=url, WaitTimeSeconds=20)["Messages"]) == 1
    depth = lambda state: value(server, "queue_messages", queue="depth", state=state)
    assert (depth("ready"), depth("in_flight"), depth("delayed")) == (2, 1, 1)
    wait_until("it has an age", lambda: value(server, "queue_oldest_message_age_seconds", queue="depth") > 0, 60)


def test_the_command_line_prints_the_same(server):
    text = server.squall("metrics").stdout
    assert text.endswith("# EOF\n") and any(text_string_to_metric_families(text))


def test_nobody_reads_them_without_a_key(server):
    assert wire.send(server.endpoint + "/squall/v1/metrics").status == 403
