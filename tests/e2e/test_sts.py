"""Who calls, and credentials of roles: whom a role trusts, what they may do with it, and for how long."""

import json

import boto3
import pytest

from aws_cli import aws
from functions import ECHO, create, fresh_name
from test_access import HOME, SITE, CALLER, holder, inside
from test_iam import policy, refused


@pytest.fixture(scope="module")
def iam(server):
    return server.client("iam")


@pytest.fixture(scope="module")
def sts(server):
    return server.client("sts")


def trust(**principal):
    return json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}]})


def with_session(server, credentials, service, token=True):
    session = boto3.Session(credentials["AccessKeyId"], credentials["SecretAccessKey"],
                            credentials["SessionToken"] if token else None, region_name="us-east-1")
    return session.client(service, endpoint_url=server.endpoint)


def test_everybody_may_know_who_they_are(server, sts):
    found = sts.get_caller_identity()
    assert (found["Account"], found["Arn"], found["UserId"]) == (HOME, f"arn:aws:iam::{HOME}:root", HOME)
    caller = holder(server, "--allow", "invoke:nothing", name="who")
    assert caller.client("sts").get_caller_identity()["Arn"] == f"arn:aws:iam::{HOME}:user/who"
    assert aws(server, "sts", "get-caller-identity")["Account"] == HOME


def test_a_role_gives_its_credentials_to_whom_it_trusts(server, iam, sts):
    role = fresh_name("role")
    arn = iam.create_role(RoleName=role, AssumeRolePolicyDocument=trust(AWS=f"arn:aws:iam::{HOME}:root"))["Role"]["Arn"]
    iam.put_role_policy(RoleName=role, PolicyName="look", PolicyDocument=policy("sqs:List*"))
    given = sts.assume_role(RoleArn=arn, RoleSessionName="me", DurationSeconds=900)
    credentials, who = given["Credentials"], f"arn:aws:sts::{HOME}:assumed-role/{role}/me"
    assert given["AssumedRoleUser"]["Arn"] == who
    identity = with_session(server, credentials, "sts").get_caller_identity()
    assert (identity["Arn"], identity["UserId"]) == (who, given["AssumedRoleUser"]["AssumedRoleId"])
    queues = with_session(server, credentials, "sqs")
    queues.list_queues()
    denied = refused(lambda: queues.create_queue(QueueName="q"), "AccessDeniedException", "sqs:CreateQueue")
    assert denied.startswith(f"User: {who} is not authorized")
    refused(lambda: with_session(server, credentials, "sts", token=False).get_caller_identity(), "InvalidClientTokenId")

    server.listen = server.endpoint.removeprefix("http://")
    server.kill9()
    server.start()
    queues.list_queues()
    iam.delete_role_policy(RoleName=role, PolicyName="look")
    refused(queues.list_queues, "AccessDeniedException")
    iam.delete_role(RoleName=role)
    refused(with_session(server, credentials, "sts").get_caller_identity, "InvalidClientTokenId")


