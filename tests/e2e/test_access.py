"""Keys with less power: what each may do, what it is told when it may not, and policies of functions."""

import json
import pathlib
import urllib.parse

import boto3
import pytest
from botocore.exceptions import ClientError

import wire
from conftest import judged
from functions import ECHO, PYTHON, create, fresh_name, wait_active, zipped
from squall_server import Server, wait_until

HOME = "000000000000"
PARTNER = "111122223333"
# Where this interpreter has boto3 from: functions of these tests have it, too.
SITE = str(pathlib.Path(boto3.__file__).parents[1])


class Holder:
    """Somebody with a key of their own."""

    def __init__(self, server, printed):
        self.server = server
        self.env = dict(line.removeprefix("export ").split("=", 1) for line in printed.splitlines())
        self.env = {name: value.strip("'") for name, value in self.env.items()}

    def client(self, service="lambda"):
        session = boto3.Session(self.env["AWS_ACCESS_KEY_ID"], self.env["AWS_SECRET_ACCESS_KEY"],
                                region_name=self.env["AWS_REGION"])
        return session.client(service, endpoint_url=self.env["AWS_ENDPOINT_URL"])

    def squall(self, *args, **kwargs):
        return self.server.squall(*args, env=self.env, **kwargs)


def holder(server, *flags, name=None):
    return Holder(server, server.squall("keys", "create", name or fresh_name("key"), *flags).stdout)


def denied(call, *words):
    with pytest.raises(ClientError) as refused:
        call()
    error = refused.value.response
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 403, error
    assert error["Error"]["Code"] == "AccessDeniedException", error
    for word in words:
        assert word in error["Error"]["Message"], error
    return error["Error"]["Message"]


@pytest.fixture(scope="module")
def shop(client):
    return create(client, ECHO, fresh_name("shop"))


@pytest.fixture(scope="module")
def other(client):
    return create(client, ECHO, fresh_name("other"))


def test_a_key_that_may_invoke_some_functions_does_nothing_else(server, shop, other):
    caller = holder(server, "--allow", "invoke:shop-*", name="caller").client()
    assert json.load(caller.invoke(FunctionName=shop, Payload=b"[1]")["Payload"]) == [1]
    assert caller.invoke(FunctionName=shop, InvocationType="Event")["StatusCode"] == 202
    message = denied(lambda: caller.invoke(FunctionName=other))
    assert message == (
        f"User: arn:aws:iam::{HOME}:user/caller is not authorized to perform: lambda:InvokeFunction on resource: "
        f"arn:aws:lambda:us-east-1:{HOME}:function:{other} "
        "because no identity-based policy allows the lambda:InvokeFunction action"
    )
    denied(lambda: caller.get_function(FunctionName=shop), "lambda:GetFunction", shop)
    denied(lambda: caller.list_functions(), "lambda:ListFunctions", "resource: *")
    denied(lambda: caller.delete_function(FunctionName=shop), "lambda:DeleteFunction")


def test_what_may_not_be_called_may_not_be_called_by_any_road(server, shop, other):
    caller = holder(server, "--allow", f"invoke:{shop}")
    call = caller.squall("dag", "ls", check=False)
    assert call.returncode == 1 and "squall:ListDags" in call.stderr, call
    for command, action in [
        (("state", "ls"), "squall:ListBuckets"),
        (("state", "get", shop, "key"), "squall:GetState"),
        (("logs", shop), "squall:GetLogs"),
        (("events", "ls"), "squall:ListEvents"),
        (("keys", "ls"), "squall:ListKeys"),
        (("keys", "create", "mine", "--allow", "admin"), "squall:CreateKey"),
    ]:
        refused = caller.squall(*command, check=False)
        assert refused.returncode == 1 and f"not authorized to perform: {action}" in refused.stderr, refused
    queues = caller.client("sqs")
    with pytest.raises(ClientError, match="sqs:ListQueues"):
        queues.list_queues()
    with pytest.raises(ClientError, match=f"sqs:SendMessage on resource: arn:aws:sqs:us-east-1:{HOME}:q"):
        queues.send_message_batch(QueueUrl=f"{server.endpoint}/{HOME}/q", Entries=[{"Id": "1", "MessageBody": "x"}])


