"""Unmodified runtime clients through the Runtime API, and the examples of the repository."""

import base64
import io
import json
import os
import shutil
import subprocess
import sys

import pytest
from PIL import Image

from functions import EXAMPLES, create, fresh_name, node_runtime, wait_active, zipped, zipped_folder

HANDLER = """
import json, os
def handler(event, context):
    if event == "raise":
        raise ValueError("told")
    if event == "exit":
        os._exit(9)
    print("in handler")
    return {"event": event, "id": context.aws_request_id, "arn": context.invoked_function_arn,
            "left": context.get_remaining_time_in_millis() > 0, "api": bool(os.environ.get("AWS_LAMBDA_RUNTIME_API"))}
"""
NODE_HANDLER = """
exports.handler = async (event, context) => {
  if (event === 'raise') throw new TypeError('told');
  if (event === 'exit') process.exit(9);
  console.log('in handler');
  return { event, id: context.awsRequestId, arn: context.invokedFunctionArn,
           left: context.getRemainingTimeInMillis() > 0, api: Boolean(process.env.AWS_LAMBDA_RUNTIME_API) };
};
"""


def check_contract(client, name, error_type):
    """What every runtime client must get from us: the event, its headers, its logs; and we from it: its errors."""
    for event in ({"n": 1}, "text", 7, [1, 2], "x" * 300_000, "ü"):
        reply = client.invoke(FunctionName=name, Payload=json.dumps(event), LogType="Tail")
        body = json.loads(reply["Payload"].read())
        assert "FunctionError" not in reply, body
        assert body["event"] == event and body["left"] and body["api"]
        assert body["id"] == reply["ResponseMetadata"]["RequestId"] and body["arn"].endswith(f":{name}")
        tail = base64.b64decode(reply["LogResult"]).decode()
        assert "in handler" in tail and f"END RequestId: {body['id']}" in tail
    reply = client.invoke(FunctionName=name, Payload=b'"raise"')
    body = json.loads(reply["Payload"].read())
    assert (reply["FunctionError"], body["errorType"], body["errorMessage"]) == ("Unhandled", error_type, "told")
    reply = client.invoke(FunctionName=name, Payload=b'"exit"')
    body = json.loads(reply["Payload"].read())
    assert body["errorType"] == "Runtime.ExitError" and "exit status 9" in body["errorMessage"], body
    assert json.loads(client.invoke(FunctionName=name, Payload=b"1")["Payload"].read())["event"] == 1


@pytest.fixture(scope="module")
def built(cache, workdir):
    """Copies an example, runs its build.sh with this Python, and returns the folder to deploy."""

    def build(example):
        folder = workdir / fresh_name(example)
        shutil.copytree(EXAMPLES / example, folder, ignore=shutil.ignore_patterns("build"))
        env = os.environ | {"PYTHON": sys.executable, "CACHE": str(cache / "examples")}
        subprocess.run([folder / "build.sh"], check=True, env=env, timeout=1200)
        return folder / "build"

    return build


def test_awslambdaric_runs_unmodified(client, built):
    folder = built("awslambdaric-python")
    package = zipped_folder(folder, {"app.py": HANDLER})
    name = create(client, package, runtime="provided.al2023", Timeout=20)
    check_contract(client, name, "ValueError")
    example = create(client, zipped_folder(folder), runtime="provided.al2023", handler="handler.handler", Timeout=20)
    check_greeting(client, example)
    broken = create(client, zipped_folder(folder, {"app.py": "raise RuntimeError('early')\n"}),
                    runtime="provided.al2023", Timeout=20)
    reply = client.invoke(FunctionName=broken)
    body = json.loads(reply["Payload"].read())
    assert reply["FunctionError"] == "Unhandled" and body["errorType"] == "RuntimeError", body


@pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in ("npm", "cmake", "autoconf", "automake", "libtoolize", "make", "g++")),
    reason="building aws-lambda-ric needs npm, cmake, autoconf, automake, libtool, make and g++")
@pytest.mark.timeout(1500)
def test_aws_lambda_ric_runs_unmodified(client, built):
    folder = built("aws-lambda-ric-node")
    package = zipped_folder(folder, {"app.cjs": NODE_HANDLER})
    name = create(client, package, runtime="provided.al2023", handler="app.handler", Timeout=20, MemorySize=512)
    check_contract(client, name, "TypeError")
    example = create(client, zipped_folder(folder), runtime="provided.al2023", handler="index.handler", Timeout=20,
                     MemorySize=512)
    check_greeting(client, example)


@pytest.fixture(scope="module")
def rust_bootstrap(cache):
    """The example's `bootstrap`, built with the published lambda_runtime."""
    target = cache / "rust-bootstrap"
    subprocess.run(["cargo", "build", "--release", "--quiet", "--locked", "--target-dir", target],
                   cwd=EXAMPLES / "rust-bootstrap", check=True, timeout=1200)
    return target / "release" / "bootstrap"


