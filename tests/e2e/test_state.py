"""Shared state as functions and people reach it: from Python, over HTTP, by the command line, and after kill -9."""

import json
import threading
import urllib.error
import urllib.request

import botocore.auth
import botocore.awsrequest
import pytest
from botocore.credentials import Credentials

from conftest import judged
from functions import create, fresh_name
from squall_server import Server

PYTHON_FUNCTION = """
import threading, squall

def handler(event, context):
    shop = squall.bucket(event.get("bucket"))
    try:
        return globals()[event["do"]](shop, event)
    except squall.SquallError as error:
        return {"error": type(error).__name__, "message": str(error), "retryable": error.retryable}

def put(shop, event):
    shop.put(event["key"], event["value"])

def get(shop, event):
    return shop.get(event["key"])

def values(shop, event):
    kept = [None, True, 7, 1.5, "é", [1, {"a": []}], {"k": "v"}, b"\\x00\\xff", (1, 2), {3: 4}, b"x" * 200000, list(range(50000))]
    for number, value in enumerate(kept):
        shop.put("value/%02d" % number, value)
    shop.delete("value/00")
    back = [shop.get("value/%02d" % number) for number in range(len(kept))]
    again = shop.get_many(["value/%02d" % number for number in range(len(kept))])
    kept[0] = None
    return [back == kept, list(again.values()) == kept[1:], shop.list("value/", limit=3), len(list(shop.keys("value/")))]

def lattices(shop, event):
    counter = shop.counter("hits")
    threads = [threading.Thread(target=counter.add, args=(2,)) for _ in range(20)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    tags = shop.set("tags"); tags.add("a", "b", ("c", 1)); tags.remove("b")
    board = shop.ordered_set("board"); board.add("eve", 3); board.add("ada", 9.5); board.add("bob", 1)
    card = shop.map("card"); card.put("name", "Ada"); card.put("raw", b"\\x01"); card.put("gone", 1); card.remove("gone")
    high, low, flag = shop.max("high"), shop.min("low"), shop.flag("flag")
    before = [high.get(), flag.get(), shop.set("none").get(), shop.counter("none").get()]
    for number in (3, 7, 5): high.put(number); low.put(number)
    flag.set()
    return [before == [None, False, set(), 0], counter.get(), sorted(map(repr, tags.get())), "a" in tags, board.get(),
            card.get() == {"name": "Ada", "raw": b"\\x01"}, card.get("name"), card.get("x", 0), high.get(), low.get(), flag.get()]

def other_lattice(shop, event):
    shop.counter("number").add(1)
    shop.set("number").add("x")

def sessions(shop, event):
    with squall.session("atomic"):
        shop.put("a", 1)
        shop.put("b", 2)
        inside = [shop.get("a"), shop.get("b")]
    try:
        with squall.session("atomic"):
            shop.put("a", "never")
            raise ValueError
    except ValueError:
        pass
    with squall.session("causal"):
        causal = shop.get("a")
    return [inside, shop.get("a"), shop.get("b"), causal]

def fail_atomic(shop, event):
    shop.put("all", event["value"])
    if event["value"] == "never":
        raise RuntimeError("no")

def receive(shop, event):
    shop.put("receiver", squall.my_id())
    return [squall.recv(timeout=60), squall.recv(timeout=60), squall.recv(timeout=0)]

def send(shop, event):
    import time
    deadline = time.time() + 30
    while not (receiver := shop.get("receiver")):
        assert time.time() < deadline
    for message in event["messages"]:
        squall.send(receiver, message)
"""