def test_each_grant_allows_what_its_name_says(server, client, shop):
    reader = holder(server, "--allow", "read-only").client()
    assert shop in [found["FunctionName"] for found in reader.list_functions()["Functions"]]
    denied(lambda: reader.invoke(FunctionName=shop), "lambda:InvokeFunction")
    denied(lambda: reader.update_function_configuration(FunctionName=shop, Timeout=5))

    deployer = holder(server, "--allow", "deploy")
    name = create(deployer.client(), ECHO)
    deployer.client().delete_function(FunctionName=name)
    refused = deployer.squall("keys", "create", "more", "--allow", "admin", check=False)
    assert refused.returncode == 1 and "with an explicit deny in an identity-based policy" in refused.stderr

    admin = holder(server, "--allow", "admin")
    admin.squall("keys", "create", "made-by-admin", "--allow", "read-only")
    assert "made-by-admin" in admin.squall("keys", "ls").stdout


def test_a_policy_in_iams_language(server, workdir, shop):
    policy = workdir / "policy.json"
    policy.write_text(json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "lambda:*", "Resource": f"arn:aws:lambda:*:*:function:{shop}"},
        {"Effect": "Deny", "Action": "lambda:Delete*", "Resource": "*"},
    ]}))
    narrow = holder(server, "--policy", f"@{policy}").client()
    assert narrow.get_function(FunctionName=shop)["Configuration"]["FunctionName"] == shop
    denied(lambda: narrow.delete_function(FunctionName=shop), "explicit deny in an identity-based policy")
    policy.write_text('{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*", '
                      '"Condition": {"DateLessThan": {"aws:CurrentTime": "2030-01-01T00:00:00Z"}}}}')
    refused = server.squall("keys", "create", "bad", "--policy", f"@{policy}", check=False)
    assert refused.returncode == 1 and "`DateLessThan`, which is not supported" in refused.stderr


def test_keys_that_are_none_are_refused_in_words(server):
    for flags, words in [
        ((), "would allow nothing"),
        (("--allow", "root"), "`root` is not a grant; there are admin, deploy"),
        (("--allow", "invoke:a/b"), "fits no function"),
        (("--allow", "admin", "--account", "12"), "write its twelve digits"),
    ]:
        refused = server.squall("keys", "create", "bad", *flags, check=False)
        assert refused.returncode == 1 and words in refused.stderr, refused
    refused = server.squall("keys", "revoke", "nobody", check=False)
    assert refused.returncode == 1 and "there is no key `nobody`" in refused.stderr


def test_keys_rotate_are_revoked_and_outlive_kill9(workdir):
    with judged(Server(workdir / "rotated")) as server:
        server.start()
        first = holder(server, "--allow", "read-only", name="ci")
        second = Holder(server, server.squall("keys", "rotate", "ci", "--grace-secs", "600").stdout)
        server.kill9()
        server.start()
        for held in (first, second):
            held.env["AWS_ENDPOINT_URL"] = server.endpoint
            held.client().list_functions()
        third = Holder(server, server.squall("keys", "rotate", "ci").stdout)
        for held in (first, second):
            with pytest.raises(ClientError, match="security token included in the request is invalid"):
                held.client().list_functions()
        third.client().list_functions()
        server.squall("keys", "revoke", "ci")
        with pytest.raises(ClientError, match="security token included in the request is invalid"):
            third.client().list_functions()


def test_changes_and_denials_are_in_the_audit_log(server, client, shop):
    caller = holder(server, "--allow", "invoke", name="audited").client()
    caller.invoke(FunctionName=shop)
    denied(lambda: caller.delete_function(FunctionName=shop))
    client.put_function_concurrency(FunctionName=shop, ReservedConcurrentExecutions=5)
    client.delete_function_concurrency(FunctionName=shop)
    lines = [json.loads(line) for line in (server.data_dir / "audit.jsonl").read_text().splitlines()]
    ours = [line for line in lines if line["principal"].endswith(":user/audited")]
    assert [(line["action"], line["allowed"]) for line in ours] == [("lambda:DeleteFunction", False)]
    assert "is not authorized to perform: lambda:DeleteFunction" in ours[0]["reason"]
    root = [line["action"] for line in lines if line["principal"] == f"arn:aws:iam::{HOME}:root" and line["allowed"]]
    assert root[-2:] == ["lambda:PutFunctionConcurrency", "lambda:DeleteFunctionConcurrency"]
    assert root.index("squall:CreateKey") < len(root) - 2


