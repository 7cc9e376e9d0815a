"""WebAssembly functions through the same API as all others: deployed, compiled, called, logged, refused."""

import base64
import json
import re

import wire
from conftest import judged
from functions import EXAMPLES, ROLE, create, fresh_name, zipped
from squall_server import Server, wait_until

MODULE = EXAMPLES / "hello-wasm-c" / "hello.wasm"
COMPONENT = EXAMPLES / "hello-wasm-http-c" / "hello.wasm"
HEADER = b"\0asm\x01\0\0\0"
VOID = b"\x01\x04\x01\x60\0\0"
# Imports `f` of `env`, which nobody offers.
STRANGE = HEADER + VOID + b"\x02\x09\x01\x03env\x01f\0\0"
# `_start` is `unreachable`, or an endless loop.
TRAP = HEADER + VOID + b"\x03\x02\x01\0" + b"\x07\x0a\x01\x06_start\0\0" + b"\x0a\x05\x01\x03\0\0\x0b"
LOOP = HEADER + VOID + b"\x03\x02\x01\0" + b"\x07\x0a\x01\x06_start\0\0" + b"\x0a\x09\x01\x07\0\x03\x40\x0c\0\x0b\x0b"


def deployed(client, wasm, **settings):
    code = wasm if isinstance(wasm, bytes) else wasm.read_bytes()
    return create(client, zipped({"function.wasm": code}), runtime="wasm", handler="function.wasm", **settings)


def invoke(client, name, event, **settings):
    reply = client.invoke(FunctionName=name, Payload=json.dumps(event), **settings)
    return reply, json.loads(reply["Payload"].read())


def test_a_module_answers_and_logs(client):
    name = deployed(client, MODULE)
    reply, body = invoke(client, name, {"name": "Ada"}, LogType="Tail")
    assert body == {"greeting": "Hello, Ada!"} and "FunctionError" not in reply
    tail = base64.b64decode(reply["LogResult"]).decode()
    assert "greeting Ada" in tail and "REPORT RequestId" in tail, tail


def test_a_component_answers_through_both_ways(client, server):
    name = deployed(client, COMPONENT)
    assert invoke(client, name, [1, "ü"])[1] == {"you": [1, "ü"]}
    client.create_function_url_config(FunctionName=name, AuthType="NONE")
    answer = wire.send(f"{server.endpoint}/lambda-url/{name}/path", "POST", {}, b"hello")
    assert answer.status == 200 and answer.body == b'{"you": hello}', answer


def test_no_handler_is_needed(client):
    name = fresh_name()
    package = zipped({"function.wasm": MODULE.read_bytes()})
    client.create_function(FunctionName=name, Runtime="wasm", Role=ROLE, Code={"ZipFile": package})
    wait_until(f"{name} is Active", lambda: state(client, name)["State"] == "Active", 60)
    assert invoke(client, name, {})[1] == {"greeting": "Hello, world!"}


def test_a_trap_and_a_deadline_are_the_functions_errors(client):
    reply, body = invoke(client, deployed(client, TRAP), {})
    assert reply["FunctionError"] == "Unhandled" and body["errorType"] == "Runtime.WasmTrap", body
    reply, body = invoke(client, deployed(client, LOOP, Timeout=1), {})
    assert reply["FunctionError"] == "Unhandled" and "timed out after 1.00 seconds" in body["errorMessage"], body


def test_what_cannot_run_becomes_failed_and_says_why(client):
    def failed(code, expected):
        name = fresh_name()
        made = client.create_function(
            FunctionName=name, Runtime="wasm", Role=ROLE, Code={"ZipFile": zipped({"function.wasm": code})}
        )
        assert made["State"] == "Pending"
        wait_until(f"{name} is Failed", lambda: state(client, name)["State"] == "Failed", 60)
        found = state(client, name)
        assert found["StateReasonCode"] == "FunctionError" and expected in found["StateReason"], found

    failed(STRANGE, "`f` of `env`")
    failed(b"#!/bin/sh", "is not WebAssembly")


def test_squall_deploys_a_wasm_file(server):
    name = fresh_name()
    server.squall("deploy", MODULE, "--name", name)
    answer = server.squall("invoke", name, "--data", '{"name": "Ada"}')
    assert json.loads(answer.stdout) == {"greeting": "Hello, Ada!"}


def test_lost_machine_code_is_compiled_again_without_a_call(workdir):
    with judged(Server(workdir / "upgraded")) as server:
        name = deployed(server.start().client(), COMPONENT)
        folder = server.data_dir / "machine-code"
        kept = {file.name: file.read_bytes() for file in folder.glob("*.*")}
        assert len(kept) == 2 and server.terminate() == 0, kept.keys()
        for file in kept:
            (folder / file).unlink()
        server.start()
        # The code comes last, in one piece.
        made = [folder / file for file in kept if file.endswith(".cwasm")]
        wait_until(f"{name} is compiled again", lambda: all(file.exists() for file in made), 120)
        assert {file.name for file in folder.glob("*.*")} == kept.keys()
        told = [line for line in server.log.read_text().splitlines() if "compiling functions again" in line]
        assert len(told) == 1 and "versions=1" in re.sub(r"\x1b\[[0-9;]*m", "", told[0]), told
        assert invoke(server.client(), name, [1])[1] == {"you": [1]}


def state(client, name):
    return client.get_function_configuration(FunctionName=name)
