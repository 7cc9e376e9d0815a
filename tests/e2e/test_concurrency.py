"""Many callers at once: instances as many as needed, throttles where there are limits, nothing left when idle."""

import concurrent.futures
import json
import os
import signal
import threading

import botocore.config
import botocore.exceptions
import pytest

from conftest import judged
from functions import create, fresh_name, node_runtime, wait_active, zipped
from squall_server import Server, alive, pid_on_host, wait_for_end, wait_until

pytestmark = [pytest.mark.server_args("--idle-timeout", "1s")]

CALLERS = 50
IDENTIFY = """
import time, uuid
INSTANCE = uuid.uuid4().hex
def handler(event, context):
    time.sleep(event)
    return INSTANCE
"""
# Answers when so many calls of it are inside at once, or never: the file system is their meeting point.
MEET = """
import os, time, uuid
INSTANCE = uuid.uuid4().hex
def handler(event, context):
    folder, parties = event
    open(os.path.join(folder, context.aws_request_id), "w").close()
    while len(os.listdir(folder)) < parties:
        time.sleep(0.005)
    return INSTANCE
"""
# Waits until a file is there, which the test makes.
HOLD = """
import os, time
def handler(event, context):
    open(event + ".in", "w").close()
    while not os.path.exists(event):
        time.sleep(0.005)
    return "released"
"""
DONE = """
def done(event, context):
    handler(event, context)
    open(event + ".done", "w").close()
"""


def call_all(client, name, payloads):
    """Calls with every payload at the same moment, and returns the answers in order."""
    gate = threading.Barrier(len(payloads))

    def call(payload):
        gate.wait(60)
        reply = client.invoke(FunctionName=name, Payload=json.dumps(payload))
        body = reply["Payload"].read()
        assert "FunctionError" not in reply, body
        return json.loads(body)

    with concurrent.futures.ThreadPoolExecutor(len(payloads)) as pool:
        return list(pool.map(call, payloads))


def test_fifty_callers_of_a_cold_function_are_all_answered(client):
    name = create(client, IDENTIFY, Timeout=30)
    answers = call_all(client, name, [0.05] * CALLERS)
    assert len(answers) == CALLERS and 1 <= len(set(answers)) <= CALLERS


def test_calls_that_wait_for_each_other_each_get_an_instance(client, workdir):
    folder = workdir / fresh_name("meet")
    folder.mkdir()
    folder.chmod(0o777)
    name = create(client, MEET, Timeout=60)
    answers = call_all(client, name, [[str(folder), 20]] * 20)
    assert len(set(answers)) == 20, "an instance runs one event at a time, and none is started in vain"


def test_no_instance_is_left_after_the_idle_time(server, client):
    python = create(client, IDENTIFY, Timeout=30)
    node = create(client, zipped({"index.js": "exports.handler = async () => 1"}), runtime=node_runtime(),
                  handler="index.handler")
    assert len(call_all(client, python, [0.2] * 10)) == 10
    assert client.invoke(FunctionName=node)["StatusCode"] == 200
    assert server.descendants(), "instances are processes of the server"
    server.wait_for_no_descendants(60)
    assert call_all(client, python, [0]), "and it starts again when it is called"


def test_reserved_concurrency_zero_lets_nothing_through(client):
    name = create(client, IDENTIFY)
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    with pytest.raises(client.exceptions.TooManyRequestsException) as caught:
        client.invoke(FunctionName=name, Payload=b"0")
    response = caught.value.response
    assert response["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"
    assert response["Error"]["Message"] == "Rate Exceeded." and response["Type"] == "User"
    assert int(response["ResponseMetadata"]["HTTPHeaders"]["retry-after"]) >= 0
    client.delete_function_concurrency(FunctionName=name)
    assert call_all(client, name, [0])


def test_reserved_concurrency_one_runs_one_at_a_time(client, workdir):
    name = create(client, HOLD, Timeout=30)
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=1)
    release = workdir / fresh_name("release")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        held = pool.submit(client.invoke, FunctionName=name, Payload=json.dumps(str(release)))
        wait_until("the first call is inside", lambda: (release.parent / (release.name + ".in")).exists())
        with pytest.raises(client.exceptions.TooManyRequestsException):
            client.invoke(FunctionName=name, Payload=json.dumps(str(release)))
        release.touch()
        assert json.loads(held.result()["Payload"].read()) == "released"
    assert json.loads(client.invoke(FunctionName=name, Payload=json.dumps(str(release)))["Payload"].read()) == "released"


def test_a_caller_that_leaves_does_not_stop_the_invocation(server, client, workdir):
    name = create(client, HOLD + DONE, handler="app.done", Timeout=30)
    release = workdir / fresh_name("leave")
    caller = server.client(config=botocore.config.Config(read_timeout=3))
    with pytest.raises(botocore.exceptions.ReadTimeoutError):
        caller.invoke(FunctionName=name, Payload=json.dumps(str(release)))
    release.touch()
    wait_until("the invocation ended by itself", (workdir / (release.name + ".done")).exists)


def test_an_update_lets_running_calls_end_on_the_old_code(client, workdir):
    name = create(client, HOLD, Timeout=30)
    release = workdir / fresh_name("drain")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        held = pool.submit(client.invoke, FunctionName=name, Payload=json.dumps(str(release)))
        wait_until("the call is inside", lambda: (release.parent / (release.name + ".in")).exists())
        client.update_function_code(
            FunctionName=name, ZipFile=zipped({"app.py": "def handler(e, c):\n    return 'new'\n"}))
        wait_active(client, name)
        assert json.loads(client.invoke(FunctionName=name)["Payload"].read()) == "new"
        release.touch()
        assert json.loads(held.result()["Payload"].read()) == "released"


def test_a_deleted_function_leaves_no_process(server, client):
    server.wait_for_no_descendants(60)
    name = create(client, "import subprocess\nsubprocess.Popen(['sleep', '1000'])\ndef handler(e, c):\n    return 1\n")
    assert client.invoke(FunctionName=name)["StatusCode"] == 200
    processes = server.descendants()
    assert any("sleep" in command for command in processes.values())
    client.delete_function(FunctionName=name)
    wait_for_end(lambda: {pid: what for pid, what in server.descendants().items() if pid in processes}, 30)


def test_an_instance_that_dies_while_idle_is_never_leased(client):
    name = create(client, "import os\ndef handler(e, c):\n    return [os.getpid(), os.readlink('/proc/self/ns/pid')]\n")
    for dying in (True, False, True, False, False):
        reply = client.invoke(FunctionName=name)
        process = json.loads(reply["Payload"].read())
        assert "FunctionError" not in reply, process
        if dying:
            pid = pid_on_host(*process)
            os.kill(pid, signal.SIGKILL)
            wait_until("it is gone", lambda: not alive(pid), 60)


def test_sigterm_drains_running_calls(workdir):
    server = Server(workdir / "drained")
    with judged(server):
        client = server.start().client()
        name = create(client, HOLD, Timeout=30)
        release = workdir / fresh_name("sigterm")
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            held = pool.submit(client.invoke, FunctionName=name, Payload=json.dumps(str(release)))
            wait_until("the call is inside", lambda: (release.parent / (release.name + ".in")).exists())
            server.process.terminate()
            with pytest.raises((botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError)):
                wait_until("new calls are refused", lambda: client.list_functions() and None, 10)
            release.touch()
            assert json.loads(held.result()["Payload"].read()) == "released"
        assert server.process.wait(30) == 0