def test_a_functions_policy_lets_another_account_in(server, client, shop, other):
    partner = holder(server, "--account", PARTNER, "--allow", "invoke", name="partner").client()
    denied(lambda: partner.invoke(FunctionName=shop), "no resource-based policy allows the lambda:InvokeFunction")
    added = client.add_permission(FunctionName=shop, StatementId="partner", Action="lambda:InvokeFunction",
                                  Principal=PARTNER)
    statement = json.loads(added["Statement"])
    assert statement["Principal"] == {"AWS": f"arn:aws:iam::{PARTNER}:root"}
    assert partner.invoke(FunctionName=shop)["StatusCode"] == 200
    denied(lambda: partner.invoke(FunctionName=other), "no resource-based policy")

    policy = client.get_policy(FunctionName=shop)
    assert json.loads(policy["Policy"])["Statement"] == [statement]
    with pytest.raises(client.exceptions.ResourceConflictException, match="already exists"):
        client.add_permission(FunctionName=shop, StatementId="partner", Action="lambda:InvokeFunction", Principal="*")
    with pytest.raises(client.exceptions.PreconditionFailedException):
        client.remove_permission(FunctionName=shop, StatementId="partner", RevisionId="stale")
    client.remove_permission(FunctionName=shop, StatementId="partner", RevisionId=policy["RevisionId"])
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_policy(FunctionName=shop)
    denied(lambda: partner.invoke(FunctionName=shop), "no resource-based policy")


def test_a_functions_policy_lets_one_of_us_in(server, client, shop):
    reader = holder(server, "--allow", "read-only", name="reader").client()
    denied(lambda: reader.invoke(FunctionName=shop))
    client.add_permission(FunctionName=shop, StatementId="reader", Action="lambda:InvokeFunction",
                          Principal=f"arn:aws:iam::{HOME}:user/reader")
    assert reader.invoke(FunctionName=shop)["StatusCode"] == 200
    client.remove_permission(FunctionName=shop, StatementId="reader")
    with pytest.raises(client.exceptions.InvalidParameterValueException, match="principal was invalid"):
        client.add_permission(FunctionName=shop, StatementId="x", Action="lambda:InvokeFunction", Principal="x")
    with pytest.raises(client.exceptions.PolicyLengthExceededException):
        for number in range(200):
            client.add_permission(FunctionName=shop, StatementId=f"s{number}", Action="lambda:InvokeFunction",
                                  Principal=PARTNER)


def test_a_url_that_asks_for_a_signature_asks_what_its_caller_may(server, client, other):
    made = client.create_function_url_config(FunctionName=other, AuthType="AWS_IAM")["FunctionUrl"]
    host = urllib.parse.urlsplit(made).netloc

    def call(held):
        signed = wire.sign(held, f"http://{host}/", "GET", {"Host": host})
        return wire.send(f"{server.endpoint}/", "GET", signed)

    assert call(holder(server, "--allow", "invoke")).status == 200
    refused = call(holder(server, "--allow", "read-only"))
    assert refused.status == 403 and b"lambda:InvokeFunctionUrl" in refused.body, refused
    assert call(holder(server, "--allow", "invoke:nobody-*")).status == 403


def test_who_may_not_call_a_function_may_not_have_it_called_by_a_schedule_or_a_rule(server, shop):
    arn = f"arn:aws:lambda:us-east-1:{HOME}:function:{shop}"
    actions = {"Effect": "Allow", "Action": ["scheduler:*", "events:*"], "Resource": "*"}
    caller = holder(server, "--policy", json.dumps({"Version": "2012-10-17", "Statement": [actions]}))
    scheduler, events = caller.client("scheduler"), caller.client("events")
    target = {"Arn": arn, "RoleArn": f"arn:aws:iam::{HOME}:role/squall"}
    wanted = {"Name": fresh_name("s"), "ScheduleExpression": "rate(1 day)", "FlexibleTimeWindow": {"Mode": "OFF"}}
    denied(lambda: scheduler.create_schedule(**wanted, Target=target), "lambda:InvokeFunction", shop)
    rule = fresh_name("rule")
    events.put_rule(Name=rule, EventPattern='{"source": ["s"]}')
    targets = [{"Id": "1", "Arn": arn}]
    denied(lambda: events.put_targets(Rule=rule, Targets=targets), "lambda:InvokeFunction", shop)
    assert events.list_targets_by_rule(Rule=rule)["Targets"] == []
    looker = holder(server, "--allow", "read-only")
    assert looker.client("events").describe_rule(Name=rule)["Name"] == rule
    denied(lambda: looker.client("events").delete_rule(Name=rule), "events:DeleteRule", f":rule/{rule}")
    denied(lambda: looker.client("scheduler").delete_schedule(Name="s"), "scheduler:DeleteSchedule", ":schedule/default/s")


