"""CloudWatch Logs' API over what functions wrote, through boto3 and the aws command."""

import json
import re
import time

import pytest
from botocore.exceptions import ClientError

from aws_cli import AWS, aws
from functions import EXAMPLES, create, fresh_name
from squall_server import binary, wait_until
from test_access import holder

WRITER = """
def handler(event, context):
    for line in event["lines"]:
        print(line)
    return context.log_stream_name
"""


@pytest.fixture(scope="module")
def logs(server):
    return server.client("logs")


@pytest.fixture(scope="module")
def writer(client):
    return create(client, WRITER, fresh_name("writer"))


def write(client, name, *lines):
    answer = client.invoke(FunctionName=name, Payload=json.dumps({"lines": lines}))
    assert "FunctionError" not in answer, answer["Payload"].read()
    return json.load(answer["Payload"])


def group(name):
    return f"/aws/lambda/{name}"


def messages(page):
    return [event["message"].rstrip("\n") for event in page["events"]]


def refused(call, code, words=""):
    with pytest.raises(ClientError) as error:
        call()
    found = error.value.response["Error"]
    assert found["Code"] == code and words in found["Message"], found


def kept(logs, name, **search):
    """What a search finds, once it finds anything: lines are kept when their invocation has been answered."""
    pages = logs.get_paginator("filter_log_events")
    search = {"logGroupName": group(name)} | search
    return wait_until(f"{search} finds something", lambda: [
        line for page in pages.paginate(**search) for line in messages(page)], 60, 0.1)


def wait_for(logs, name, word):
    kept(logs, name, filterPattern=f'"{word}"')


def test_a_group_and_its_streams_are_described(client, logs):
    name = create(client, WRITER, fresh_name("described"))
    refused(lambda: logs.describe_log_streams(logGroupName=group(name)), "ResourceNotFoundException", "log group")
    before = int(time.time() * 1000) - 1000
    stream = write(client, name, "hello")
    wait_for(logs, name, "REPORT")
    [found] = logs.describe_log_groups(logGroupNamePrefix=group(name))["logGroups"]
    assert found["arn"] == f"arn:aws:logs:us-east-1:000000000000:log-group:{group(name)}:*"
    assert found["storedBytes"] > 0 and found["creationTime"] >= before and "retentionInDays" not in found
    [described] = logs.describe_log_streams(logGroupName=group(name))["logStreams"]
    assert re.fullmatch(r"\d{4}/\d\d/\d\d/\[\$LATEST\]\S+", described["logStreamName"]), described
    assert described["logStreamName"] == stream, "the function is told the same name"
    assert before <= described["firstEventTimestamp"] <= described["lastEventTimestamp"]
    by_time = logs.describe_log_streams(logGroupName=group(name), orderBy="LastEventTime", descending=True, limit=1)
    assert by_time["logStreams"] == [described]


def test_a_stream_is_read_from_both_ends_with_tokens(client, logs):
    name = create(client, WRITER, fresh_name("paged"))
    lines = [f"line {number}" for number in range(7)]
    stream = write(client, name, *lines)
    wait_for(logs, name, "REPORT")
    where = {"logGroupName": group(name), "logStreamName": stream}
    whole = logs.get_log_events(**where, startFromHead=True)
    everything = messages(whole)
    assert [line for line in everything if line.startswith("line")] == lines
    assert everything[0].startswith("INIT_START") and everything[-1].startswith("REPORT")
    assert messages(logs.get_log_events(**where, limit=3)) == everything[-3:], "the newest, in order"

    def walk(page, token):
        found = [messages(page)]
        while True:
            following = logs.get_log_events(**where, limit=3, nextToken=page[token])
            if following[token] == page[token]:
                assert following["events"] == []
                return found
            page = following
            found.append(messages(page))

    forward = walk(logs.get_log_events(**where, limit=3, startFromHead=True), "nextForwardToken")
    assert [line for page in forward for line in page] == everything and len(forward[0]) == 3
    backward = walk(logs.get_log_events(**where, limit=3), "nextBackwardToken")
    assert [line for page in reversed(backward) for line in page] == everything

    end = whole["nextForwardToken"]
    assert logs.get_log_events(**where, nextToken=end)["nextForwardToken"] == end
    assert write(client, name, "more") == stream
    wait_for(logs, name, "more")
    assert "more" in messages(logs.get_log_events(**where, nextToken=end)), "a token at the end goes on from there"
    at = whole["events"][2]["timestamp"]
    assert all(event["timestamp"] < at for event in
               logs.get_log_events(**where, startFromHead=True, endTime=at)["events"]), "the end is not in"
    refused(lambda: logs.get_log_events(**where, nextToken="x"), "InvalidParameterException", "nextToken")
    refused(lambda: logs.get_log_events(**where | {"logStreamName": "none"}), "ResourceNotFoundException", "log stream")


