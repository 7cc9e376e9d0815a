"""Invoke: every kind of call, every kind of failure, the exact bodies of spec and service."""

import base64
import json
import re

import pytest

import wire
from functions import ECHO, PYTHON, create, node_runtime, zipped
from squall_server import wait_until

SIX_MB = 6 * 1024 * 1024
RESPONSE_MAX = 6_291_556

# Every failure of a handler in one function: the event says which.
FAULTY = """
import os, sys, time, signal, json

class Broken(Exception):
    pass

def handler(event, context):
    what = event["do"]
    if what == "raise":
        raise Broken("no \\"luck\\" today")
    if what == "raise bare":
        raise KeyError
    if what == "exit":
        sys.exit(event["status"])
    if what == "os._exit":
        os._exit(event["status"])
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "loop":
        print("I loop", flush=True)
        while True:
            pass
    if what == "sleep":
        time.sleep(60)
    if what == "set":
        return {1, 2}
    if what == "object":
        return object()
    if what == "big":
        return "x" * event["size"]
    if what == "flood":
        line = "y" * 1023 + "\\n"
        for _ in range(event["kib"]):
            sys.stdout.write(line)
        return "flooded"
    return event.get("value")
"""


@pytest.fixture(scope="module")
def faulty(client):
    return create(client, FAULTY, Timeout=5, MemorySize=512)


@pytest.fixture(scope="module")
def echo(client):
    return create(client, ECHO)


def invoke(client, name, event=None, **arguments):
    """(reply, body as JSON or None)"""
    if event is not None:
        arguments["Payload"] = json.dumps(event)
    reply = client.invoke(FunctionName=name, **arguments)
    body = reply["Payload"].read()
    return reply, json.loads(body) if body else None


def failed(client, name, event, **arguments):
    """The body of a function error, which must be announced as one."""
    reply, body = invoke(client, name, event, **arguments)
    assert (reply["StatusCode"], reply.get("FunctionError")) == (200, "Unhandled"), body
    return reply["ResponseMetadata"]["RequestId"], body


def alive(client, name):
    """The function answers the next event, whatever the last one did."""
    assert invoke(client, name, {"do": "answer", "value": 5})[1] == 5


@pytest.mark.parametrize("event", [
    None, True, 0, -1.5, "text", "ü\u2028\U0001f600", [], [1, [2]], {}, {"a": {"b": None}}, "x" * 1_000_000,
])
def test_an_event_comes_back_as_it_went(client, echo, event):
    reply = client.invoke(FunctionName=echo, Payload=json.dumps(event))
    assert (reply["StatusCode"], reply["ExecutedVersion"]) == (200, "$LATEST") and "FunctionError" not in reply
    assert json.loads(reply["Payload"].read()) == event


def test_a_call_without_payload_is_an_event(client):
    name = create(client, "def handler(event, context):\n    return repr(event)\n")
    reply, body = invoke(client, name)
    assert reply["StatusCode"] == 200 and "FunctionError" not in reply
    assert body in ("None", "{}")