@pytest.mark.timeout(1500)
def test_a_rust_bootstrap_runs(server, client, rust_bootstrap):
    name = create(client, zipped({"bootstrap!": rust_bootstrap.read_bytes()}), runtime="provided.al2023", Timeout=10)
    check_greeting(client, name)
    by_cli = fresh_name("rust")
    server.squall("deploy", rust_bootstrap, "--name", by_cli)
    check_greeting(client, by_cli)


def check_greeting(client, name):
    reply = client.invoke(FunctionName=name, Payload=b'{"name":"Ada"}')
    body = reply["Payload"].read().decode()
    assert "FunctionError" not in reply and "Ada" in body, body


SHELL = """#!/bin/sh
api="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime"
while true; do
  event=$(curl -sS -D "$TMPDIR/head" "$api/invocation/next")
  id=$(grep -i '^lambda-runtime-aws-request-id:' "$TMPDIR/head" | tr -d '\\r' | cut -d' ' -f2)
  curl -sS -d "[$event]" "$api/invocation/$id/response" > /dev/null
done
"""


@pytest.mark.skipif(shutil.which("curl") is None, reason="the shell bootstrap needs curl")
def test_a_shell_bootstrap_runs(client):
    script = SHELL.replace("#!/bin/sh\n", '#!/bin/sh\nTMPDIR=$(mktemp -d); trap \'rm -rf "$TMPDIR"\' EXIT\n')
    name = create(client, zipped({"bootstrap!": script}), runtime="provided.al2", Timeout=10)
    for n in (1, 2):
        reply = client.invoke(FunctionName=name, Payload=str(n).encode())
        assert json.loads(reply["Payload"].read()) == [n], reply


def test_a_package_without_a_bootstrap_is_told(client):
    name = create(client, zipped({"other": "x"}), runtime="provided.al2023")
    reply = client.invoke(FunctionName=name)
    body = json.loads(reply["Payload"].read())
    assert body["errorType"] == "Runtime.InvalidEntrypoint", body


def test_a_bootstrap_that_ends_is_told(client):
    name = create(client, zipped({"bootstrap!": "#!/bin/sh\nexit 127\n"}), runtime="provided.al2023")
    reply = client.invoke(FunctionName=name)
    body = json.loads(reply["Payload"].read())
    assert body["errorType"] == "Runtime.ExitError" and "exit status 127" in body["errorMessage"], body


def deployed(server, client, path, *args):
    name = fresh_name("example")
    server.squall("deploy", path, "--name", name, *args)
    wait_active(client, name)
    return name


def test_the_hello_example_in_python_runs(server, client):
    check_greeting(client, deployed(server, client, EXAMPLES / "hello-python"))


def test_the_node_example_runs(server, client):
    name = deployed(server, client, EXAMPLES / "hello-node")
    assert client.get_function_configuration(FunctionName=name)["Runtime"] == node_runtime()
    check_greeting(client, name)


def test_the_thumbnail_example_makes_a_thumbnail(server, client, built):
    name = deployed(server, client, built("thumbnail-python"), "--timeout", "20", "--memory", "512")
    picture = io.BytesIO()
    Image.new("RGB", (640, 480), (200, 30, 30)).save(picture, "PNG")
    event = {"image": base64.b64encode(picture.getvalue()).decode(), "size": 64}
    reply = client.invoke(FunctionName=name, Payload=json.dumps(event))
    body = json.loads(reply["Payload"].read())
    assert "FunctionError" not in reply, body
    assert (body["width"], body["height"]) == (64, 48)
    thumbnail = Image.open(io.BytesIO(base64.b64decode(body["image"])))
    assert thumbnail.size == (64, 48) and thumbnail.getpixel((5, 5)) == (200, 30, 30)


def test_no_example_is_forgotten():
    """A new example needs a test here."""
    tested = {"hello-python", "hello-node", "thumbnail-python", "rust-bootstrap", "awslambdaric-python",
              "aws-lambda-ric-node",
              # In test_wasm, test_wasm_guests, test_streams, test_wasm_state and test_wasm_outgoing.
              "hello-wasm-c", "hello-wasm-http-c", "hello-wasm-rust", "hello-wasm-js", "hello-wasm-python",
              "stream-wasm-http-c", "state-wasm-http-c", "fetch-wasm-js",
              # In test_dag_examples.
              "pipeline", "gossip", "retwis",
              # In test_queue_cli and test_event_examples.
              "queue-python", "schedule-python", "state-change-python", "cloudevent-python",
              # In test_logs_api.
              "log-search-python",
              # In test_objects_examples.
              "thumbnails", "two-buckets"}
    there = {path.name for path in EXAMPLES.iterdir() if path.is_dir()}
    assert there <= tested
