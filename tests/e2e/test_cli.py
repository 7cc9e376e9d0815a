"""The squall command line, as README and --help show it: output, exit codes, live logs."""

import json
import os
import re
import selectors
import subprocess
import time
import urllib.parse

import pytest

import wire
from functions import ECHO, EXAMPLES, PYTHON, create, fresh_name, node_runtime, zipped
from squall_server import Server, binary, wait_until

ADA = '{"name": "Ada"}'
GREETING = "Hello, Ada!"


@pytest.fixture(scope="module")
def hello(server):
    """The name of the deployed example."""
    server.squall("deploy", EXAMPLES / "hello-python", "--url")
    return "hello-python"


def folder_of(workdir, files):
    """A folder with these files."""
    folder = workdir / fresh_name("code")
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content)
    return folder


def test_deploy_prints_what_came_of_it(server, client):
    name = fresh_name()
    out = server.squall("deploy", EXAMPLES / "hello-python", "--name", name, "--url", "--memory", "256",
                        "--timeout", "7", "--env", "ONE=1", "--env", "TWO=x=y")
    assert name in out.stdout
    configuration = client.get_function_configuration(FunctionName=name)
    assert (configuration["State"], configuration["MemorySize"], configuration["Timeout"]) == ("Active", 256, 7)
    assert configuration["Environment"]["Variables"] == {"ONE": "1", "TWO": "x=y"}
    assert configuration["Runtime"].startswith("python3.")
    url = re.search(r"http://\S+", out.stdout + out.stderr)[0]
    answer = wire.send(url, "POST", {"Content-Type": "application/json"}, ADA.encode()) if "/lambda-url/" in url else \
        wire.send(server.endpoint + "/", "POST", {"Content-Type": "application/json"}, ADA.encode(),
                  host=urllib.parse.urlsplit(url).netloc)
    assert answer.status == 200, answer


@pytest.mark.parametrize("kind", ["application/json", "application/x-www-form-urlencoded"])
def test_the_readmes_curl_is_greeted(server, hello, kind):
    """`curl -d` calls its body a form, which reaches a function in base64."""
    answer = wire.send(f"{server.endpoint}/lambda-url/{hello}", "POST", {"Content-Type": kind}, ADA.encode())
    assert (answer.status, b"Hello, Ada!" in answer.body) == (200, True), answer


def test_deploying_again_updates(server, workdir):
    name = fresh_name()
    for word in ("one", "two"):
        folder = folder_of(workdir, {"app.py": f"def handler(event, context):\n    return {word!r}\n"})
        server.squall("deploy", folder, "--name", name)
        assert json.loads(server.squall("invoke", name).stdout) == word


@pytest.mark.parametrize("kind", ["folder", "zip", "file", "node"])
def test_deploy_infers_runtime_and_handler(server, client, workdir, kind):
    name = fresh_name()
    path = folder_of(workdir, {"app.py": ECHO})
    if kind == "zip":
        path = path / "packed.zip"
        path.write_bytes(zipped({"app.py": ECHO}))
    elif kind == "file":
        path = path / "app.py"
    elif kind == "node":
        path = folder_of(workdir, {"index.js": "exports.handler = async (event) => event;\n"})
    server.squall("deploy", path, "--name", name)
    assert json.loads(server.squall("invoke", name, "--data", ADA).stdout) == json.loads(ADA)
    runtime = client.get_function_configuration(FunctionName=name)["Runtime"]
    assert runtime == (node_runtime() if kind == "node" else runtime) and runtime[:6] in ("python", "nodejs")


def test_invoke_prints_the_answer_alone_on_stdout(server, hello, workdir):
    assert json.loads(server.squall("invoke", hello, "--data", ADA).stdout)["greeting"] == GREETING
    event = workdir / "event.json"
    event.write_text(ADA)
    assert json.loads(server.squall("invoke", hello, "--data", f"@{event}").stdout)["greeting"] == GREETING
    assert json.loads(server.squall("invoke", hello, "--data", "-", input=ADA).stdout)["greeting"] == GREETING