def test_the_context_has_every_field_and_method(client):
    source = """
import os
def handler(event, context):
    left = context.get_remaining_time_in_millis()
    identity = context.identity
    return {
        "id": context.aws_request_id, "arn": context.invoked_function_arn, "name": context.function_name,
        "version": context.function_version, "memory": context.memory_limit_in_mb, "left": left,
        "group": context.log_group_name, "stream": context.log_stream_name,
        "identity": [identity.cognito_identity_id, identity.cognito_identity_pool_id],
        "client": [context.client_context.custom, context.client_context.env, context.client_context.client.app_title],
        "env": dict(os.environ), "trace": os.environ.get("_X_AMZN_TRACE_ID"),
    }
"""
    name = create(client, source, Timeout=4, MemorySize=192, Environment={"Variables": {"MINE": "1", "TZ": "UTC"}})
    given = {"custom": {"k": "v"}, "env": {"locale": "de"}, "client": {"app_title": "t"}}
    reply, got = invoke(client, name, 1, ClientContext=base64.b64encode(json.dumps(given).encode()).decode())
    arn = f"arn:aws:lambda:us-east-1:000000000000:function:{name}"
    assert "FunctionError" not in reply, got
    assert got["id"] == reply["ResponseMetadata"]["RequestId"]
    assert (got["arn"], got["name"], got["version"]) == (arn, name, "$LATEST")
    assert got["memory"] == "192" and 0 < got["left"] <= 4000
    assert got["group"] == f"/aws/lambda/{name}"
    assert re.fullmatch(r"\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32}", got["stream"])
    assert got["client"] == [{"k": "v"}, {"locale": "de"}, "t"] and got["identity"] == [None, None]
    environment = {
        "_HANDLER": "app.handler", "AWS_EXECUTION_ENV": f"AWS_Lambda_{PYTHON}", "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_LAMBDA_FUNCTION_NAME": name, "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "192", "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": got["stream"], "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand", "MINE": "1",
        "TZ": "UTC", "LANG": "en_US.UTF-8",
    }
    assert {key: got["env"].get(key) for key in environment} == environment
    assert got["trace"] and got["trace"].startswith("Root=")
    assert "LAMBDA_TASK_ROOT" in got["env"]
    leaked = [key for key in got["env"] if key.startswith("SQUALL_")]
    assert not leaked, "the server's own settings are not the function's"


def test_an_instance_is_initialised_once_and_used_again(client):
    source = "import uuid\nI = uuid.uuid4().hex\nn = 0\ndef handler(e, c):\n    global n\n    n += 1\n    return [I, n]\n"
    name = create(client, source)
    answers = [invoke(client, name)[1] for _ in range(5)]
    assert [n for _, n in answers] == [1, 2, 3, 4, 5] and len({i for i, _ in answers}) == 1


def test_a_dry_run_runs_nothing(client, workdir):
    effect = workdir / "dry-run"
    name = create(client, f"def handler(e, c):\n    open({str(effect)!r}, 'w')\n")
    reply, body = invoke(client, name, {}, InvocationType="DryRun")
    assert (reply["StatusCode"], body) == (204, None) and not effect.exists()


def test_an_event_invocation_is_accepted_and_runs(client, workdir):
    effect = workdir / "event"
    source = f"import os\ndef handler(e, c):\n    open({str(effect)!r} + '.new', 'w').write(e + c.aws_request_id)\n" \
             f"    os.rename({str(effect)!r} + '.new', {str(effect)!r})\n"
    name = create(client, source)
    reply, body = invoke(client, name, "did it ", InvocationType="Event")
    assert (reply["StatusCode"], body) == (202, None) and "ExecutedVersion" not in reply
    wait_until("the effect of the event", effect.exists)
    assert effect.read_text() == "did it " + reply["ResponseMetadata"]["RequestId"]


def test_the_log_tail_tells_the_invocation_as_lambda_writes_it(client):
    source = "import logging, sys\nlogging.getLogger().setLevel('INFO')\ndef handler(e, c):\n    print('to stdout')\n" \
             "    print('to stderr', file=sys.stderr)\n    logging.info('to logging')\n"
    name = create(client, source)
    for expected_init in (True, False):
        reply, _ = invoke(client, name, {}, LogType="Tail")
        request_id = reply["ResponseMetadata"]["RequestId"]
        lines = base64.b64decode(reply["LogResult"]).decode().splitlines()
        start, end = lines.index(f"START RequestId: {request_id} Version: $LATEST"), lines.index(f"END RequestId: {request_id}")
        said = "\n".join(lines[start + 1:end])
        assert "to stdout" in said and "to stderr" in said
        assert re.search(rf"\[INFO\]\t\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{3}}Z\t{request_id}\tto logging", said)
        report = next(line for line in lines if line.startswith("REPORT"))
        pattern = rf"REPORT RequestId: {request_id}\tDuration: \d+\.\d\d ms\tBilled Duration: \d+ ms\t" \
                  r"Memory Size: 128 MB\tMax Memory Used: \d+ MB\t"
        pattern += r"Init Duration: \d+\.\d\d ms\t" if expected_init else ""
        assert re.fullmatch(pattern, report + ("" if report.endswith("\t") else "\t")), report
        used = int(re.search(r"Max Memory Used: (\d+)", report)[1])
        assert 1 <= used <= 128
        assert any(line.startswith("INIT_START") for line in lines) == expected_init
    assert "LogResult" not in invoke(client, name, {})[0]