class Http:
    """Signed requests to Squall's own API."""

    def __init__(self, server):
        self.server = server

    def __call__(self, method, path, body=None, headers=(), signed=True):
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        request = botocore.awsrequest.AWSRequest(
            method, self.server.env["AWS_ENDPOINT_URL"] + path, dict(headers), data
        )
        if signed:
            env = self.server.env
            keys = Credentials(env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"])
            botocore.auth.SigV4Auth(keys, "squall", env["AWS_REGION"]).add_auth(request)
        prepared = request.prepare()
        sent = urllib.request.Request(prepared.url, prepared.body, dict(prepared.headers), method=method)
        try:
            with urllib.request.urlopen(sent, timeout=60) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read()


@pytest.fixture(scope="module")
def http(server):
    return Http(server)


@pytest.fixture(scope="module")
def function(client):
    return create(client, PYTHON_FUNCTION, Timeout=90)


def ask(client, name, **event):
    answer = client.invoke(FunctionName=name, Payload=json.dumps(event))
    said = json.loads(answer["Payload"].read())
    assert "FunctionError" not in answer, said
    return said


def test_a_function_reads_what_it_wrote_of_every_kind(client, function):
    first = ["value/01", "value/02", "value/03"]
    assert ask(client, function, do="values") == [True, True, first, 11]


def test_what_merges_loses_nothing(client, function):
    expected = [
        True, 40, ["'a'", "('c', 1)"], True, [["bob", 1.0], ["eve", 3.0], ["ada", 9.5]],
        True, "Ada", 0, 7.0, 3.0, True,
    ]
    assert ask(client, function, do="lattices") == expected


def test_a_session_shows_all_of_its_writes_or_none(client, function):
    assert ask(client, function, do="sessions") == [[1, 2], 1, 2, 1]


def test_a_function_at_the_atomic_level_that_fails_has_written_nothing(client):
    name = create(client, PYTHON_FUNCTION, Environment={"Variables": {"SQUALL_CONSISTENCY": "atomic"}})
    ask(client, name, do="fail_atomic", value="once")
    failed = client.invoke(FunctionName=name, Payload=json.dumps({"do": "fail_atomic", "value": "never"}))
    assert failed["FunctionError"] == "Unhandled"
    assert ask(client, name, do="get", key="all") == "once"


def test_messages_reach_a_function_that_runs(client, function):
    received = []
    receiver = threading.Thread(target=lambda: received.append(ask(client, function, do="receive")))
    receiver.start()
    ask(client, function, do="send", messages=[{"n": 1}, "two"])
    receiver.join(60)
    assert received == [[{"n": 1}, "two", None]]


def check_refused(client, function, error, message, **event):
    said = ask(client, function, **event)
    assert said["error"] == error and message in said["message"] and not said["retryable"], said


def test_what_a_function_may_not_do_says_what_to_do(client, function, http):
    check_refused(client, function, "NotBound", "bind", do="get", bucket="not-bound", key="k")
    assert http("PUT", f"/squall/v1/buckets/{function}-b")[0] == 200
    check_refused(client, function, "NotBound", "bind", do="get", bucket=f"{function}-b", key="k")
    assert http("PUT", f"/squall/v1/buckets/{function}-b/functions/{function}")[0] == 200
    ask(client, function, do="put", bucket=f"{function}-b", key="k", value=1)
    assert ask(client, function, do="get", bucket=f"{function}-b", key="k") == 1
    assert http("DELETE", f"/squall/v1/buckets/{function}-b")[0] == 204
    check_refused(client, function, "UnknownBucket", "create", do="get", bucket=f"{function}-b", key="k")
    check_refused(client, function, "OtherLattice", "counter", do="other_lattice")
    check_refused(client, function, "BadRequest", "key", do="get", key="")
    check_refused(client, function, "BadRequest", "key", do="get", key="k" * 1001)
    check_refused(client, function, "BadRequest", "bucket name", do="get", bucket="no such/name", key="k")


def test_over_http_values_keep_their_type(http):
    bucket = fresh_name("bucket")
    at = f"/squall/v1/state/{bucket}"
    assert http("GET", f"{at}/k")[0] == 404
    assert http("PUT", f"/squall/v1/buckets/{bucket}", {"durability": "buffered"})[0] == 200
    status, headers, body = http("GET", f"{at}/k")
    assert (status, headers["x-amzn-errortype"]) == (404, "UnknownKey"), body
    json_type = {"content-type": "application/json"}
    assert http("PUT", f"{at}/dir/k", b'{"a": 1}', json_type)[0] == 204
    assert http("PUT", f"{at}/raw", b"\x00\x01")[0] == 204
    status, headers, body = http("GET", f"{at}/dir/k")
    assert (headers["content-type"], json.loads(body)) == ("application/json", {"a": 1})
    status, headers, body = http("GET", f"{at}/raw")
    assert (headers["content-type"], body) == ("application/octet-stream", b"\x00\x01")
    assert json.loads(http("GET", f"{at}?prefix=dir%2F")[2]) == {"keys": ["dir/k"], "after": None}
    assert json.loads(http("GET", f"{at}?limit=1")[2]) == {"keys": ["dir/k"], "after": "dir/k"}
    assert json.loads(http("GET", f"{at}?limit=1&after=dir%2Fk")[2])["keys"] == ["raw"]
    added = http("POST", f"{at}/hits", {"method": "counter.add", "by": 3})
    assert json.loads(added[2]) == {"result": 3}
    assert http("DELETE", f"{at}/raw")[0] == 204
    assert http("GET", f"{at}/raw")[0] == 404


def check_http(http, status, name, *request, **more):
    got, headers, body = http(*request, **more)
    assert (got, headers["x-amzn-errortype"]) == (status, name), (got, body)


def test_over_http_nothing_goes_wrong_without_a_word(http):
    bucket = fresh_name("bucket")
    http("PUT", f"/squall/v1/buckets/{bucket}")
    at = f"/squall/v1/state/{bucket}/k"
    check_http(http, 403, "MissingAuthenticationTokenException", "GET", at, signed=False)
    check_http(http, 404, "UnknownBucket", "PUT", "/squall/v1/state/nowhere/k", b"x")
    check_http(http, 403, "BucketNotBound", "GET", at, headers={"x-squall-function": "somebody"})
    check_http(http, 400, "InvalidRequest", "GET", at, headers={"x-squall-consistency": "perfect"})
    check_http(http, 400, "ValidationException", "PUT", at, b"{", {"content-type": "application/json"})
    check_http(http, 400, "InvalidRequest", "POST", at, {"method": "counter.multiply", "by": 2})
    check_http(http, 400, "ValidationException", "PUT", f"/squall/v1/buckets/{bucket}2", {"durability": "maybe"})
    check_http(http, 409, "BucketExists", "PUT", f"/squall/v1/buckets/{bucket}", {"durability": "memory"})
    http("POST", at, {"method": "flag.set"})
    check_http(http, 409, "OtherLattice", "GET", at)


def test_the_command_line_reads_and_writes(server, client, function):
    bucket = fresh_name("bucket")
    run = lambda *args, **more: server.squall("state", *args, **more)  # noqa: E731
    run("bucket", "create", bucket)
    run("bind", bucket, function)
    run("put", bucket, "greeting", '{"hello": "world"}')
    assert ask(client, function, do="get", bucket=bucket, key="greeting") == {"hello": "world"}
    ask(client, function, do="put", bucket=bucket, key="from/python", value=[1, 2])
    assert json.loads(run("get", bucket, "from/python").stdout) == [1, 2]
    assert run("ls", bucket).stdout.split() == ["from/python", "greeting"]
    assert json.loads(run("ls", bucket, "--prefix", "g", "--output", "json").stdout) == {"keys": ["greeting"]}
    assert run("ask", bucket, "hits", '{"method": "counter.add", "by": 2}').stdout == "2\n"
    assert run("get", bucket, "hits").stdout == "2\n"
    run("rm", bucket, "greeting")
    missing = run("get", bucket, "greeting", check=False)
    assert missing.returncode == 1 and "there is no key" in missing.stderr, missing
    names = [b["name"] for b in json.loads(run("bucket", "ls", "--output", "json").stdout)["buckets"]]
    assert bucket in names
    run("unbind", bucket, function)
    check_refused(client, function, "NotBound", "bind", do="get", bucket=bucket, key="hits")
    assert "removed" in run("bucket", "rm", bucket).stdout
    assert run("bucket", "create", bucket, "--durability", "maybe", check=False).returncode == 1


def test_what_was_acknowledged_survives_kill_9(workdir):
    started = Server(workdir / "killed")
    with judged(started):
        started.start()
        client, http = started.client(), Http(started)
        name = create(client, PYTHON_FUNCTION)
        for number in range(30):
            ask(client, name, do="put", key=f"k{number:02}", value=number)
        http("PUT", "/squall/v1/buckets/other")
        assert http("PUT", "/squall/v1/state/other/k", b"kept")[0] == 204
        started.kill9()
        started.start()
        client, http = started.client(), Http(started)
        assert [ask(client, name, do="get", key=f"k{number:02}") for number in range(30)] == list(range(30))
        assert http("GET", "/squall/v1/state/other/k")[2] == b"kept"