def test_who_may_not_call_a_function_may_not_have_it_called_by_a_mapping_a_dag_or_a_destination(server, client, shop):
    queue = server.client("sqs").create_queue(QueueName=fresh_name("q"))["QueueUrl"].rsplit("/", 1)[1]
    source = f"arn:aws:sqs:us-east-1:{HOME}:{queue}"
    actions = ["lambda:*EventSourceMapping", "lambda:*EventInvokeConfig", "squall:*Dag"]
    allow = [{"Effect": "Allow", "Action": actions, "Resource": "*"}]
    caller = holder(server, "--policy", json.dumps({"Statement": allow}))
    mapping = {"FunctionName": shop, "EventSourceArn": source}
    denied(lambda: caller.client().create_event_source_mapping(**mapping), "lambda:InvokeFunction", shop)
    destination = {"OnSuccess": {"Destination": f"arn:aws:lambda:us-east-1:{HOME}:function:{shop}"}}
    denied(lambda: caller.client().put_function_event_invoke_config(FunctionName=shop, DestinationConfig=destination),
           "lambda:InvokeFunction")
    refused = caller.squall("dag", "create", "detour", shop, check=False)
    assert refused.returncode == 1 and "lambda:InvokeFunction" in refused.stderr, refused
    more = allow + [{"Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": "*"}]
    caller = holder(server, "--policy", json.dumps({"Statement": more}))
    denied(lambda: caller.client().create_event_source_mapping(**mapping), "sqs:ReceiveMessage", source)
    assert client.list_event_source_mappings(FunctionName=shop)["EventSourceMappings"] == []


def test_a_role_must_be_there_and_may_be_passed_on(server, client):
    def new(client, role, name):
        return client.create_function(FunctionName=name, Runtime=PYTHON, Role=f"arn:aws:iam::{HOME}:role/{role}",
                                      Handler="app.handler", Code={"ZipFile": zipped({"app.py": ECHO})})

    name = fresh_name("passed")
    cannot = "The role defined for the function cannot be assumed by Lambda."
    with pytest.raises(client.exceptions.InvalidParameterValueException, match=cannot):
        new(client, "nobody", name)
    iam, role = server.client("iam"), fresh_name("role")
    trust = {"Effect": "Allow", "Principal": {"Service": "scheduler.amazonaws.com"}, "Action": "sts:AssumeRole"}
    iam.create_role(RoleName=role, AssumeRolePolicyDocument=json.dumps({"Statement": [trust]}))
    with pytest.raises(client.exceptions.InvalidParameterValueException, match=cannot + " The trust policy"):
        new(client, role, name)
    trust["Principal"]["Service"] = "lambda.amazonaws.com"
    iam.update_assume_role_policy(RoleName=role, PolicyDocument=json.dumps({"Statement": [trust]}))

    policy = {"Statement": [{"Effect": "Allow", "Action": "lambda:*", "Resource": "*"}]}
    caller = holder(server, "--policy", json.dumps(policy)).client()
    denied(lambda: new(caller, role, name), "iam:PassRole", f"role/{role}")
    only = {"StringEquals": {"iam:PassedToService": "lambda.amazonaws.com"}}
    policy["Statement"].append({"Effect": "Allow", "Action": "iam:PassRole", "Resource": f"*:role/{role}",
                                "Condition": only})
    caller = holder(server, "--policy", json.dumps(policy)).client()
    new(caller, role, name)
    wait_active(client, name)
    squall = f"arn:aws:iam::{HOME}:role/squall"
    denied(lambda: caller.update_function_configuration(FunctionName=name, Role=squall), "iam:PassRole", squall)
    with pytest.raises(client.exceptions.InvalidParameterValueException, match=cannot):
        client.update_function_configuration(FunctionName=name, Role=f"arn:aws:iam::{HOME}:role/nobody")

    deployer, strong = holder(server, "--allow", "deploy").client(), fresh_name("strong")
    new(deployer, role, fresh_name("by-deployer"))
    server.squall("roles", "put", strong, "--allow", "admin")
    denied(lambda: new(deployer, strong, fresh_name("too-strong")), "iam:PassRole", "explicit deny")
    server.squall("roles", "put", strong, "--allow", "deploy")
    new(deployer, strong, fresh_name("as-strong"))


