"""What strangers do on the wire: they cannot keep others out, and gain nothing."""

import asyncio
import json
import resource
import socket
import urllib.parse

import pytest

import wire
from functions import ECHO, create

IDLE_CONNECTIONS = 10_000
SLOW_CONNECTIONS = 200
# More than a head may take.
HEAD_SECONDS_MAX = 60


@pytest.fixture(scope="module")
def name(client):
    return create(client, ECHO)


@pytest.fixture(autouse=True)
def others_are_answered(client, name):
    """Whatever a test did: somebody else is answered afterwards."""
    yield
    answers(client, name)


def answers(client, name):
    assert json.loads(client.invoke(FunctionName=name, Payload=b"[1]")["Payload"].read()) == [1]


def connect(server):
    parts = urllib.parse.urlsplit(server.endpoint)
    return socket.create_connection((parts.hostname, parts.port), timeout=HEAD_SECONDS_MAX)


def sent(server, data, cut=False):
    """All that comes back on a connection of its own, until the server ends it; `cut` is the end of what we send."""
    with connect(server) as connection:
        connection.sendall(data)
        if cut:
            connection.shutdown(socket.SHUT_WR)
        return received(connection)


def received(connection):
    answer = b""
    while True:
        try:
            piece = connection.recv(65536)
        except ConnectionResetError:
            return answer
        if not piece:
            return answer
        answer += piece


def head(server, name, headers, body_headers):
    """A signed Invoke's head, with these headers for the body."""
    path = f"/2015-03-31/functions/{name}/invocations"
    signed = wire.sign(server, server.endpoint + path, "POST", {}, headers.pop("body"))
    host = urllib.parse.urlsplit(server.endpoint).netloc
    lines = [f"POST {path} HTTP/1.1", f"Host: {host}", "Connection: close"]
    lines += [f"{key}: {value}" for key, value in (signed | headers).items() if key.lower() != "content-length"]
    return ("\r\n".join(lines + body_headers) + "\r\n\r\n").encode()


def raise_the_limit_of_files(count):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard == resource.RLIM_INFINITY or hard >= count, f"this machine allows {hard} files only"
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def test_ten_thousand_idle_connections_keep_nobody_out(server, client, name):
    raise_the_limit_of_files(IDLE_CONNECTIONS + 500)
    parts = urllib.parse.urlsplit(server.endpoint)

    async def hold():
        places = asyncio.Semaphore(100)

        async def one():
            async with places:
                return await asyncio.open_connection(parts.hostname, parts.port)

        held = await asyncio.gather(*(one() for _ in range(IDLE_CONNECTIONS)))
        await asyncio.to_thread(answers, client, name)
        fresh = await asyncio.to_thread(wire.send, server.endpoint + "/squall/v1/health")
        assert fresh.status == 200
        for _, writer in held:
            writer.close()

    asyncio.run(hold())


def test_heads_that_never_end_are_ended(server, client, name):
    held = [connect(server) for _ in range(SLOW_CONNECTIONS)]
    for number, connection in enumerate(held):
        connection.sendall(b"GET /squall/v1/health HTTP/1.1\r\nHost: x\r\nX-Slow: %d" % number)
    answers(client, name)
    for connection in held:
        # The server's end of it; the timeout of `connect` is the test's.
        received(connection)
        connection.close()


@pytest.mark.parametrize("sending", ["nothing", "a part"])
def test_a_body_that_is_cut_off_runs_nothing(server, client, name, sending):
    body = b'"' + b"x" * 1000 + b'"'
    data = head(server, name, {"body": body}, [f"Content-Length: {len(body)}"])
    answer = sent(server, data + (body[:500] if sending == "a part" else b""), cut=True)
    assert not answer.startswith(b"HTTP/1.1 200"), answer[:200]
    assert b"x" * 100 not in answer


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_body_that_is_too_long_is_refused(server, name, framing):
    body = b'"' + b"x" * (7 << 20) + b'"'
    if framing == "length":
        data = head(server, name, {"body": body}, [f"Content-Length: {len(body)}"]) + body
    else:
        data = head(server, name, {"body": body}, ["Transfer-Encoding: chunked"])
        data += b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    answer = sent(server, data)
    assert answer.startswith(b"HTTP/1.1 413"), answer[:300]
    assert b"RequestTooLargeException" in answer


@pytest.mark.parametrize("order", ["length first", "chunked first"])
def test_a_request_of_two_lengths_hides_no_second_one(server, name, order):
    """Whoever stands before the server may believe the other length: what it thinks is a body must not be a request."""
    hidden = b"GET /squall/v1/health HTTP/1.1\r\nHost: x\r\n\r\n"
    body = b"0\r\n\r\n" + hidden
    lengths = [f"Content-Length: {len(body)}", "Transfer-Encoding: chunked"]
    if order == "chunked first":
        lengths.reverse()
    answer = sent(server, head(server, name, {"body": b""}, lengths) + body)
    assert answer.count(b"HTTP/1.1 ") == 1, answer
    assert answer.startswith(b"HTTP/1.1 400") or b"connection: close" in answer, answer


@pytest.mark.parametrize("lines", [
    ["Content-Length: 2", "Content-Length: 3"],
    ["Content-Length: +2"],
    ["Content-Length: 2, 3"],
    ["Content-Length: -1"],
    ["Content-Length: 99999999999999999999"],
    ["Transfer-Encoding: identity"],
    ["Transfer-Encoding: chunked, identity"],
    ["Transfer-Encoding : chunked"],
    ["X-Folded: a\r\n b"],
    ["X-Null: a\0b"],
])
def test_a_head_that_can_be_read_in_two_ways_is_refused(server, name, lines):
    answer = sent(server, head(server, name, {"body": b"[]"}, lines) + b"[]")
    assert answer.startswith(b"HTTP/1.1 400"), answer[:300]
    assert answer.count(b"HTTP/1.1 ") == 1, answer


def test_a_chunk_of_a_bad_size_runs_nothing(server, name):
    for chunk in (b"g\r\n[]\r\n0\r\n\r\n", b"-2\r\n[]\r\n0\r\n\r\n", b"ffffffffffffffffff\r\n[]", b"2\r\n[]xx0\r\n\r\n"):
        data = head(server, name, {"body": b"[]"}, ["Transfer-Encoding: chunked"]) + chunk
        answer = sent(server, data)
        assert not answer.startswith(b"HTTP/1.1 200"), (chunk, answer[:300])


def test_a_head_without_end_is_refused(server):
    for head_lines in (b"X: " + b"y" * (1 << 20), b"".join(b"X-%d: y\r\n" % n for n in range(10_000))):
        answer = sent(server, b"GET /squall/v1/health HTTP/1.1\r\nHost: x\r\n" + head_lines + b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 431"), answer[:200]