def test_lines_are_searched_by_terms_json_and_fields(client, logs):
    name = create(client, WRITER, fresh_name("searched"))
    json_lines = [json.dumps({"level": level, "ms": ms, "user": {"id": ms}}) for level, ms in [("error", 7), ("info", 90)]]
    stream = write(client, name, "ERROR disk full", "WARN disk slow", "all is well", "GET /a 404 17", *json_lines)
    wait_for(logs, name, "REPORT")
    for pattern, expected in [
        ("disk", ["ERROR disk full", "WARN disk slow"]),
        ("disk -WARN", ["ERROR disk full"]),
        ("?ERROR ?WARN", ["ERROR disk full", "WARN disk slow"]),
        ('"is well"', ["all is well"]),
        ('{ $.level = "error" && $.user.id < 10 }', [json_lines[0]]),
        ("{ $.ms > 10 || $.level = err* }", json_lines),
        ("[verb = GET, path, status = 4*, bytes > 10]", ["GET /a 404 17"]),
    ]:
        assert kept(logs, name, filterPattern=pattern) == expected, pattern
    assert kept(logs, name, filterPattern="disk", logStreamNames=[stream]) == ["ERROR disk full", "WARN disk slow"]
    found = logs.filter_log_events(logGroupName=group(name), filterPattern="disk", logStreamNamePrefix="1999/")
    assert found["events"] == [] and "nextToken" not in found
    for pattern, words in [("{ $.a }", "behind a member"), ("%x%", "regular expressions"), ("x" * 1025, "")]:
        refused(lambda: logs.filter_log_events(logGroupName=group(name), filterPattern=pattern),
                "InvalidParameterException", words)


def test_a_search_comes_in_pages_that_miss_nothing(client, logs):
    name = create(client, WRITER, fresh_name("many"))
    lines = [f"number {number}" for number in range(25)]
    for first in range(0, 25, 5):
        write(client, name, *lines[first:first + 5])
    wait_for(logs, name, "number 24")
    pages = [logs.filter_log_events(logGroupName=group(name), filterPattern="number", limit=7)]
    while "nextToken" in pages[-1]:
        pages.append(logs.filter_log_events(logGroupName=group(name), filterPattern="number", limit=7,
                                            nextToken=pages[-1]["nextToken"]))
    assert [line for page in pages for line in messages(page)] == lines
    assert len(pages[0]["events"]) == 7
    ids = [event["eventId"] for page in pages for event in page["events"]]
    assert len(set(ids)) == 25 and ids == sorted(ids)


def test_a_log_is_followed_as_the_aws_command_does(client, logs):
    """The calls of `aws logs tail --follow`: FilterLogEvents from the newest time that was seen, ids told apart."""
    name = create(client, WRITER, fresh_name("followed"))
    write(client, name, "first")
    wait_for(logs, name, "first")
    search, seen, shown = {"logGroupName": group(name), "interleaved": True}, {}, []

    def poll():
        page = logs.filter_log_events(**search)
        for event in page["events"]:
            if event["eventId"] not in seen:
                shown.append(event["message"].rstrip("\n"))
            seen[event["eventId"]] = event["timestamp"]
        search.pop("nextToken", None)
        if "nextToken" in page:
            search["nextToken"] = page["nextToken"]
        elif seen:
            search["startTime"] = max(seen.values())
        return shown

    for word in ("first", "second", "third"):
        if word != "first":
            write(client, name, word)
        wait_until(f"`{word}` is shown", lambda: word in poll(), 60, 0.1)
    assert [line for line in shown if line in ("first", "second", "third")] == ["first", "second", "third"]


def test_groups_are_made_labelled_kept_and_deleted(client, logs):
    name = fresh_name("made")
    logs.create_log_group(logGroupName=group(name), tags={"team": "a"})
    refused(lambda: logs.create_log_group(logGroupName=group(name)), "ResourceAlreadyExistsException")
    arn = f"arn:aws:logs:us-east-1:000000000000:log-group:{group(name)}"
    logs.tag_resource(resourceArn=arn, tags={"cost": "b"})
    logs.untag_resource(resourceArn=arn, tagKeys=["team"])
    assert logs.list_tags_for_resource(resourceArn=arn)["tags"] == {"cost": "b"}
    logs.put_retention_policy(logGroupName=group(name), retentionInDays=3)
    [found] = logs.describe_log_groups(logGroupNamePrefix=group(name))["logGroups"]
    assert (found["retentionInDays"], found["storedBytes"]) == (3, 0)
    logs.delete_retention_policy(logGroupName=group(name))
    [found] = logs.describe_log_groups(logGroupNamePrefix=group(name))["logGroups"]
    assert "retentionInDays" not in found
    create(client, WRITER, name)
    stream = write(client, name, "hello")
    wait_for(logs, name, "hello")
    logs.delete_log_stream(logGroupName=group(name), logStreamName=stream)
    assert logs.filter_log_events(logGroupName=group(name))["events"] == []
    refused(lambda: logs.delete_log_stream(logGroupName=group(name), logStreamName=stream), "ResourceNotFoundException")
    logs.delete_log_group(logGroupName=group(name))
    assert logs.describe_log_groups(logGroupNamePrefix=group(name))["logGroups"] == []
    refused(lambda: logs.delete_log_group(logGroupName=group(name)), "ResourceNotFoundException")
    write(client, name, "again")
    assert "again" in kept(logs, name)


