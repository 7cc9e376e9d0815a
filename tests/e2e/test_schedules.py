"""EventBridge Scheduler and the schedules of rules, through boto3, also over restarts and `kill -9`."""

import datetime
import json

import botocore.exceptions
import pytest

from bus_shapes import checked
from conftest import judged
from functions import create, fresh_name
from squall_server import Server
from squall_server import wait_until as wait_seconds

ROLE = "arn:aws:iam::000000000000:role/squall"
OFF = {"Mode": "OFF"}
APPEND = """
import json
def handler(event, context):
    with open(event["file"], "a") as file:
        file.write(json.dumps(event | {"request_id": context.aws_request_id}) + "\\n")
"""
KEYWORDS = {
    "time": "<aws.scheduler.scheduled-time>",
    "arn": "<aws.scheduler.schedule-arn>",
    "id": "<aws.scheduler.execution-id>",
    "attempt": "<aws.scheduler.attempt-number>",
}


def wait_until(what, ready):
    """Waits long enough for a slow and busy machine."""
    return wait_seconds(what, ready, 60)


@pytest.fixture(scope="module")
def scheduler(server):
    return checked(server, "scheduler")


@pytest.fixture(scope="module")
def function_arn(client):
    return arn_of_new_function(client)


@pytest.fixture
def file(workdir):
    return workdir / fresh_name("seen")


def arn_of_new_function(client):
    return client.get_function_configuration(FunctionName=create(client, APPEND))["FunctionArn"]


def lines(file):
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def target(arn, file, **settings):
    return {"Arn": arn, "RoleArn": ROLE, "Input": json.dumps({"file": str(file)} | KEYWORDS)} | settings


def soon(seconds=5):
    """An `at` expression of the near future, and its time as events have it."""
    at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    return f"at({at:%Y-%m-%dT%H:%M:%S})", f"{at:%Y-%m-%dT%H:%M:%S}Z"


def schedule(scheduler, expression, target, name=None, **settings):
    name = name or fresh_name("s")
    made = scheduler.create_schedule(
        Name=name, ScheduleExpression=expression, Target=target, FlexibleTimeWindow=OFF, **settings
    )
    return name, made["ScheduleArn"]


def refused(error, call, **request):
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call(**request)
    assert caught.value.response["Error"]["Code"] == error, caught.value
    return caught.value.response["Error"]["Message"]


def test_a_schedule_runs_a_function_once_at_its_time_and_goes_away(scheduler, function_arn, file):
    expression, time = soon()
    name, arn = schedule(scheduler, expression, target(function_arn, file), ActionAfterCompletion="DELETE")
    (seen,) = wait_until("the function ran", lambda: lines(file))
    assert seen == {
        "file": str(file), "time": time, "arn": arn, "attempt": "1", "id": seen["id"], "request_id": seen["id"],
    }

    def is_gone():
        names = [schedule["Name"] for schedule in scheduler.list_schedules(NamePrefix=name)["Schedules"]]
        return name not in names

    wait_until("the schedule is gone", is_gone)
    refused("ResourceNotFoundException", scheduler.get_schedule, Name=name)
    assert len(lines(file)) == 1


def test_a_rate_fires_again_and_again_until_it_is_disabled(scheduler, function_arn, file):
    name, _ = schedule(scheduler, "rate(1 second)", target(function_arn, file))
    wait_until("it fired three times", lambda: len(lines(file)) >= 3)
    there = scheduler.get_schedule(Name=name)
    scheduler.update_schedule(
        Name=name, ScheduleExpression="rate(1 second)", Target=there["Target"], FlexibleTimeWindow=OFF, State="DISABLED"
    )
    assert scheduler.get_schedule(Name=name)["State"] == "DISABLED"
    assert [item["Name"] for item in scheduler.list_schedules(State="DISABLED", NamePrefix=name)["Schedules"]] == [name]
    assert scheduler.list_schedules(State="ENABLED", NamePrefix=name)["Schedules"] == []
    scheduler.delete_schedule(Name=name)
    times = [seen["time"] for seen in lines(file)]
    assert len(set(times)) == len(times) and times == sorted(times)


