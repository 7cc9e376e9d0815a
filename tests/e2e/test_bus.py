"""EventBridge through boto3: buses, rules, targets and events, with every answer checked against botocore's model."""

import json

import botocore.exceptions
import pytest

from bus_shapes import checked
from functions import create, fresh_name
from squall_server import wait_until as wait_seconds

APPEND = """
import json
def handler(event, context):
    with open(event["detail"]["file"], "a") as file:
        file.write(json.dumps({"event": event, "request_id": context.aws_request_id}) + "\\n")
"""


def wait_until(what, ready):
    """Waits long enough for a slow and busy machine."""
    return wait_seconds(what, ready, 60)


@pytest.fixture(scope="module")
def events(server):
    return checked(server, "events")


@pytest.fixture(scope="module")
def sqs(server):
    return server.client("sqs")


@pytest.fixture(scope="module")
def function_arn(client):
    return client.get_function_configuration(FunctionName=create(client, APPEND))["FunctionArn"]


@pytest.fixture
def file(workdir):
    return workdir / fresh_name("seen")


def lines(file):
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def queue(sqs):
    url = sqs.create_queue(QueueName=fresh_name("q"))["QueueUrl"]
    return url, sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]


def receive(sqs, url):
    """The next message's body and attributes; it is deleted."""

    def taken():
        answer = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=5, MessageAttributeNames=["All"])
        return answer.get("Messages")

    (message,) = wait_until(f"a message in {url}", taken)
    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return message


def rule(events, pattern, *targets, **settings):
    """A rule with a pattern and targets; returns its name."""
    name = fresh_name("rule")
    events.put_rule(Name=name, EventPattern=json.dumps(pattern), **settings)
    bus = {"EventBusName": settings["EventBusName"]} if "EventBusName" in settings else {}
    answer = events.put_targets(Rule=name, Targets=[{"Id": str(n)} | target for n, target in enumerate(targets)], **bus)
    assert answer["FailedEntryCount"] == 0, answer
    return name


def put(events, source, detail, detail_type="t", **settings):
    entry = {"Source": source, "DetailType": detail_type, "Detail": json.dumps(detail)} | settings
    answer = events.put_events(Entries=[entry])
    assert answer["FailedEntryCount"] == 0, answer
    return answer["Entries"][0]["EventId"]


def refused(error, call, **request):
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call(**request)
    assert caught.value.response["Error"]["Code"] == error, caught.value
    return caught.value.response["Error"]["Message"]


def test_an_event_runs_the_functions_of_the_rules_that_want_it(events, function_arn, file):
    source = fresh_name("shop")
    rule(events, {"source": [source], "detail": {"total": [{"numeric": [">", 10]}]}}, {"Arn": function_arn})
    put(events, source, {"file": str(file), "total": 5})
    event_id = put(events, source, {"file": str(file), "total": 50}, "paid", Resources=["order/7"])
    (seen,) = wait_until("the function ran", lambda: lines(file))
    event = seen["event"]
    assert (event["id"], event["source"], event["detail-type"]) == (event_id, source, "paid")
    assert (event["account"], event["region"], event["version"]) == ("000000000000", "us-east-1", "0")
    assert (event["resources"], event["detail"]["total"]) == (["order/7"], 50)


def test_targets_are_sent_what_they_ask_for(events, sqs):
    source, wanted = fresh_name("s"), {}
    shapes = {
        '{"n":1}': {"InputPath": "$.detail"},
        '{"always": "this"}': {"Input": '{"always": "this"}'},
        '"n is 1 of %s"' % source: {
            "InputTransformer": {
                "InputPathsMap": {"n": "$.detail.n", "s": "$.source"},
                "InputTemplate": '"n is <n> of <s>"',
            }
        },
    }
    targets = []
    for body, target in shapes.items():
        wanted[body], arn = queue(sqs)
        targets.append({"Arn": arn} | target)
    name = rule(events, {"source": [source]}, *targets)
    listed = events.list_targets_by_rule(Rule=name)["Targets"]
    assert [{k: v for k, v in target.items() if k != "Id"} for target in listed] == targets
    put(events, source, {"n": 1})
    for body, url in wanted.items():
        assert receive(sqs, url)["Body"] == body