def test_groups_come_in_pages(client, logs, writer):
    names = sorted(group(fresh_name("page")) for _ in range(3))
    for name in names:
        logs.create_log_group(logGroupName=name)
    pages = logs.get_paginator("describe_log_groups").paginate(
        logGroupNamePrefix="/aws/lambda/page-", PaginationConfig={"PageSize": 2})
    assert [[one["logGroupName"] for one in page["logGroups"]] for page in pages] == [names[:2], names[2:]]


def test_bad_input_and_what_is_not_here_are_named(logs, writer, client):
    write(client, writer, "hello")
    wait_for(logs, writer, "hello")
    where = {"logGroupName": group(writer)}
    refused(lambda: logs.put_retention_policy(**where, retentionInDays=2), "InvalidParameterException", "retentionInDays")
    refused(lambda: logs.filter_log_events(**where, startTime=2, endTime=1), "InvalidParameterException", "start time")
    refused(lambda: logs.filter_log_events(**where, nextToken="?"), "InvalidParameterException", "nextToken")
    refused(lambda: logs.filter_log_events(logGroupName="/other"), "ResourceNotFoundException")
    refused(lambda: logs.create_log_group(logGroupName="/my/app"), "NotImplementedException", "/my/app")
    for call in (lambda: logs.create_log_stream(**where, logStreamName="s"),
                 lambda: logs.put_log_events(**where, logStreamName="s", logEvents=[{"timestamp": 1, "message": "m"}]),
                 lambda: logs.put_metric_filter(**where, filterName="f", filterPattern="", metricTransformations=[
                     {"metricName": "m", "metricNamespace": "n", "metricValue": "1"}]),
                 lambda: logs.start_query(**where, startTime=1, endTime=2, queryString="fields @message")):
        refused(call, "NotImplementedException", "not implemented by Squall")


def test_who_may_not_read_a_log_does_not(server, client, logs, writer):
    write(client, writer, "secret")
    wait_for(logs, writer, "secret")
    arn = f"arn:aws:logs:*:*:log-group:{group(writer)}:*"
    policy = {"Statement": [{"Effect": "Allow", "Action": "logs:FilterLogEvents", "Resource": arn}]}
    reader = holder(server, "--policy", json.dumps(policy)).client("logs")
    assert "secret" in kept(reader, writer)
    refused(lambda: reader.filter_log_events(logGroupName=group("other")), "AccessDeniedException", "logs:FilterLogEvents")
    refused(lambda: reader.delete_log_group(logGroupName=group(writer)), "AccessDeniedException", "logs:DeleteLogGroup")
    looker = holder(server, "--allow", "read-only").client("logs")
    assert "secret" in kept(looker, writer)
    refused(lambda: looker.delete_log_group(logGroupName=group(writer)), "AccessDeniedException")


def test_the_aws_command_searches_a_log(server, client, logs, writer):
    write(client, writer, "for the command")
    wait_for(logs, writer, "for the command")
    found = aws(server, "logs", "filter-log-events", "--log-group-name", group(writer),
                "--filter-pattern", '"for the command"')
    assert messages(found) == ["for the command"]
    listed = aws(server, "logs", "describe-log-groups", "--log-group-name-prefix", group(writer))
    assert [one["logGroupName"] for one in listed["logGroups"]] == [group(writer)]


def test_the_example_finds_what_its_readme_says(server):
    readme = (EXAMPLES / "log-search-python" / "README.md").read_text()
    first, *commands = re.search(r"```sh\n(.*?)```", readme, re.S)[1].strip().splitlines()
    assert first == 'eval "$(squall env)"', "the tests have its variables already"

    def run(command):
        path = f"export PATH={binary().parent}:{AWS.parent}:$PATH"
        return server.run("bash", "-ec", f"{path}; {command}", cwd=EXAMPLES.parent).stdout

    *before, search = commands
    for command in before[:-1]:
        run(command)
    line = wait_until("the line is found", lambda: run(search).strip(), 60, 0.2)
    assert json.loads(line)["order"] == 2 and json.loads(line)["level"] == "warning"
    assert "/aws/lambda/orders" in run(before[-1])