def test_who_has_a_schedule_or_a_rule_use_a_role_must_have_one_that_is_for_it(server, shop):
    scheduler, events = server.client("scheduler"), server.client("events")
    arn, nobody = f"arn:aws:lambda:us-east-1:{HOME}:function:{shop}", f"arn:aws:iam::{HOME}:role/nobody"
    with pytest.raises(ClientError, match="must allow AWS EventBridge Scheduler to assume the role"):
        scheduler.create_schedule(Name="s", ScheduleExpression="rate(1 day)", FlexibleTimeWindow={"Mode": "OFF"},
                                  Target={"Arn": arn, "RoleArn": nobody})
    rule = fresh_name("rule")
    events.put_rule(Name=rule, EventPattern='{"source": ["s"]}')
    with pytest.raises(ClientError, match="cannot be assumed by principal 'events.amazonaws.com'"):
        events.put_targets(Rule=rule, Targets=[{"Id": "1", "Arn": arn, "RoleArn": nobody}])


CALLER = """
import json
import boto3
from botocore.exceptions import ClientError

def handler(event, context):
    client = boto3.client(event.get("service", "lambda"))
    try:
        answer = getattr(client, event["operation"])(**event["parameters"])
    except ClientError as error:
        return {"error": error.response["Error"]}
    answer.pop("ResponseMetadata")
    return {"answer": {name: value.read().decode() if hasattr(value, "read") else value
                       for name, value in answer.items()}}
"""


def inside(client, name, operation, parameters, **more):
    event = {"operation": operation, "parameters": parameters} | more
    answer = client.invoke(FunctionName=name, Payload=json.dumps(event))
    body = json.load(answer["Payload"])
    assert "FunctionError" not in answer, body
    return body


def test_a_function_may_do_what_its_role_allows_and_no_more(server, client, shop, other):
    role = fresh_name("role")
    server.squall("roles", "put", role)
    name = create(client, CALLER, Timeout=60, MemorySize=512, Environment={"Variables": {"PYTHONPATH": SITE}})
    client.update_function_configuration(FunctionName=name, Role=f"arn:aws:iam::{HOME}:role/{role}")
    wait_active(client, name)
    call = {"FunctionName": shop, "Payload": "[7]"}
    refused = inside(client, name, "invoke", call)["error"]
    assert refused["Code"] == "AccessDeniedException", refused
    assert refused["Message"].startswith(
        f"User: arn:aws:sts::{HOME}:assumed-role/{role}/{name} is not authorized to perform: lambda:InvokeFunction"
    ), refused

    server.squall("roles", "put", role, "--allow", "invoke:shop-*")
    assert inside(client, name, "invoke", call)["answer"]["Payload"] == "[7]"
    refused = inside(client, name, "invoke", {"FunctionName": other})["error"]
    assert refused["Code"] == "AccessDeniedException" and other in refused["Message"]
    refused = inside(client, name, "send_message", {"QueueUrl": "q", "MessageBody": "m"}, service="sqs")["error"]
    assert "sqs:SendMessage" in refused["Message"]
    assert role in server.squall("roles", "ls").stdout
    server.squall("roles", "rm", role)
    assert inside(client, name, "invoke", call)["error"]["Code"] == "AccessDeniedException"


LEAK = """
import os
def handler(event, context):
    return {name: os.environ[name] for name in event} | {"pid": os.getpid()}
"""
CREDENTIALS = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"]


def test_an_instances_credentials_are_its_own_and_end_with_it(server, client, shop):
    name = create(client, LEAK, Environment={"Variables": {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}})
    server.squall("roles", "put", "squall", "--allow", "read-only")
    leaked = json.load(client.invoke(FunctionName=name, Payload=json.dumps(CREDENTIALS))["Payload"])
    assert leaked["AWS_ENDPOINT_URL"] == "http://127.0.0.1:1", "a function may name another endpoint"

    def using(token):
        session = boto3.Session(leaked["AWS_ACCESS_KEY_ID"], leaked["AWS_SECRET_ACCESS_KEY"], token,
                                region_name="us-east-1")
        return session.client("lambda", endpoint_url=server.endpoint).list_functions()

    using(leaked["AWS_SESSION_TOKEN"])
    for token in (None, "x" * 64):
        with pytest.raises(ClientError, match="security token included in the request is invalid"):
            using(token)
    client.delete_function(FunctionName=name)

    def ended():
        try:
            return using(leaked["AWS_SESSION_TOKEN"]) and None
        except ClientError as error:
            return "security token" in str(error)

    wait_until("the credentials are taken back", ended, 60)