def test_a_schedule_is_given_back_as_it_was_made(scheduler, function_arn, server):
    sqs = server.client("sqs")
    url = sqs.create_queue(QueueName=fresh_name("dead"))["QueueUrl"]
    dead = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    start = datetime.datetime(2099, 1, 1, tzinfo=datetime.timezone.utc)
    asked = {
        "Name": fresh_name("s"),
        "ScheduleExpression": "cron(30 9 ? * MON-FRI *)",
        "ScheduleExpressionTimezone": "Europe/Berlin",
        "StartDate": start,
        "EndDate": start + datetime.timedelta(days=365),
        "Description": "on working days",
        "State": "DISABLED",
        "ActionAfterCompletion": "DELETE",
        "FlexibleTimeWindow": {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 15},
        "Target": {
            "Arn": function_arn,
            "RoleArn": ROLE,
            "Input": "{}",
            "DeadLetterConfig": {"Arn": dead},
            "RetryPolicy": {"MaximumEventAgeInSeconds": 120, "MaximumRetryAttempts": 3},
        },
    }
    scheduler.create_schedule(**asked)
    there = scheduler.get_schedule(Name=asked["Name"])
    assert {name: there[name] for name in asked} == asked
    assert there["GroupName"] == "default" and there["CreationDate"] == there["LastModificationDate"]


def test_groups_hold_schedules_and_take_them_along(scheduler, function_arn, file):
    group = fresh_name("group")
    arn = scheduler.create_schedule_group(Name=group, Tags=[{"Key": "k", "Value": "v"}])["ScheduleGroupArn"]
    names = [f"s{n}" for n in range(5)]
    for name in names:
        schedule(scheduler, "rate(1 day)", target(function_arn, file), name=name, GroupName=group, State="DISABLED")
    listed, token = [], {}
    while True:
        page = scheduler.list_schedules(GroupName=group, MaxResults=2, **token)
        listed += [item["Name"] for item in page["Schedules"]]
        if not page.get("NextToken"):
            break
        token = {"NextToken": page["NextToken"]}
    assert listed == names
    scheduler.tag_resource(ResourceArn=arn, Tags=[{"Key": "a", "Value": "1"}])
    scheduler.untag_resource(ResourceArn=arn, TagKeys=["k"])
    assert scheduler.list_tags_for_resource(ResourceArn=arn)["Tags"] == [{"Key": "a", "Value": "1"}]
    assert scheduler.get_schedule_group(Name=group)["State"] == "ACTIVE"
    assert group in [item["Name"] for item in scheduler.list_schedule_groups(NamePrefix="group")["ScheduleGroups"]]
    refused("ConflictException", scheduler.create_schedule_group, Name=group)
    scheduler.delete_schedule_group(Name=group)
    refused("ResourceNotFoundException", scheduler.get_schedule, Name="s0", GroupName=group)
    refused("ResourceNotFoundException", scheduler.list_schedules, GroupName=group)
    refused("ValidationException", scheduler.delete_schedule_group, Name="default")


