"""Functions from creation to deletion, through boto3. Every answer is checked against botocore's model (shapes.py)."""

import base64
import hashlib
import json
import re

import botocore.exceptions
import pytest

import wire
from functions import ECHO, PYTHON, ROLE, create, fresh_name, wait_active, zipped
from squall_server import wait_until

ANSWER = "def handler(event, context):\n    return {answer!r}\n"


def refused(call, code, status, **arguments):
    """The error of a call that must be refused with this name and status."""
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call(**arguments)
    response = caught.value.response
    assert response["Error"]["Code"] == code, response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == status, response
    return response


def answer_of(client, name, **arguments):
    reply = client.invoke(FunctionName=name, **arguments)
    assert "FunctionError" not in reply, reply["Payload"].read()
    return json.loads(reply["Payload"].read())


def test_a_created_function_is_pending_then_active_with_lambdas_defaults(client):
    name, package = fresh_name(), zipped({"app.py": ECHO})
    made = client.create_function(
        FunctionName=name, Runtime=PYTHON, Role=ROLE, Handler="app.handler", Code={"ZipFile": package}
    )
    assert made["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert (made["State"], made["StateReasonCode"]) == ("Pending", "Creating")
    assert made["StateReason"] == "The function is being created."
    assert "LastUpdateStatus" not in made
    client.get_waiter("function_active_v2").wait(FunctionName=name)
    got = client.get_function_configuration(FunctionName=name)
    assert (got["State"], got["LastUpdateStatus"]) == ("Active", "Successful")
    assert got["RevisionId"] != made["RevisionId"]
    expected = {
        "FunctionArn": f"arn:aws:lambda:us-east-1:000000000000:function:{name}",
        "FunctionName": name, "Runtime": PYTHON, "Role": ROLE, "Handler": "app.handler", "Description": "",
        "CodeSha256": base64.b64encode(hashlib.sha256(package).digest()).decode(), "CodeSize": len(package),
        "MemorySize": 128, "Timeout": 3, "EphemeralStorage": {"Size": 512}, "Architectures": ["x86_64"],
        "PackageType": "Zip", "Version": "$LATEST", "TracingConfig": {"Mode": "PassThrough"},
        "SnapStart": {"ApplyOn": "None", "OptimizationStatus": "Off"},
        "LoggingConfig": {"LogFormat": "Text", "LogGroup": f"/aws/lambda/{name}"},
    }
    assert {key: got.get(key) for key in expected} == expected
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+0000", got["LastModified"])
    assert got["RuntimeVersionConfig"]["RuntimeVersionArn"]


def test_every_waiter_of_boto3_ends(client):
    name = create(client, ECHO)
    for waiter in ("function_exists", "function_active", "function_updated", "function_active_v2", "function_updated_v2"):
        client.get_waiter(waiter).wait(FunctionName=name)
    version = client.publish_version(FunctionName=name)["Version"]
    client.get_waiter("published_version_active").wait(FunctionName=name, Qualifier=version)


def test_get_function_gives_the_package_through_a_presigned_url(client):
    package = zipped({"app.py": ECHO})
    name = create(client, package, Tags={"team": "a"})
    got = client.get_function(FunctionName=name)
    assert got["Code"]["RepositoryType"] == "S3" and got["Tags"] == {"team": "a"}
    downloaded = wire.send(got["Code"]["Location"])
    assert (downloaded.status, downloaded.body) == (200, package)
    tampered = re.sub(r"(Signature=)(.)", lambda m: m[1] + ("0" if m[2] != "0" else "1"), got["Code"]["Location"])
    assert wire.send(tampered).status == 403
    assert wire.send(got["Code"]["Location"].partition("?")[0]).status == 403


def test_a_function_answers_to_its_name_its_partial_arn_and_its_arn(client):
    name = create(client, ECHO)
    arn = f"arn:aws:lambda:us-east-1:000000000000:function:{name}"
    for reference in (name, f"000000000000:function:{name}", arn, f"{arn}:$LATEST", f"{name}:$LATEST"):
        assert client.get_function_configuration(FunctionName=reference)["FunctionName"] == name
        assert answer_of(client, reference, Payload=b"7") == 7
    refused(
        client.get_function, "InvalidParameterValueException", 400, FunctionName=f"{name}:$LATEST", Qualifier="1"
    )


def test_listing_pages_through_every_function_once(client):
    made = {create(client, ECHO, name=fresh_name("page")) for _ in range(7)}
    pages = list(client.get_paginator("list_functions").paginate(PaginationConfig={"PageSize": 3}))
    names = [function["FunctionName"] for page in pages for function in page["Functions"]]
    assert made <= set(names) and len(names) == len(set(names))
    assert all(len(page["Functions"]) <= 3 for page in pages) and len(pages) >= 3
    published = client.publish_version(FunctionName=min(made))["Version"]
    everything = client.get_paginator("list_functions").paginate(FunctionVersion="ALL")
    seen = {(f["FunctionName"], f["Version"]) for page in everything for f in page["Functions"]}
    assert {(min(made), "$LATEST"), (min(made), published)} <= seen


def test_updated_code_answers_and_the_update_is_announced(client):
    name = create(client, ANSWER.format(answer="old"))
    assert answer_of(client, name) == "old"
    before = client.get_function_configuration(FunctionName=name)
    updated = client.update_function_code(FunctionName=name, ZipFile=zipped({"app.py": ANSWER.format(answer="new")}))
    assert (updated["State"], updated["LastUpdateStatus"]) == ("Active", "InProgress")
    assert updated["LastUpdateStatusReasonCode"] == "Creating"
    client.get_waiter("function_updated_v2").wait(FunctionName=name)
    after = client.get_function_configuration(FunctionName=name)
    assert after["LastUpdateStatus"] == "Successful" and after["CodeSha256"] != before["CodeSha256"]
    assert answer_of(client, name) == "new"


def test_updated_configuration_is_what_the_next_event_sees(client):
    source = "import os\ndef handler(e, c):\n    return [os.environ.get('COLOUR'), c.memory_limit_in_mb]\n"
    name = create(client, source, Environment={"Variables": {"COLOUR": "red"}})
    assert answer_of(client, name) == ["red", "128"]
    client.update_function_configuration(
        FunctionName=name, Environment={"Variables": {"COLOUR": "blue"}}, MemorySize=256, Timeout=9, Description="d"
    )
    got = wait_active(client, name)
    assert (got["MemorySize"], got["Timeout"], got["Description"]) == (256, 9, "d")
    assert got["Environment"] == {"Variables": {"COLOUR": "blue"}}
    assert answer_of(client, name) == ["blue", "256"]


def test_a_wrong_revision_id_changes_nothing(client):
    name = create(client, ECHO)
    wrong = "00000000-0000-4000-8000-000000000000"
    for call, arguments in (
        (client.update_function_configuration, {"Timeout": 5}),
        (client.update_function_code, {"ZipFile": zipped({"app.py": ECHO})}),
    ):
        refused(call, "PreconditionFailedException", 412, FunctionName=name, RevisionId=wrong, **arguments)
    current = client.get_function_configuration(FunctionName=name)["RevisionId"]
    client.update_function_configuration(FunctionName=name, RevisionId=current, Timeout=5)
    assert wait_active(client, name)["Timeout"] == 5


def test_versions_are_counted_kept_and_immutable(client):
    name = create(client, ANSWER.format(answer=1))
    first = client.publish_version(FunctionName=name, Description="one")
    assert (first["Version"], first["Description"]) == ("1", "one")
    assert first["FunctionArn"].endswith(f":{name}:1")
    again = client.publish_version(FunctionName=name, Description="one")
    assert again["Version"] == "1", "nothing changed, so it is the same version"
    client.update_function_code(FunctionName=name, ZipFile=zipped({"app.py": ANSWER.format(answer=2)}))
    wait_active(client, name)
    refused(
        client.publish_version, "InvalidParameterValueException", 400, FunctionName=name, CodeSha256="A" * 43 + "="
    )
    assert client.publish_version(FunctionName=name)["Version"] == "2"
    assert [answer_of(client, name, Qualifier=q) for q in ("1", "2", "$LATEST")] == [1, 2, 2]
    assert client.invoke(FunctionName=name, Qualifier="1")["ExecutedVersion"] == "1"
    pages = client.get_paginator("list_versions_by_function").paginate(FunctionName=name)
    assert [v["Version"] for page in pages for v in page["Versions"]] == ["$LATEST", "1", "2"]
    refused(client.delete_function, "InvalidParameterValueException", 400, FunctionName=name, Qualifier="$LATEST")
    client.delete_function(FunctionName=name, Qualifier="1")
    refused(client.get_function, "ResourceNotFoundException", 404, FunctionName=name, Qualifier="1")
    client.update_function_code(FunctionName=name, ZipFile=zipped({"app.py": ANSWER.format(answer=3)}))
    wait_active(client, name)
    assert client.publish_version(FunctionName=name)["Version"] == "3", "numbers are never used again"


def test_an_alias_leads_to_its_version_and_can_be_moved(client):
    name = create(client, ANSWER.format(answer="a"), Publish=True)
    client.update_function_code(
        FunctionName=name, ZipFile=zipped({"app.py": ANSWER.format(answer="b")}), Publish=True
    )
    wait_active(client, name)
    made = client.create_alias(FunctionName=name, Name="live", FunctionVersion="1", Description="d")
    assert made["AliasArn"].endswith(f":{name}:live") and made["FunctionVersion"] == "1"
    assert answer_of(client, name, Qualifier="live") == answer_of(client, f"{name}:live") == "a"
    refused(
        client.create_alias, "ResourceConflictException", 409, FunctionName=name, Name="live", FunctionVersion="1"
    )
    moved = client.update_alias(FunctionName=name, Name="live", FunctionVersion="2")
    assert moved["FunctionVersion"] == "2" and moved["RevisionId"] != made["RevisionId"]
    assert answer_of(client, name, Qualifier="live") == "b"
    assert client.get_alias(FunctionName=name, Name="live")["Description"] == "d"
    client.update_alias(FunctionName=name, Name="live", RoutingConfig={"AdditionalVersionWeights": {"1": 1.0}})
    assert answer_of(client, name, Qualifier="live") == "a", "all of the weight is on version 1"
    assert [a["Name"] for a in client.list_aliases(FunctionName=name)["Aliases"]] == ["live"]
    client.delete_alias(FunctionName=name, Name="live")
    refused(client.get_alias, "ResourceNotFoundException", 404, FunctionName=name, Name="live")
    refused(client.invoke, "ResourceNotFoundException", 404, FunctionName=name, Qualifier="live")


def test_tags_are_added_listed_and_removed(client):
    name = create(client, ECHO, Tags={"a": "1"})
    arn = client.get_function_configuration(FunctionName=name)["FunctionArn"]
    client.tag_resource(Resource=arn, Tags={"b": "2", "c/d": "x y"})
    assert client.list_tags(Resource=arn)["Tags"] == {"a": "1", "b": "2", "c/d": "x y"}
    client.untag_resource(Resource=arn, TagKeys=["a", "c/d"])
    assert client.list_tags(Resource=arn)["Tags"] == {"b": "2"}
    refused(client.list_tags, "ResourceNotFoundException", 404, Resource=arn + "-gone")


def test_reserved_concurrency_is_kept_and_removed(client):
    name = create(client, ECHO)
    assert client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=5) \
        ["ReservedConcurrentExecutions"] == 5
    assert client.get_function_concurrency(FunctionName=name)["ReservedConcurrentExecutions"] == 5
    assert client.get_function(FunctionName=name)["Concurrency"] == {"ReservedConcurrentExecutions": 5}
    limits = client.get_account_settings()["AccountLimit"]
    assert limits["UnreservedConcurrentExecutions"] == limits["ConcurrentExecutions"] - 5
    refused(
        client.put_function_concurrency, "InvalidParameterValueException", 400,
        FunctionName=name, ReservedConcurrentExecutions=limits["ConcurrentExecutions"],
    )
    client.delete_function_concurrency(FunctionName=name)
    assert "ReservedConcurrentExecutions" not in client.get_function_concurrency(FunctionName=name)