def test_the_log_tail_is_the_last_four_kilobytes(client, faulty):
    reply, body = invoke(client, faulty, {"do": "flood", "kib": 64}, LogType="Tail")
    tail = base64.b64decode(reply["LogResult"])
    assert body == "flooded" and len(tail) <= 4096 and b"REPORT RequestId" in tail and b"yyyy" in tail


def test_a_raised_exception_is_the_answer(client, faulty):
    request_id, body = failed(client, faulty, {"do": "raise"})
    trace = body.pop("stackTrace")
    assert body == {"errorMessage": 'no "luck" today', "errorType": "Broken", "requestId": request_id}
    assert len(trace) == 1 and re.search(r'File ".*app\.py", line \d+, in handler\n', trace[0])
    assert "raise Broken" in trace[0]
    assert failed(client, faulty, {"do": "raise bare"})[1]["errorType"] == "KeyError"
    alive(client, faulty)


@pytest.mark.parametrize("what", ["loop", "sleep"])
def test_a_deadline_kills(client, server, what):
    name = create(client, FAULTY, Timeout=1)
    alive(client, name)
    request_id, body = failed(client, name, {"do": what})
    expected = f"RequestId: {request_id} Error: Task timed out after 1.00 seconds"
    assert body == {"errorType": "Sandbox.Timedout", "errorMessage": expected}
    alive(client, name)


def test_what_was_said_before_the_deadline_is_kept(client):
    name = create(client, FAULTY, Timeout=1)
    reply, _ = invoke(client, name, {"do": "loop"}, LogType="Tail")
    assert "I loop" in base64.b64decode(reply["LogResult"]).decode()


@pytest.mark.parametrize("event, expected", [
    ({"do": "os._exit", "status": 3}, "Runtime exited with error: exit status 3"),
    ({"do": "os._exit", "status": 0}, "Runtime exited without providing a reason"),
    ({"do": "kill"}, "Runtime exited with error: signal: killed"),
])
def test_an_instance_that_ends_is_told_and_replaced(client, faulty, event, expected):
    request_id, body = failed(client, faulty, event)
    assert body == {"errorType": "Runtime.ExitError", "errorMessage": f"RequestId: {request_id} Error: {expected}"}
    alive(client, faulty)


def test_sys_exit_ends_the_instance_and_is_told(client, faulty):
    request_id, body = failed(client, faulty, {"do": "exit", "status": 4})
    assert body["errorType"] in ("Runtime.ExitError", "SystemExit"), body
    assert request_id in json.dumps(body)
    alive(client, faulty)


@pytest.mark.parametrize("what, word", [("set", "set"), ("object", "object")])
def test_an_answer_that_is_no_json_is_a_marshal_error(client, faulty, what, word):
    request_id, body = failed(client, faulty, {"do": what})
    assert body["errorType"] == "Runtime.MarshalError" and body["requestId"] == request_id
    assert body["errorMessage"] == \
        f"Unable to marshal response: Object of type {word} is not JSON serializable"
    alive(client, faulty)


def test_an_answer_is_at_most_six_megabytes_and_a_little(client, faulty):
    largest = RESPONSE_MAX - 2
    _, body = invoke(client, faulty, {"do": "big", "size": largest})
    assert len(body) == largest
    _, body = failed(client, faulty, {"do": "big", "size": largest + 1})
    assert body["errorType"] == "Function.ResponseSizeTooLarge"
    assert body["errorMessage"] == \
        "Response payload size exceeded maximum allowed payload size (6291556 bytes)."
    alive(client, faulty)


