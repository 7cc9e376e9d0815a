"""Roles and policies through boto3's iam client and the aws CLI: what they say, and what functions may do then."""

import json

import pytest
from botocore.exceptions import ClientError

import wire
from aws_cli import aws
from functions import fresh_name

HOME = "000000000000"
TRUST = json.dumps({"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}]})
DENY_TRUST = json.dumps({"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]})
BASIC = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"


def policy(action, resource="*", **more):
    return json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": action, "Resource": resource} | more]})


@pytest.fixture(scope="module")
def iam(server):
    return server.client("iam")


def refused(call, code, words=""):
    with pytest.raises(ClientError) as error:
        call()
    found = error.value.response["Error"]
    assert found["Code"] == code and words in found["Message"], found
    return found["Message"]


def made(iam, **more):
    name = fresh_name("role")
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=TRUST, **more)
    return name


def test_a_role_is_made_shown_changed_and_deleted(server, iam):
    name = fresh_name("role")
    role = iam.create_role(RoleName=name, Path="/apps/", AssumeRolePolicyDocument=TRUST, Description="sells",
                           MaxSessionDuration=7200, Tags=[{"Key": "team", "Value": "a&b"}])["Role"]
    assert role["Arn"] == f"arn:aws:iam::{HOME}:role/apps/{name}" and role["RoleId"].startswith("AROA")
    assert role["AssumeRolePolicyDocument"] == json.loads(TRUST)
    found = iam.get_role(RoleName=name)["Role"]
    assert found["Tags"] == [{"Key": "team", "Value": "a&b"}] and found["CreateDate"] == role["CreateDate"]
    refused(lambda: iam.create_role(RoleName=name, AssumeRolePolicyDocument=TRUST), "EntityAlreadyExists", name)

    iam.update_role(RoleName=name, Description="buys", MaxSessionDuration=3600)
    iam.update_assume_role_policy(RoleName=name, PolicyDocument=DENY_TRUST)
    iam.tag_role(RoleName=name, Tags=[{"Key": "cost", "Value": ""}])
    iam.untag_role(RoleName=name, TagKeys=["team"])
    found = iam.get_role(RoleName=name)["Role"]
    assert (found["Description"], found["MaxSessionDuration"]) == ("buys", 3600)
    assert found["AssumeRolePolicyDocument"] == json.loads(DENY_TRUST)
    assert iam.list_role_tags(RoleName=name)["Tags"] == found["Tags"] == [{"Key": "cost", "Value": ""}]
    assert iam.list_instance_profiles_for_role(RoleName=name)["InstanceProfiles"] == []
    assert name in server.squall("roles", "ls").stdout, "it is the role that `squall roles` shows"

    iam.delete_role(RoleName=name)
    refused(lambda: iam.get_role(RoleName=name), "NoSuchEntity", f"The role with name {name} cannot be found.")


def test_lists_come_in_pages(iam):
    names = sorted(made(iam, Path="/paged/") for _ in range(3))
    pages = iam.get_paginator("list_roles").paginate(PathPrefix="/paged/", PaginationConfig={"PageSize": 2})
    found = [[role["RoleName"] for role in page["Roles"]] for page in pages]
    assert found == [names[:2], names[2:]]
    refused(lambda: iam.list_roles(Marker="?"), "ValidationError", "Marker")


def test_a_role_has_policies_of_its_own(iam):
    name = made(iam)
    iam.put_role_policy(RoleName=name, PolicyName="some", PolicyDocument=policy("s3:*"))
    iam.put_role_policy(RoleName=name, PolicyName="some", PolicyDocument=policy("sqs:*"))
    assert iam.list_role_policies(RoleName=name)["PolicyNames"] == ["some"]
    found = iam.get_role_policy(RoleName=name, PolicyName="some")
    assert found["PolicyDocument"] == json.loads(policy("sqs:*"))
    refused(lambda: iam.delete_role(RoleName=name), "DeleteConflict", "must delete policies first")
    iam.delete_role_policy(RoleName=name, PolicyName="some")
    refused(lambda: iam.get_role_policy(RoleName=name, PolicyName="some"), "NoSuchEntity")
    iam.delete_role(RoleName=name)


def test_grants_of_squall_roles_are_seen_and_taken_away_through_iam(server, iam):
    name = fresh_name("role")
    server.squall("roles", "put", name, "--allow", "invoke:cart-*", "--policy", policy("sqs:*"))
    assert iam.list_role_policies(RoleName=name)["PolicyNames"] == ["squall", "squall-grants"]
    found = iam.get_role_policy(RoleName=name, PolicyName="squall-grants")["PolicyDocument"]
    assert found["Statement"][0]["Action"] == ["lambda:InvokeFunction", "lambda:InvokeFunctionUrl"]
    iam.attach_role_policy(RoleName=name, PolicyArn=BASIC)
    assert "AWSLambdaBasicExecutionRole" in server.squall("roles", "ls").stdout
    for own in ("squall", "squall-grants"):
        iam.delete_role_policy(RoleName=name, PolicyName=own)
    iam.detach_role_policy(RoleName=name, PolicyArn=BASIC)
    iam.delete_role(RoleName=name)


def test_policies_are_shared_in_versions(iam):
    role, name = made(iam), fresh_name("policy")
    arn = iam.create_policy(PolicyName=name, PolicyDocument=policy("s3:*"), Description="some")["Policy"]["Arn"]
    assert arn == f"arn:aws:iam::{HOME}:policy/{name}"
    refused(lambda: iam.create_policy(PolicyName=name, PolicyDocument=policy("s3:*")), "EntityAlreadyExists")
    iam.attach_role_policy(RoleName=role, PolicyArn=arn)
    iam.attach_role_policy(RoleName=role, PolicyArn=BASIC)
    attached = iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]
    assert {found["PolicyArn"]: found["PolicyName"] for found in attached} == {
        arn: name, BASIC: "AWSLambdaBasicExecutionRole"}
    made_version = iam.create_policy_version(PolicyArn=arn, PolicyDocument=policy("sqs:*"), SetAsDefault=True)
    assert made_version["PolicyVersion"]["VersionId"] == "v2"
    found = iam.get_policy(PolicyArn=arn)["Policy"]
    assert (found["DefaultVersionId"], found["AttachmentCount"], found["Description"]) == ("v2", 1, "some")
    document = iam.get_policy_version(PolicyArn=arn, VersionId="v2")["PolicyVersion"]["Document"]
    assert document == json.loads(policy("sqs:*"))
    versions = iam.list_policy_versions(PolicyArn=arn)["Versions"]
    assert [(one["VersionId"], one["IsDefaultVersion"]) for one in versions] == [("v2", True), ("v1", False)]
    refused(lambda: iam.delete_policy(PolicyArn=arn), "DeleteConflict", "attached")
    refused(lambda: iam.delete_policy_version(PolicyArn=arn, VersionId="v2"), "DeleteConflict")
    iam.delete_policy_version(PolicyArn=arn, VersionId="v1")
    iam.detach_role_policy(RoleName=role, PolicyArn=arn)
    refused(lambda: iam.detach_role_policy(RoleName=role, PolicyArn=arn), "NoSuchEntity")
    iam.delete_policy(PolicyArn=arn)
    refused(lambda: iam.get_policy(PolicyArn=arn), "NoSuchEntity")


def test_awss_own_policies_are_a_short_true_list(iam):
    role = made(iam)
    found = iam.get_policy(PolicyArn=BASIC)["Policy"]
    assert found["Path"] == "/service-role/"
    document = iam.get_policy_version(PolicyArn=BASIC, VersionId=found["DefaultVersionId"])["PolicyVersion"]["Document"]
    assert "logs:PutLogEvents" in document["Statement"][0]["Action"]
    unknown = "arn:aws:iam::aws:policy/AmazonDynamoDBFullAccess"
    refused(lambda: iam.attach_role_policy(RoleName=role, PolicyArn=unknown), "NoSuchEntity", unknown)
    refused(lambda: iam.delete_policy(PolicyArn=BASIC), "UnmodifiableEntity")
    aws_own = iam.list_policies(Scope="AWS")["Policies"]
    assert BASIC in [one["Arn"] for one in aws_own] and len(aws_own) > 10
    assert all(one["Arn"].startswith(f"arn:aws:iam::{HOME}:") for one in iam.list_policies(Scope="Local")["Policies"])


def test_bad_documents_and_names_are_refused(iam):
    role = made(iam)

    def put(document, name="some"):
        return lambda: iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=document)

    for document in ("nonsense", "[]", "{}", '{"Statement": [{"Effect": "Maybe"}]}', policy("get"), '{"a": 1}'):
        refused(put(document), "MalformedPolicyDocument")
    refused(put(policy("s3:*", "x" * 10_300)), "LimitExceeded", "Maximum policy size of 10240 bytes exceeded")
    refused(put(policy("s3:*", "x" * 130_000)), "MalformedPolicyDocument", "at most")
    refused(put(policy("s3:*"), "a b"), "ValidationError", "policyName")
    refused(put(policy("s3:*"), "squall-grants"), "UnmodifiableEntity")
    refused(lambda: iam.create_role(RoleName="a/b", AssumeRolePolicyDocument=TRUST), "ValidationError", "roleName")
    refused(lambda: iam.create_role(RoleName="r", AssumeRolePolicyDocument=policy("s3:*")), "MalformedPolicyDocument")
    refused(lambda: iam.create_policy(PolicyName="p", PolicyDocument=policy("s3:*", "x" * 7_000)), "LimitExceeded")
    assert iam.list_role_policies(RoleName=role)["PolicyNames"] == []


def test_what_is_not_here_is_named(iam):
    for call in (lambda: iam.create_user(UserName="ada"), lambda: iam.list_groups(),
                 lambda: iam.create_service_linked_role(AWSServiceName="x"),
                 lambda: iam.put_role_permissions_boundary(RoleName="r", PermissionsBoundary="arn:aws:iam::aws:policy/x")):
        refused(call, "NotImplemented", "not implemented by Squall")


def test_odd_requests_are_refused_in_xml(server, iam):
    def told(answer, status, code):
        assert answer.status == status and f"<Code>{code}</Code>".encode() in answer.body, answer
        assert answer.headers["content-type"] == "text/xml" and b"<RequestId>" in answer.body

    form = {"Content-Type": "application/x-www-form-urlencoded"}

    def call(body, **signing):
        return wire.send_signed(server, "/", "POST", form, body, **{"service": "iam"} | signing)

    told(call(b"Action=ListRoles", secret="wrong"), 403, "SignatureDoesNotMatch")
    told(call(b"Action=ListRoles", key="ASIAAAAAAAAAAAAAAAAA"), 403, "InvalidClientTokenId")
    told(call(b""), 400, "InvalidAction")
    told(call(b"Action=%3Cx%3E"), 400, "InvalidAction")
    told(call(b"Action=GetRole"), 400, "ValidationError")
    told(call(b"Action=GetRole&RoleName=%ff"), 400, "MalformedInput")
    told(call(b"&".join(b"m%d=" % number for number in range(1100))), 400, "MalformedInput")
    told(call(b"Action=GetRole&RoleName=" + b"x" * 600_000), 400, "ValidationError")
    told(call(b"Action=GetCallerIdentity&Version=2011-06-15", service="iam"), 400, "InvalidAction")
    name = made(iam)
    escaped = call(f"Action=GetRole&RoleName={name}%3C%26".encode())
    told(escaped, 404, "NoSuchEntity")
    assert b"&lt;&amp;" in escaped.body, "what it was asked for is told as text"


def test_roles_and_policies_outlive_kill9(server, iam):
    role = made(iam)
    arn = iam.create_policy(PolicyName=fresh_name("policy"), PolicyDocument=policy("s3:*"))["Policy"]["Arn"]
    iam.attach_role_policy(RoleName=role, PolicyArn=arn)
    before = iam.get_role(RoleName=role)["Role"]
    server.listen = server.endpoint.removeprefix("http://")
    server.kill9()
    server.start()
    assert iam.get_role(RoleName=role)["Role"] == before
    assert iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"][0]["PolicyArn"] == arn


def test_the_aws_cli_speaks_to_iam(server):
    name = fresh_name("role")
    made_role = aws(server, "iam", "create-role", "--role-name", name, "--assume-role-policy-document", TRUST)
    assert made_role["Role"]["RoleName"] == name
    aws(server, "iam", "attach-role-policy", "--role-name", name, "--policy-arn", BASIC)
    listed = aws(server, "iam", "list-attached-role-policies", "--role-name", name)
    assert listed["AttachedPolicies"][0]["PolicyArn"] == BASIC