def test_url_configs_are_made_changed_listed_and_removed(client):
    name = create(client, ECHO)
    cors = {"AllowOrigins": ["https://a.example"], "AllowMethods": ["GET"], "MaxAge": 60}
    made = client.create_function_url_config(FunctionName=name, AuthType="NONE", Cors=cors)
    assert made["AuthType"] == "NONE" and made["Cors"] == cors and made["FunctionUrl"].endswith("/")
    refused(
        client.create_function_url_config, "ResourceConflictException", 409, FunctionName=name, AuthType="NONE"
    )
    changed = client.update_function_url_config(FunctionName=name, AuthType="AWS_IAM")
    assert (changed["AuthType"], changed["FunctionUrl"]) == ("AWS_IAM", made["FunctionUrl"])
    assert client.get_function_url_config(FunctionName=name)["AuthType"] == "AWS_IAM"
    listed = client.list_function_url_configs(FunctionName=name)["FunctionUrlConfigs"]
    assert [config["FunctionUrl"] for config in listed] == [made["FunctionUrl"]]
    client.delete_function_url_config(FunctionName=name)
    refused(client.get_function_url_config, "ResourceNotFoundException", 404, FunctionName=name)


def test_account_settings_count_functions_and_bytes(client):
    before = client.get_account_settings()
    package = zipped({"app.py": ECHO + "# " + fresh_name()})
    create(client, package)
    usage = client.get_account_settings()["AccountUsage"]
    assert usage["FunctionCount"] == before["AccountUsage"]["FunctionCount"] + 1
    assert usage["TotalCodeSize"] == before["AccountUsage"]["TotalCodeSize"] + len(package)
    assert before["AccountLimit"]["ConcurrentExecutions"] >= 100