def test_a_payload_is_at_most_six_megabytes(server, client):
    name = create(client, "def handler(e, c):\n    return len(e)\n", Timeout=30, MemorySize=512)
    path = f"/2015-03-31/functions/{name}/invocations"
    largest = b'"' + b"x" * (SIX_MB - 2) + b'"'
    fits = wire.send_signed(server, path, "POST", body=largest)
    assert (fits.status, fits.body) == (200, str(SIX_MB - 2).encode())
    refused = wire.send_signed(server, path, "POST", body=largest + b" ")
    assert (refused.status, refused.headers["x-amzn-errortype"]) == (413, "RequestTooLargeException"), refused
    assert "6291456" in refused.json()["message"]
    with pytest.raises(client.exceptions.RequestTooLargeException):
        client.invoke(FunctionName=name, Payload=largest + b" ")


def test_an_asynchronous_payload_is_at_most_one_megabyte(server, client):
    name = create(client, "def handler(e, c):\n    pass\n")
    path, headers = f"/2015-03-31/functions/{name}/invocations", {"X-Amz-Invocation-Type": "Event"}
    largest = b'"' + b"x" * (1024 * 1024 - 2) + b'"'
    assert wire.send_signed(server, path, "POST", headers, largest).status == 202
    refused = wire.send_signed(server, path, "POST", headers, largest + b" ")
    assert (refused.status, refused.headers["x-amzn-errortype"]) == (413, "RequestTooLargeException"), refused


@pytest.mark.parametrize("payload", [b"{", b"nope", b"{'a': 1}", b'{"a": 1} trailing', b"\xff\xfe", b"[1,]"])
@pytest.mark.parametrize("kind", ["RequestResponse", "Event"])
def test_a_payload_that_is_no_json_is_refused(client, faulty, payload, kind):
    with pytest.raises(client.exceptions.InvalidRequestContentException) as caught:
        client.invoke(FunctionName=faulty, Payload=payload, InvocationType=kind)
    assert caught.value.response["Error"]["Message"].startswith(
        "Could not parse request body into json: Could not parse payload into json:")


def test_invalid_headers_of_an_invoke_are_refused(server, client, faulty):
    path = f"/2015-03-31/functions/{faulty}/invocations"
    for headers in (
        {"X-Amz-Invocation-Type": "Sometimes"},
        {"X-Amz-Log-Type": "Everything"},
        {"X-Amz-Client-Context": "%%%"},
    ):
        answer = wire.send_signed(server, path, "POST", headers, b"{}")
        assert answer.status == 400 and answer.headers.get("x-amzn-errortype"), (headers, answer)


@pytest.mark.parametrize("source, error_type, message", [
    ("raise RuntimeError('at import')", "RuntimeError", "at import"),
    ("import no_such_module", "Runtime.ImportModuleError", "Unable to import module 'app': No module named 'no_such_module'"),
    ("def handler(e, c)\n    pass", "Runtime.UserCodeSyntaxError", "Syntax error in module 'app'"),
    ("x = 1", "Runtime.HandlerNotFound", "Handler 'handler' missing on module 'app'"),
])
def test_a_failing_initialisation_is_told(client, source, error_type, message):
    name = create(client, source + "\n")
    for _ in range(2):
        _, body = failed(client, name, {})
        assert body["errorType"] == error_type and message in body["errorMessage"], body
        assert body.get("requestId") in ("", None)


@pytest.mark.parametrize("source, expected", [
    ("import os; os._exit(7)", "exit status 7"),
    ("import sys; sys.exit(1)", "exit status 1"),
])
def test_an_exit_during_initialisation_is_told(client, source, expected):
    name = create(client, source + "\n")
    request_id, body = failed(client, name, {})
    assert body["errorType"] == "Runtime.ExitError" and expected in body["errorMessage"], body


def test_a_handler_that_names_nothing_is_told(client):
    package = zipped({"app.py": ECHO})
    _, body = failed(client, create(client, package, handler="other.handler"), {})
    assert body["errorType"] == "Runtime.ImportModuleError"
    assert "Unable to import module 'other'" in body["errorMessage"]
    # Lambda says so at the first call only.
    with pytest.raises(client.exceptions.InvalidParameterValueException, match="nodots"):
        create(client, package, handler="nodots")