def test_what_cannot_work_is_refused_with_the_reason(scheduler, function_arn, file):
    good = {
        "Name": fresh_name("s"), "ScheduleExpression": "rate(1 hour)", "FlexibleTimeWindow": OFF,
        "Target": target(function_arn, file),
    }
    late = datetime.datetime(2099, 1, 1, tzinfo=datetime.timezone.utc)
    for change, why in [
        ({"ScheduleExpression": "cron(0 0 31 2 ? *)"}, "never fires"),
        ({"ScheduleExpression": "at(2020-01-01T00:00:00)"}, "past"),
        ({"ScheduleExpression": "rate(5 minute)"}, "plural"),
        ({"ScheduleExpression": "now"}, "rate("),
        ({"ScheduleExpressionTimezone": "Mars/Olympus"}, "time zone"),
        ({"StartDate": late, "EndDate": late}, "earlier"),
        ({"FlexibleTimeWindow": {"Mode": "FLEXIBLE"}}, "maximumWindowInMinutes"),
        ({"FlexibleTimeWindow": {"Mode": "OFF", "MaximumWindowInMinutes": 5}}, "FLEXIBLE"),
        ({"Target": target(function_arn + "-none", file)}, "does not exist"),
        ({"Target": target("arn:aws:scheduler:::aws-sdk:lambda:invoke", file)}, "not supported"),
        ({"Target": target(function_arn, file, Input="not json")}, "JSON"),
        ({"Target": target(function_arn, file, DeadLetterConfig={"Arn": "arn:aws:sqs:us-east-1:000000000000:no"})}, "exist"),
        ({"Target": target(function_arn, file, KinesisParameters={"PartitionKey": "k"})}, "KinesisParameters"),
    ]:
        assert why in refused("ValidationException", scheduler.create_schedule, **good | change), change
    refused("ResourceNotFoundException", scheduler.create_schedule, **good, GroupName="none")
    refused("ResourceNotFoundException", scheduler.update_schedule, **good)
    refused("ResourceNotFoundException", scheduler.delete_schedule, Name=good["Name"])
    scheduler.create_schedule(**good, ClientToken="token", State="DISABLED")
    scheduler.create_schedule(**good, ClientToken="token", State="DISABLED")
    refused("ConflictException", scheduler.create_schedule, **good, State="DISABLED")


def test_a_rule_with_a_schedule_tells_its_targets(server, function_arn, file):
    events = checked(server, "events")
    name = fresh_name("tick")
    events.put_rule(Name=name, ScheduleExpression="rate(1 second)")
    template = '{"file": "%s", "time": <time>, "type": <type>}' % file
    paths = {"time": "$.time", "type": "$.detail-type"}
    transformer = {"InputPathsMap": paths, "InputTemplate": template}
    events.put_targets(Rule=name, Targets=[{"Id": "1", "Arn": function_arn, "InputTransformer": transformer}])
    wait_until("it fired twice", lambda: len(lines(file)) >= 2)
    assert lines(file)[0]["type"] == "Scheduled Event"
    events.remove_targets(Rule=name, Ids=["1"])
    events.delete_rule(Name=name)


def test_the_aws_cli_makes_schedules(server, function_arn, file):
    aws = lambda *args: server.run("aws", "scheduler", *args)  # noqa: E731
    name, expression = fresh_name("cli"), "rate(1 day)"
    aws(
        "create-schedule", "--name", name, "--schedule-expression", expression, "--flexible-time-window", "Mode=OFF",
        "--target", json.dumps(target(function_arn, file)),
    )
    assert json.loads(aws("get-schedule", "--name", name).stdout)["ScheduleExpression"] == expression
    (seen,) = wait_until("the function ran", lambda: lines(file))
    assert seen["arn"].endswith(f":schedule/default/{name}")


def test_no_instant_is_lost_and_none_fires_twice_while_the_server_is_killed(workdir):
    """Kills the server whenever more has fired; a cron of every second cannot be had, so many schedules stand for it."""
    server = Server(workdir / "killed")
    with judged(server):
        server.start()
        scheduler, client = checked(server, "scheduler"), server.client()
        file, arn = workdir / fresh_name("seen"), arn_of_new_function(client)
        wanted = {}
        for n in range(120):
            expression, time = soon(10 + n % 20)
            _, schedule_arn = schedule(scheduler, expression, target(arn, file))
            wanted[schedule_arn] = time
        for enough in (5, 30, 60, 90):
            wait_until(f"{enough} have fired", lambda: len(lines(file)) >= enough)
            server.kill9()
            server.start()
        wait_until("all have fired", lambda: fired(file) >= set(wanted.items()))
        assert fired(file) == set(wanted.items())
        # A function may be run again when the server dies under it; it is then the same invocation.
        by_schedule = {}
        for seen in lines(file):
            by_schedule.setdefault(seen["arn"], set()).add(seen["request_id"])
        assert all(len(ids) == 1 for ids in by_schedule.values()), by_schedule


def fired(file):
    """Which schedules have fired for which instants."""
    return {(seen["arn"], seen["time"]) for seen in lines(file)}
