"""The functions' state as components reach it: `wasi:keyvalue`, shared with functions in other languages."""

import json

from functions import EXAMPLES, ROLE, create, fresh_name, zipped
from squall_server import wait_until

COMPONENT = (EXAMPLES / "state-wasm-http-c" / "count.wasm").read_bytes()


def invoke(client, name, event):
    reply = client.invoke(FunctionName=name, Payload=json.dumps(event))
    body = json.loads(reply["Payload"].read())
    assert "FunctionError" not in reply, body
    return body


def deployed(client, **settings):
    return create(client, zipped({"function.wasm": COMPONENT}), runtime="wasm", handler="function.wasm", **settings)


def test_a_component_finds_what_it_has_kept(client, server):
    name = deployed(client)
    assert invoke(client, name, {"name": "Ada"}) == {"visits": 1, "last": None, "found": 2, "keys": 2}
    assert invoke(client, name, [1, "ü"]) == {"visits": 2, "last": {"name": "Ada"}, "found": 2, "keys": 2}
    server.restart()
    again = server.client()
    assert invoke(again, name, {}) == {"visits": 3, "last": [1, "ü"], "found": 2, "keys": 2}


def test_components_and_python_share_a_bucket(server):
    client = server.client()
    name = deployed(client)
    python = create(client, f"import squall\ndef handler(event, context):\n    shop = squall.bucket('{name}')\n"
                            "    return [shop.counter('visits').add(10), bytes(shop.get('last')).decode()]\n")
    invoke(client, name, {"n": 1})
    server.squall("state", "bind", name, python)
    assert invoke(client, python, {}) == [11, '{"n": 1}']
    assert invoke(client, name, {})["visits"] == 12
    assert server.squall("state", "get", name, "visits").stdout == "12\n"


def test_a_component_sees_only_the_buckets_that_are_bound_to_it(server):
    client = server.client()
    name, bucket = deployed(client), fresh_name("bucket")
    assert invoke(client, name, bucket) in ("no-such-store", "access-denied")
    server.squall("state", "bucket", "create", bucket)
    assert invoke(client, name, bucket) == "access-denied"
    server.squall("state", "bind", bucket, name)
    assert invoke(client, name, bucket) == "opened"
    assert invoke(client, name, "no such/name") == "other"


def test_another_draft_is_refused_by_name(server):
    client, name = server.client(), fresh_name()
    later = COMPONENT.replace(b"@0.2.0-draft", b"@0.2.9-draft")
    client.create_function(FunctionName=name, Runtime="wasm", Role=ROLE, Code={"ZipFile": zipped({"f.wasm": later})})
    found = lambda: client.get_function_configuration(FunctionName=name)  # noqa: E731
    wait_until(f"{name} is Failed", lambda: found()["State"] == "Failed", 60)
    assert "wasi:keyvalue/" in found()["StateReason"] and "not offered" in found()["StateReason"], found()