def test_whom_a_role_does_not_trust_does_not_have_it(server, iam, sts):
    for_lambda, for_ada = fresh_name("role"), fresh_name("role")
    lambda_arn = iam.create_role(RoleName=for_lambda, AssumeRolePolicyDocument=trust(Service="lambda.amazonaws.com"))
    lambda_arn = lambda_arn["Role"]["Arn"]
    ada = holder(server, "--allow", "invoke", name="ada").client("sts")
    ada_arn = iam.create_role(RoleName=for_ada, AssumeRolePolicyDocument=trust(AWS=f"arn:aws:iam::{HOME}:user/ada"))
    ada_arn = ada_arn["Role"]["Arn"]
    call = {"RoleSessionName": "me"}
    refused(lambda: sts.assume_role(RoleArn=lambda_arn, **call), "AccessDenied", "sts:AssumeRole on resource: " + lambda_arn)
    refused(lambda: sts.assume_role(RoleArn=f"arn:aws:iam::{HOME}:role/nobody", **call), "AccessDenied", "role/nobody")
    assert ada.assume_role(RoleArn=ada_arn, **call)["AssumedRoleUser"]["Arn"].endswith(f"/{for_ada}/me")
    refused(lambda: sts.assume_role(RoleArn=ada_arn, **call), "AccessDenied")
    iam.update_assume_role_policy(RoleName=for_ada, PolicyDocument=trust(AWS=HOME))
    refused(lambda: ada.assume_role(RoleArn=ada_arn, **call), "AccessDenied", "no identity-based policy allows")
    deployer = holder(server, "--allow", "deploy").client("sts")
    refused(lambda: deployer.assume_role(RoleArn=ada_arn, **call), "AccessDenied", "explicit deny")
    sts.assume_role(RoleArn=ada_arn, **call)
    refused(lambda: sts.assume_role(RoleArn=ada_arn, DurationSeconds=7200, **call), "ValidationError", "MaxSessionDuration")
    refused(lambda: sts.assume_role(RoleArn=ada_arn, RoleSessionName="a b"), "ValidationError", "roleSessionName")
    refused(lambda: sts.assume_role(RoleArn=ada_arn, Policy=policy("*"), **call), "NotImplemented", "Policy of AssumeRole")
    refused(lambda: sts.get_session_token(), "NotImplemented", "GetSessionToken")


def test_what_a_role_allows_is_what_its_function_may_do_with_every_service(server, client, iam):
    role = fresh_name("role")
    arn = iam.create_role(RoleName=role, AssumeRolePolicyDocument=trust(Service="lambda.amazonaws.com"))["Role"]["Arn"]
    target = create(client, ECHO, fresh_name("target"))
    name = create(client, CALLER, Timeout=60, MemorySize=512, Role=arn, Environment={"Variables": {"PYTHONPATH": SITE}})
    calls = {
        "lambda": ("invoke", {"FunctionName": target, "Payload": "[1]"}, "lambda:InvokeFunction"),
        "sqs": ("list_queues", {}, "sqs:ListQueues"),
        "events": ("list_rules", {}, "events:ListRules"),
        "scheduler": ("list_schedules", {}, "scheduler:ListSchedules"),
        "logs": ("describe_log_groups", {}, "logs:DescribeLogGroups"),
        "iam": ("list_policies", {"Scope": "Local"}, "iam:ListPolicies"),
    }
    who = f"arn:aws:sts::{HOME}:assumed-role/{role}/{name}"
    assert inside(client, name, "get_caller_identity", {}, service="sts")["answer"]["Arn"] == who
    for service, (operation, parameters, action) in calls.items():
        error = inside(client, name, operation, parameters, service=service)["error"]
        assert error["Code"].startswith("AccessDenied") and action in error["Message"], error
        assert error["Message"].startswith(f"User: {who}"), error
    iam.put_role_policy(RoleName=role, PolicyName="all", PolicyDocument=policy([one[2] for one in calls.values()]))
    for service, (operation, parameters, _) in calls.items():
        answer = inside(client, name, operation, parameters, service=service)
        assert "answer" in answer, answer
    iam.put_role_policy(RoleName=role, PolicyName="but", PolicyDocument=policy("sqs:*", Effect="Deny"))
    error = inside(client, name, "list_queues", {}, service="sqs")["error"]
    assert "with an explicit deny in an identity-based policy" in error["Message"]
    odd = policy("events:*", Effect="Deny", Condition={"DateLessThan": {"aws:CurrentTime": "2000-01-01T00:00:00Z"}})
    iam.put_role_policy(RoleName=role, PolicyName="odd", PolicyDocument=odd)
    error = inside(client, name, "list_rules", {}, service="events")["error"]
    assert "the condition operator `DateLessThan` is not supported by Squall" in error["Message"], error
