"""WebAssembly functions that mean no good: each ends with its own error, and its neighbours answer all the while."""

import base64
import concurrent.futures
import json

from functions import EXAMPLES, ROLE, create, fresh_name, zipped
from squall_server import wait_until
from test_wasm import HEADER, LOOP, VOID, invoke, state

NEIGHBOUR = EXAMPLES / "hello-wasm-http-c" / "hello.wasm"
CALLS = 100
# `_start` grows memory by a page until that is refused, then is `unreachable`.
GREEDY = (HEADER + VOID + b"\x03\x02\x01\0" + b"\x05\x03\x01\0\x01" + b"\x07\x0a\x01\x06_start\0\0"
          + b"\x0a\x11\x01\x0f\0\x03\x40\x41\x01\x40\0\x41\x7f\x47\x0d\0\x0b\0\x0b")


def deployed(client, wasm, **settings):
    return create(client, zipped({"function.wasm": wasm}), runtime="wasm", handler="function.wasm", **settings)


def test_an_endless_loop_ends_at_its_deadline_while_others_answer(client):
    looping, neighbour = deployed(client, LOOP, Timeout=2), deployed(client, NEIGHBOUR.read_bytes())
    with concurrent.futures.ThreadPoolExecutor(17) as threads:
        # More of them than the machine has cores: all threads of the server have a loop to run.
        loops = [threads.submit(invoke, client, looping, {}, LogType="Tail") for _ in range(8)]
        answers = list(threads.map(lambda number: invoke(client, neighbour, number)[1], range(CALLS)))
        ended = [loop.result() for loop in loops]
    assert answers == [{"you": number} for number in range(CALLS)]
    for reply, body in ended:
        assert reply["FunctionError"] == "Unhandled" and "timed out after 2.00 seconds" in body["errorMessage"], body
        assert "Status: timeout" in base64.b64decode(reply["LogResult"]).decode()


def test_memory_ends_at_the_functions_and_the_report_says_so(client):
    greedy, neighbour = deployed(client, GREEDY, MemorySize=128), deployed(client, NEIGHBOUR.read_bytes())
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        greed = [threads.submit(invoke, client, greedy, {}, LogType="Tail") for _ in range(8)]
        answers = list(threads.map(lambda number: invoke(client, neighbour, number)[1], range(CALLS)))
    assert answers == [{"you": number} for number in range(CALLS)]
    for ended in greed:
        reply, body = ended.result()
        assert body["errorType"] == "Runtime.WasmTrap" and "unreachable" in body["errorMessage"], body
        assert "Max Memory Used: 128 MB" in base64.b64decode(reply["LogResult"]).decode()


def test_a_file_beyond_the_limit_is_refused_with_the_limit(client):
    name = fresh_name()
    package = zipped({"function.wasm": HEADER + bytes(100 << 20)})
    client.create_function(FunctionName=name, Runtime="wasm", Role=ROLE, Code={"ZipFile": package})
    wait_until(f"{name} is Failed", lambda: state(client, name)["State"] == "Failed", 60)
    assert "more than the 104857600 that are compiled" in state(client, name)["StateReason"]
    reply = json.dumps(state(client, name), default=str)
    assert "/" + "tmp" not in reply, "a path of the server's leaked"