def test_what_tools_read_on_every_plan_answers(client):
    name = create(client, ECHO)
    arn = client.get_function_configuration(FunctionName=name)["FunctionArn"]
    assert client.get_function_code_signing_config(FunctionName=name)["FunctionName"] == name
    assert client.get_runtime_management_config(FunctionName=name)["UpdateRuntimeOn"] == "Auto"
    put = client.put_runtime_management_config(FunctionName=name, UpdateRuntimeOn="Auto")
    assert (put["UpdateRuntimeOn"], put["FunctionArn"].startswith(arn)) == ("Auto", True)
    # The host's interpreter is what there is: nothing can be pinned.
    refused(client.put_runtime_management_config, "InvalidParameterValueException", 400, FunctionName=name,
            UpdateRuntimeOn="FunctionUpdate")
    assert client.get_function_recursion_config(FunctionName=name)["RecursiveLoop"] in ("Allow", "Terminate")
    assert client.put_function_recursion_config(FunctionName=name, RecursiveLoop="Allow")["RecursiveLoop"] == "Allow"


def test_a_deleted_function_is_gone_and_its_name_is_free(client):
    name = create(client, ANSWER.format(answer=1), Publish=True)
    client.create_function_url_config(FunctionName=name, AuthType="NONE")
    assert answer_of(client, name) == 1
    assert client.delete_function(FunctionName=name)["ResponseMetadata"]["HTTPStatusCode"] == 204
    for call in (client.get_function, client.get_function_configuration, client.delete_function, client.invoke):
        refused(call, "ResourceNotFoundException", 404, FunctionName=name)
    assert name not in str(client.list_functions())
    create(client, ANSWER.format(answer=2), name=name)
    assert answer_of(client, name) == 2