def test_invoke_shows_logs_and_accepts_async(server, hello):
    shown = server.squall("invoke", hello, "--data", ADA, "--logs")
    assert json.loads(shown.stdout)["greeting"] == GREETING and "START RequestId" in shown.stderr
    accepted = server.squall("invoke", hello, "--data", ADA, "--async")
    request_id = re.search(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", accepted.stdout)[0]
    ended = f"END RequestId: {request_id}"
    wait_until("the event has run", lambda: ended in server.squall("logs", hello, "--request-id", request_id).stdout)


def test_a_failing_function_fails_the_command(server, client):
    name = create(client, "def handler(e, c):\n    raise ValueError('why')\n")
    result = server.squall("invoke", name, check=False)
    assert result.returncode == 1 and "ValueError" in result.stderr and "why" in result.stderr


def test_logs_show_what_was_written_by_request(server, client):
    name = create(client, "def handler(e, c):\n    print('said', e)\n")
    ids = [client.invoke(FunctionName=name, Payload=json.dumps(n))["ResponseMetadata"]["RequestId"] for n in range(3)]
    shown = server.squall("logs", name).stdout
    positions = [shown.index(f"said {n}") for n in range(3)]
    assert positions == sorted(positions)
    for word in ("INIT_START", "START RequestId", "END RequestId", "REPORT RequestId"):
        assert word in shown
    one = server.squall("logs", name, "--request-id", ids[1]).stdout
    assert "said 1" in one and "said 0" not in one and "said 2" not in one


def test_following_shows_new_lines_as_they_come(server, client):
    """Nobody can see when following has begun, so calls are made until one is shown; the last must be, too."""
    name = create(client, "def handler(e, c):\n    print('live', e)\n")
    process = subprocess.Popen([binary(), "logs", name, "-f"], env=os.environ | server.env, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    seen, calls, deadline = "", 0, time.monotonic() + 20
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while not calls or f"live {calls}\n" not in seen:
                assert time.monotonic() < deadline and process.poll() is None, f"after {calls} calls:\n{seen}"
                if "live" not in seen:
                    calls += 1
                    client.invoke(FunctionName=name, Payload=str(calls).encode())
                if selector.select(0.3):
                    seen += os.read(process.stdout.fileno(), 65536).decode()
        assert process.poll() is None, "following does not end by itself"
    finally:
        process.kill()
        process.communicate()


def test_ls_prints_a_table_and_json(server, hello):
    assert hello in server.squall("ls").stdout
    listed = json.loads(server.squall("ls", "--output", "json").stdout)
    one = next(function for function in listed if function["FunctionName"] == hello)
    assert one["Runtime"].startswith("python3.")


def test_rm_removes_and_fails_for_the_unknown(server, client):
    name = create(client, ECHO)
    server.squall("rm", name)
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_function(FunctionName=name)
    assert server.squall("rm", name, check=False).returncode == 1


@pytest.mark.parametrize("args, code", [
    (["invoke", "nobody"], 1), (["logs", "nobody"], 1), (["deploy", "/no/such/path"], 1), (["deploy"], 2),
    (["invoke"], 2), (["ls", "--output", "yaml"], 2), (["frobnicate"], 2), (["invoke", "x", "--data", "{"], 1),
    (["deploy", ".", "--memory", "much"], 2), (["up", "--idle-timeout", "soon"], 2),
])
def test_exit_codes_tell_failure_from_usage(server, args, code):
    result = server.squall(*args, check=False)
    assert result.returncode == code and result.stderr.strip() and "panicked" not in result.stderr, result


@pytest.mark.parametrize("command", ["up", "env", "deploy", "invoke", "logs", "ls", "rm"])
def test_every_command_has_help_with_an_example(server, command):
    help_text = server.squall(command, "--help").stdout
    assert "Example" in help_text and f"squall {command}" in help_text


def test_without_a_server_the_command_says_so(workdir):
    nobody = Server(workdir / "nobody")
    nobody.env = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b",
                  "AWS_REGION": "us-east-1"}
    result = nobody.squall("ls", check=False)
    assert result.returncode == 1 and "127.0.0.1:9" in result.stderr, result
    result = nobody.squall("env", "--data-dir", workdir / "nothing-here", check=False)
    assert result.returncode == 1 and "nothing-here" in result.stderr, result


def test_the_readmes_boto3_lines_run_as_they_are(server, hello):
    readme = (EXAMPLES.parent / "README.md").read_text()
    block = next(block for block in re.findall(r"```python\n(.*?)```", readme, re.S) if "import boto3" in block)
    import sys
    assert "Hello, Ada!" in server.run(sys.executable, "-c", block).stdout


def test_up_prints_where_it_listens_and_what_to_type(server):
    text = server.text(200)
    assert server.endpoint in text and "squall env" in text