def test_a_bus_of_its_own_and_one_that_passes_events_on(events, sqs):
    first, second, source = fresh_name("bus"), fresh_name("bus"), fresh_name("s")
    arn = events.create_event_bus(Name=first, Description="d", Tags=[{"Key": "k", "Value": "v"}])["EventBusArn"]
    next_arn = events.create_event_bus(Name=second)["EventBusArn"]
    described = events.describe_event_bus(Name=arn)
    assert (described["Name"], described["Arn"], described["Description"]) == (first, arn, "d")
    url, queue_arn = queue(sqs)
    rule(events, {"source": [source]}, {"Arn": next_arn}, EventBusName=first)
    on_second = rule(events, {"detail-type": ["t"]}, {"Arn": queue_arn}, EventBusName=second)
    put(events, source, {"n": 2}, EventBusName=first)
    event = json.loads(receive(sqs, url)["Body"])
    assert (event["source"], event["detail"]) == (source, {"n": 2})
    names = [bus["Name"] for bus in events.list_event_buses(NamePrefix="bus-")["EventBuses"]]
    assert {first, second} <= set(names) and names == sorted(names)
    assert events.list_tags_for_resource(ResourceARN=arn)["Tags"] == [{"Key": "k", "Value": "v"}]
    assert "rules" in refused("ValidationException", events.delete_event_bus, Name=second)
    events.remove_targets(Rule=on_second, Ids=["0"], EventBusName=second)
    events.delete_rule(Name=on_second, EventBusName=second)
    events.delete_event_bus(Name=second)
    refused("ResourceNotFoundException", events.describe_event_bus, Name=second)
    refused("ResourceAlreadyExistsException", events.create_event_bus, Name=first)