def test_a_flood_of_output_ends_neither_the_server_nor_the_answer(client):
    name = create(client, FAULTY, Timeout=60, MemorySize=512)
    assert invoke(client, name, {"do": "flood", "kib": 20_000})[1] == "flooded"
    alive(client, name)


def test_a_handler_in_a_package_is_found(client):
    package = zipped({"pkg/__init__.py": "", "pkg/mod.py": "from . import other\ndef go(e, c):\n    return other.X\n",
                      "pkg/other.py": "X = 'deep'\n"})
    for handler in ("pkg.mod.go", "pkg/mod.go"):
        assert invoke(client, create(client, package, handler=handler))[1] == "deep"


def test_every_answer_carries_a_trace_id(server, client, faulty):
    answer = wire.send_signed(server, f"/2015-03-31/functions/{faulty}/invocations", "POST", body=b'{"do":"answer"}')
    assert answer.headers["x-amzn-trace-id"].startswith("Root=1-"), answer
    assert answer.headers["x-amz-executed-version"] == "$LATEST"


NODE = """
const n = { count: 0 };
exports.handler = async (event, context) => {
  if (event.do === 'throw') throw new TypeError('thrown');
  if (event.do === 'exit') process.exit(3);
  if (event.do === 'sleep') await new Promise(r => setTimeout(r, 60000));
  console.log('said', event.do);
  return { count: ++n.count, id: context.awsRequestId, left: context.getRemainingTimeInMillis(), event };
};
exports.callback = (event, context, done) => { context.callbackWaitsForEmptyEventLoop = false; setTimeout(() => done(null, event), 1); };
"""


@pytest.fixture(scope="module")
def node(client):
    return create(client, zipped({"index.js": NODE}), runtime=node_runtime(), handler="index.handler", Timeout=2)


def test_node_answers_counts_and_logs(client, node):
    first, got = invoke(client, node, {"do": "x"}, LogType="Tail")
    assert "FunctionError" not in first, got
    assert got["id"] == first["ResponseMetadata"]["RequestId"] and 0 < got["left"] <= 2000
    assert re.search(r"said x", base64.b64decode(first["LogResult"]).decode())
    assert invoke(client, node, {})[1]["count"] == got["count"] + 1


def test_node_errors_are_told(client, node):
    request_id, body = failed(client, node, {"do": "throw"})
    assert (body["errorType"], body["errorMessage"]) == ("TypeError", "thrown")
    assert body.get("trace") or body.get("stackTrace")
    request_id, body = failed(client, node, {"do": "exit"})
    assert body["errorType"] == "Runtime.ExitError" and request_id in body["errorMessage"]
    request_id, body = failed(client, node, {"do": "sleep"})
    assert body == {"errorType": "Sandbox.Timedout",
                    "errorMessage": f"RequestId: {request_id} Error: Task timed out after 2.00 seconds"}


@pytest.mark.parametrize("files, handler, expected", [
    ({"index.js": NODE}, "index.callback", {"a": 1}),
    ({"index.mjs": "export const handler = async (e) => ({ esm: e.a });"}, "index.handler", {"esm": 1}),
    ({"package.json": '{"type":"module"}', "lib/a.js": "export async function go(e) { return e.a + 1 }"}, "lib/a.go", 2),
])
def test_node_handlers_of_every_form_are_found(client, files, handler, expected):
    name = create(client, zipped(files), runtime=node_runtime(), handler=handler)
    assert invoke(client, name, {"a": 1})[1] == expected


@pytest.mark.parametrize("files, error_type", [
    ({"index.js": "throw new Error('at load')"}, "Error"),
    ({"index.js": "exports.other = 1"}, "Runtime.HandlerNotFound"),
    ({"other.js": ""}, "Runtime.ImportModuleError"),
    ({"index.js": "exports.handler = ("}, "Runtime.UserCodeSyntaxError"),
])
def test_a_failing_initialisation_of_node_is_told(client, files, error_type):
    name = create(client, zipped(files), runtime=node_runtime(), handler="index.handler")
    _, body = failed(client, name, {})
    assert body["errorType"] == error_type, body
