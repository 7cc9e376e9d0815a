"""Answers that come in pieces: function URLs of components, and InvokeWithResponseStream."""

import http.client
import json
import socket
import threading
import urllib.parse

import pytest
import wire
from botocore.exceptions import ClientError
from functions import EXAMPLES, create, zipped
from squall_server import wait_until

STREAM = EXAMPLES / "stream-wasm-http-c" / "stream.wasm"
ECHO = "def handler(event, context):\n    print('said')\n    return event\n"
RAISE = "def handler(event, context):\n    raise ValueError('no')\n"


def component(client, **settings):
    code = zipped({"function.wasm": STREAM.read_bytes()})
    return create(client, code, runtime="wasm", handler="function.wasm", **settings)


def url(client, server, name):
    client.create_function_url_config(FunctionName=name, AuthType="NONE", InvokeMode="RESPONSE_STREAM")
    return urllib.parse.urlsplit(server.endpoint), f"/lambda-url/{name}"


def events(reply):
    return list(reply["EventStream"])


def test_each_piece_comes_back_before_the_next_is_sent(client, server):
    at, path = url(client, server, component(client))
    with socket.create_connection((at.hostname, at.port), timeout=30) as wire:
        head = f"POST {path}/echo HTTP/1.1\r\nHost: {at.netloc}\r\nTransfer-Encoding: chunked\r\n\r\n"
        wire.sendall(head.encode())
        answer = http.client.HTTPResponse(wire, method="POST")
        for piece in (b"one", b"two", b"three"):
            wire.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
            if piece == b"one":
                answer.begin()
                assert answer.status == 200
            assert answer.read1() == piece
        wire.sendall(b"0\r\n\r\n")
        assert answer.read() == b""


def test_large_bodies_go_through_whole(client, server):
    at, path = url(client, server, component(client, Timeout=60))
    sent = bytes(range(256)) * 4096 * 12  # 12 MiB: more than any buffered call may carry
    with socket.create_connection((at.hostname, at.port), timeout=60) as wire:
        head = f"POST {path}/echo HTTP/1.1\r\nHost: {at.netloc}\r\nContent-Length: {len(sent)}\r\n\r\n"
        # Nothing is held on the way: who does not read cannot send either.
        sending = threading.Thread(target=wire.sendall, args=(head.encode() + sent,))
        sending.start()
        answer = http.client.HTTPResponse(wire, method="POST")
        answer.begin()
        assert answer.read() == sent
        sending.join()


def test_a_call_that_is_cut_off_does_not_look_whole(client, server):
    name = component(client, Timeout=1)
    at, path = url(client, server, name)
    connection = http.client.HTTPConnection(at.hostname, at.port, timeout=30)
    connection.request("GET", f"{path}/spin")
    answer = connection.getresponse()
    with pytest.raises(http.client.IncompleteRead) as cut:
        answer.read()
    assert cut.value.partial == b"begun"
    # Nothing of it had left yet.
    connection = http.client.HTTPConnection(at.hostname, at.port, timeout=30)
    connection.request("GET", f"{path}/trap")
    assert connection.getresponse().status == 502
    lines = lambda: server.squall("logs", name).stdout
    wait_until("the deadline is in the log", lambda: "timed out after 1.00 seconds" in lines(), 30)


def test_a_client_that_leaves_does_not_stop_the_call(client, server):
    name = component(client, Timeout=1)
    at, path = url(client, server, name)
    connection = http.client.HTTPConnection(at.hostname, at.port, timeout=30)
    connection.request("GET", f"{path}/spin")
    connection.getresponse()
    connection.close()
    # It ran on until its deadline, and said so.
    lines = lambda: server.squall("logs", name).stdout
    wait_until("the deadline is in the log", lambda: "timed out after 1.00 seconds" in lines(), 30)


def test_a_component_streams_its_answer_to_an_sdk(client):
    name = component(client)
    reply = client.invoke_with_response_stream(FunctionName=name, Payload=b'{"a": 1}', LogType="Tail")
    assert reply["ResponseMetadata"]["HTTPStatusCode"] == 200 and reply["ExecutedVersion"] == "$LATEST"
    *chunks, complete = events(reply)
    assert b"".join(chunk["PayloadChunk"]["Payload"] for chunk in chunks) == b"001"
    assert "ErrorCode" not in complete["InvokeComplete"] and complete["InvokeComplete"]["LogResult"]


def test_other_functions_answer_in_one_chunk(client):
    reply = client.invoke_with_response_stream(FunctionName=create(client, ECHO), Payload=b'{"a": 1}')
    chunk, complete = events(reply)
    assert json.loads(chunk["PayloadChunk"]["Payload"]) == {"a": 1}
    assert "ErrorCode" not in complete["InvokeComplete"], complete


def test_a_fault_ends_the_stream_with_its_error(client):
    reply = client.invoke_with_response_stream(FunctionName=create(client, RAISE), Payload=b"{}")
    (complete,) = events(reply)
    assert complete["InvokeComplete"]["ErrorCode"] == "Unhandled"
    assert json.loads(complete["InvokeComplete"]["ErrorDetails"])["errorType"] == "ValueError"


def test_only_components_have_urls_that_stream(client):
    name = create(client, ECHO)
    with pytest.raises(ClientError, match="for functions of the runtime wasm only"):
        client.create_function_url_config(FunctionName=name, AuthType="NONE", InvokeMode="RESPONSE_STREAM")


def test_an_instance_answers_as_many_calls_as_its_function_asks_for(client, server):
    name = component(client, Environment={"Variables": {"SQUALL_WASM_REUSE": "3"}})
    at, path = url(client, server, name)
    answers = [wire.send(f"http://{at.netloc}{path}/count", "GET", {}, b"") for _ in range(5)]
    assert [answer.body for answer in answers] == [b"001", b"002", b"003", b"001", b"002"], answers


def test_a_component_that_does_not_load_is_the_servers_error_and_never_gets_an_event(client, server):
    """Its machine code is loaded by its first request, which finds no component; the next one does."""
    name = component(client)
    at, path = url(client, server, name)
    files = [file for file in server.data_dir.rglob("function.wasm") if file.read_bytes() == STREAM.read_bytes()]
    assert files
    server.expected.append(r"could not (answer a request|start an instance)")
    for file in files:
        file.rename(file.with_suffix(".away"))
    refused = wire.send(f"http://{at.netloc}{path}/echo", "POST", {}, b"as it is")
    for file in files:
        file.with_suffix(".away").rename(file)
    assert refused.status == 500 and b"its log says why" in refused.body, refused
    answer = wire.send(f"http://{at.netloc}{path}/echo", "POST", {}, b"as it is")
    assert (answer.status, answer.body) == (200, b"as it is"), answer