def test_the_life_of_a_rule(events, sqs):
    url, arn = queue(sqs)
    source = fresh_name("s")
    name = rule(events, {"source": [source]}, {"Arn": arn, "InputPath": "$.detail"}, Description="old")
    described = events.describe_rule(Name=name)
    assert (described["State"], described["EventBusName"], described["Description"]) == ("ENABLED", "default", "old")
    assert described["Arn"] == f"arn:aws:events:us-east-1:000000000000:rule/{name}"
    events.tag_resource(ResourceARN=described["Arn"], Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
    events.untag_resource(ResourceARN=described["Arn"], TagKeys=["a"])
    assert events.list_tags_for_resource(ResourceARN=described["Arn"])["Tags"] == [{"Key": "b", "Value": "2"}]
    assert name in events.list_rule_names_by_target(TargetArn=arn)["RuleNames"]
    events.disable_rule(Name=name)
    put(events, source, {"n": "unseen"})
    events.enable_rule(Name=name)
    put(events, source, {"n": "seen"})
    assert receive(sqs, url)["Body"] == '{"n":"seen"}'
    # A change keeps the targets.
    events.put_rule(Name=name, EventPattern='{"source": ["other"]}')
    assert [target["Arn"] for target in events.list_targets_by_rule(Rule=name)["Targets"]] == [arn]
    assert "targets" in refused("ValidationException", events.delete_rule, Name=name)
    missing = events.remove_targets(Rule=name, Ids=["0", "9"])
    assert [entry["TargetId"] for entry in missing["FailedEntries"]] == ["9"]
    events.delete_rule(Name=name)
    events.delete_rule(Name=name)
    refused("ResourceNotFoundException", events.describe_rule, Name=name)


def test_rules_come_in_pages(events):
    prefix = fresh_name("page")
    names = [f"{prefix}-{n}" for n in range(5)]
    for name in names:
        events.put_rule(Name=name, EventPattern='{"source": ["s"]}')
    listed, token = [], {}
    while True:
        page = events.list_rules(NamePrefix=prefix, Limit=2, **token)
        assert len(page["Rules"]) <= 2
        listed += [rule["Name"] for rule in page["Rules"]]
        if "NextToken" not in page:
            break
        token = {"NextToken": page["NextToken"]}
    assert listed == names


def test_entries_that_make_no_sense_are_refused_one_by_one(events, sqs):
    url, arn = queue(sqs)
    source = fresh_name("s")
    rule(events, {"source": [source]}, {"Arn": arn, "InputPath": "$.detail.n"})
    good = {"Source": source, "DetailType": "t", "Detail": '{"n": 1}'}
    entries = [
        good,
        good | {"Detail": "[]"},
        good | {"Source": ""},
        good | {"Source": "aws.s3"},
        good | {"EventBusName": "nowhere"},
        good | {"Detail": '{"n": 2}'},
    ]
    answer = events.put_events(Entries=entries)
    codes = [entry.get("ErrorCode") for entry in answer["Entries"]]
    assert codes == [
        None, "MalformedDetail", "InvalidArgument", "NotAuthorizedForSourceException", "ResourceNotFoundException", None,
    ]
    assert answer["FailedEntryCount"] == 4
    assert {receive(sqs, url)["Body"] for _ in range(2)} == {"1", "2"}
    refused("ValidationException", events.put_events, Entries=[good] * 11)
    large = good | {"Detail": json.dumps({"n": "x" * 300_000})}
    assert "size" in refused("ValidationException", events.put_events, Entries=[large])


def test_what_cannot_work_is_refused_when_it_is_configured(events, function_arn):
    name = fresh_name("rule")
    refused("InvalidEventPatternException", events.put_rule, Name=name, EventPattern="[]")
    refused("ValidationException", events.put_rule, Name=name)
    refused("ValidationException", events.put_rule, Name=name, EventPattern="{}", State="SOMETIMES")
    for expression, why in [("cron(0 0 31 2 ? *)", "never fires"), ("rate(1 minutes)", "singular"), ("at(2099-01-01T00:00:00)", "rate")]:
        assert why in refused("ValidationException", events.put_rule, Name=name, ScheduleExpression=expression)
    refused("ResourceNotFoundException", events.put_rule, Name=name, EventPattern='{"source":["s"]}', EventBusName="none")
    refused("ResourceNotFoundException", events.put_targets, Rule=name, Targets=[{"Id": "1", "Arn": function_arn}])
    events.put_rule(Name=name, EventPattern='{"source": ["s"]}')
    kinds = {
        function_arn.replace(":function:", ":function:no-"): "ResourceNotFoundException",
        "arn:aws:sns:us-east-1:000000000000:topic": "ValidationException",
    }
    for arn, code in kinds.items():
        failed = events.put_targets(Rule=name, Targets=[{"Id": "1", "Arn": arn}])["FailedEntries"]
        assert [entry["ErrorCode"] for entry in failed] == [code], failed
    target = {"Id": "1", "Arn": function_arn, "KinesisParameters": {"PartitionKeyPath": "$.id"}}
    assert "KinesisParameters" in refused("ValidationException", events.put_targets, Rule=name, Targets=[target])
    assert "CreateArchive" in refused(
        "NotImplementedException", events.create_archive, ArchiveName="a", EventSourceArn=function_arn
    )


def test_patterns_can_be_tried(events):
    event = {
        "id": "1", "account": "0", "source": "shop", "time": "2026-11-25T00:00:00Z", "region": "r", "resources": [],
        "detail-type": "t", "detail": {"n": 3},
    }
    for pattern, result in [({"source": ["shop"]}, True), ({"detail": {"n": [{"numeric": ["<", 3]}]}}, False)]:
        answer = events.test_event_pattern(EventPattern=json.dumps(pattern), Event=json.dumps(event))
        assert answer["Result"] is result
    del event["id"]
    assert "`id`" in refused(
        "ValidationException", events.test_event_pattern, EventPattern='{"source": ["s"]}', Event=json.dumps(event)
    )


def test_what_its_target_refuses_goes_to_the_dead_letter_queue(events, client, sqs):
    name = create(client, "def handler(event, context): pass")
    arn = client.get_function_configuration(FunctionName=name)["FunctionArn"]
    source = fresh_name("s")
    url, queue_arn = queue(sqs)
    target = {"Arn": arn, "DeadLetterConfig": {"Arn": queue_arn}, "RetryPolicy": {"MaximumRetryAttempts": 0}}
    made = rule(events, {"source": [source]}, target)
    client.delete_function(FunctionName=name)
    put(events, source, {"n": 1})
    message = receive(sqs, url)
    attributes = {name: value["StringValue"] for name, value in message["MessageAttributes"].items()}
    assert attributes["TARGET_ARN"] == arn and attributes["RULE_ARN"].endswith(f":rule/{made}")
    assert attributes["EXHAUSTED_RETRY_CONDITION"] == "MaximumRetryAttempts"
    assert json.loads(message["Body"])["detail"] == {"n": 1}


def test_a_functions_results_go_to_a_bus(events, client, sqs):
    name = create(client, "def handler(event, context): return {'twice': event['n'] * 2}")
    bus = fresh_name("bus")
    bus_arn = events.create_event_bus(Name=bus)["EventBusArn"]
    client.put_function_event_invoke_config(
        FunctionName=name, DestinationConfig={"OnSuccess": {"Destination": bus_arn}}
    )
    url, queue_arn = queue(sqs)
    rule(events, {"detail-type": ["Lambda Function Invocation Result - Success"]}, {"Arn": queue_arn}, EventBusName=bus)
    client.invoke(FunctionName=name, InvocationType="Event", Payload=b'{"n": 21}')
    event = json.loads(receive(sqs, url)["Body"])
    assert (event["source"], event["detail"]["responsePayload"]) == ("lambda", {"twice": 42})


def test_the_aws_cli_puts_rules_and_events(server, sqs):
    url, arn = queue(sqs)
    name = fresh_name("cli")
    aws = lambda *args: server.run("aws", "events", *args)  # noqa: E731
    aws("put-rule", "--name", name, "--event-pattern", json.dumps({"source": [name]}))
    aws("put-targets", "--rule", name, "--targets", f"Id=1,Arn={arn}")
    entry = {"Source": name, "DetailType": "t", "Detail": '{"n": 1}'}
    answer = json.loads(aws("put-events", "--entries", json.dumps([entry])).stdout)
    assert answer["FailedEntryCount"] == 0
    assert json.loads(receive(sqs, url)["Body"])["source"] == name
