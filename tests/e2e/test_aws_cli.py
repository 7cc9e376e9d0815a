"""The unmodified `aws` command, with nothing but the environment of `squall env`."""

import base64
import json
import pathlib
import sys

import pytest

from functions import ECHO, PYTHON, ROLE, fresh_name, zipped
from squall_server import wait_until

AWS = pathlib.Path(sys.executable).with_name("aws")


@pytest.fixture(scope="module")
def aws(server, workdir):
    """Runs `aws lambda …` and returns what it printed, as JSON where there is any."""

    def run(*args, check=True):
        result = server.run(sys.executable, AWS, "lambda", *args, check=check, cwd=workdir)
        if not check:
            return result
        return json.loads(result.stdout) if result.stdout.strip() else None

    return run


def package(workdir, source):
    path = workdir / f"{fresh_name('package')}.zip"
    path.write_bytes(zipped({"app.py": source}))
    return f"fileb://{path}"


def test_the_whole_life_of_a_function(aws, server, workdir):
    name, answer, effect = fresh_name("cli"), workdir / "answer.json", workdir / "effect"
    made = aws("create-function", "--function-name", name, "--runtime", PYTHON, "--handler", "app.handler",
               "--role", ROLE, "--zip-file", package(workdir, ECHO), "--environment", "Variables={ONE=1}")
    assert made["State"] == "Pending"
    aws("wait", "function-active-v2", "--function-name", name)
    assert aws("get-function", "--function-name", name)["Configuration"]["State"] == "Active"

    called = aws("invoke", "--function-name", name, "--payload", '{"k": [1]}', "--log-type", "Tail",
                 "--cli-binary-format", "raw-in-base64-out", answer) if is_v2(server) else \
        aws("invoke", "--function-name", name, "--payload", '{"k": [1]}', "--log-type", "Tail", answer)
    assert (called["StatusCode"], called["ExecutedVersion"]) == (200, "$LATEST")
    assert "REPORT RequestId" in base64.b64decode(called["LogResult"]).decode()
    assert json.loads(answer.read_text()) == {"k": [1]}

    code = f"def handler(e, c):\n    open({str(effect)!r}, 'w')\n    return 'two'\n"
    aws("update-function-code", "--function-name", name, "--zip-file", package(workdir, code))
    aws("wait", "function-updated-v2", "--function-name", name)
    assert aws("invoke", "--function-name", name, "--invocation-type", "DryRun", answer)["StatusCode"] == 204
    assert not effect.exists()
    assert aws("invoke", "--function-name", name, "--invocation-type", "Event", answer)["StatusCode"] == 202
    wait_until("the event has run", effect.exists)

    assert aws("publish-version", "--function-name", name)["Version"] == "1"
    assert [v["Version"] for v in aws("list-versions-by-function", "--function-name", name)["Versions"]] == ["$LATEST", "1"]
    assert name in [f["FunctionName"] for f in aws("list-functions")["Functions"]]
    aws("update-function-configuration", "--function-name", name, "--timeout", "9")
    aws("wait", "function-updated", "--function-name", name)
    assert aws("get-function-configuration", "--function-name", name)["Timeout"] == 9

    aws("delete-function", "--function-name", name)
    gone = aws("get-function", "--function-name", name, check=False)
    assert gone.returncode != 0 and "ResourceNotFoundException" in gone.stderr


def is_v2(server):
    """Version 2 reads blobs as base64 unless it is told otherwise; version 1 has no such option."""
    return server.run(sys.executable, AWS, "--version").stdout.startswith("aws-cli/2")


def test_a_function_error_is_shown(aws, workdir):
    name, answer = fresh_name("cli"), workdir / "error.json"
    aws("create-function", "--function-name", name, "--runtime", PYTHON, "--handler", "app.handler", "--role", ROLE,
        "--zip-file", package(workdir, "def handler(e, c):\n    raise ValueError('no')\n"))
    aws("wait", "function-active", "--function-name", name)
    assert aws("invoke", "--function-name", name, answer)["FunctionError"] == "Unhandled"
    assert json.loads(answer.read_text())["errorType"] == "ValueError"


def test_an_error_is_named(aws, workdir):
    broken = workdir / "broken.zip"
    broken.write_bytes(zipped({"app.py": ECHO, "../out": ""}))  # What is no zip at all, the command refuses itself.
    result = aws("create-function", "--function-name", fresh_name(), "--runtime", PYTHON, "--handler", "a.b",
                 "--role", ROLE, "--zip-file", f"fileb://{broken}", check=False)
    assert result.returncode != 0
    assert "InvalidParameterValueException" in result.stderr or "InvalidZipFileException" in result.stderr, result.stderr


def test_tags_concurrency_and_urls(aws, workdir):
    name = fresh_name("cli")
    made = aws("create-function", "--function-name", name, "--runtime", PYTHON, "--handler", "app.handler",
               "--role", ROLE, "--zip-file", package(workdir, ECHO), "--tags", "a=1")
    aws("wait", "function-active", "--function-name", name)
    aws("tag-resource", "--resource", made["FunctionArn"], "--tags", "b=2")
    assert aws("list-tags", "--resource", made["FunctionArn"])["Tags"] == {"a": "1", "b": "2"}
    aws("put-function-concurrency", "--function-name", name, "--reserved-concurrent-executions", "3")
    assert aws("get-function-concurrency", "--function-name", name)["ReservedConcurrentExecutions"] == 3
    assert aws("create-function-url-config", "--function-name", name, "--auth-type", "NONE")["AuthType"] == "NONE"
    assert len(aws("list-function-url-configs", "--function-name", name)["FunctionUrlConfigs"]) == 1