def test_a_name_is_given_once(client):
    name = create(client, ECHO)
    refused(
        client.create_function, "ResourceConflictException", 409, FunctionName=name, Runtime=PYTHON, Role=ROLE,
        Handler="app.handler", Code={"ZipFile": zipped({"app.py": ECHO})},
    )


@pytest.mark.parametrize("operation, arguments", [
    ("get_function", {}), ("get_function_configuration", {}), ("delete_function", {}), ("invoke", {}),
    ("publish_version", {}), ("list_versions_by_function", {}), ("list_aliases", {}),
    ("update_function_configuration", {"Timeout": 3}), ("update_function_code", {"ZipFile": zipped({"a.py": ""})}),
    ("put_function_concurrency", {"ReservedConcurrentExecutions": 1}), ("get_function_concurrency", {}),
    ("create_function_url_config", {"AuthType": "NONE"}), ("get_function_url_config", {}),
    ("get_alias", {"Name": "live"}), ("get_function_code_signing_config", {}),
    ("get_runtime_management_config", {}), ("get_function_recursion_config", {}),
])
def test_an_unknown_function_is_not_found(client, operation, arguments):
    error = refused(
        getattr(client, operation), "ResourceNotFoundException", 404, FunctionName="nobody", **arguments
    )
    if operation in ("get_function", "invoke"):
        arn = "arn:aws:lambda:us-east-1:000000000000:function:nobody"
        assert arn in error["Error"]["Message"], error


def test_everything_outlives_a_restart(server):
    client = server.client()
    name = create(client, ANSWER.format(answer="kept"), Publish=True, Tags={"k": "v"}, Timeout=7)
    client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    url = client.create_function_url_config(FunctionName=name, AuthType="NONE")["FunctionUrl"]
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=2)
    before = client.get_function(FunctionName=name)
    server.restart()
    client = server.client()
    after = wait_until("it is Active again", lambda: client.get_function(FunctionName=name))
    for key in ("Configuration", "Tags", "Concurrency"):
        assert after[key] == before[key]
    assert client.get_function_url_config(FunctionName=name)["FunctionUrl"].split(":")[1] == url.split(":")[1]
    assert answer_of(client, name, Qualifier="live") == "kept"
