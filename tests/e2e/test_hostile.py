"""What strangers send: each gets Lambda's error, and the server serves on."""

import io
import json
import stat
import struct
import threading
import zipfile

import botocore.exceptions
import pytest

import wire
from functions import ECHO, PYTHON, ROLE, create, fresh_name, zipped
from squall_server import wait_until

CREATE = "/2015-03-31/functions"


@pytest.fixture(autouse=True)
def the_server_serves_on(client):
    """Whatever a test did: a good function of before answers afterwards."""
    yield
    name = create(client, ECHO)
    assert json.loads(client.invoke(FunctionName=name, Payload=b"1")["Payload"].read()) == 1
    client.delete_function(FunctionName=name)


def archive(*entries):
    """A zip of (name or ZipInfo, content)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in entries:
            file.writestr(name, content)
    return buffer.getvalue()


def symlink(name, target):
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return (info, target)


def bomb(megabytes):
    """Zeros: a thousandfold larger outside than inside."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("app.py", ECHO)
        with file.open("zeros", "w", force_zip64=True) as entry:
            for _ in range(megabytes):
                entry.write(bytes(1 << 20))
    return buffer.getvalue()


def lying(content):
    """A zip whose headers promise one byte where there are many."""
    size = len(content)
    package = bytearray(archive(("app.py", content)))
    for magic, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = package.index(magic) + offset
        assert struct.unpack_from("<I", package, at)[0] == size
        struct.pack_into("<I", package, at, 1)
    return bytes(package)


def refusal(client, package, **settings):
    """(error code, status, message) of a function that is never made, be it at once or when it is prepared."""
    name = fresh_name("hostile")
    arguments = {"FunctionName": name, "Runtime": PYTHON, "Role": ROLE, "Handler": "app.handler",
                 "Code": {"ZipFile": package}} | settings
    try:
        client.create_function(**arguments)
    except botocore.exceptions.ClientError as error:
        response = error.response
        with pytest.raises(client.exceptions.ResourceNotFoundException):
            client.get_function(FunctionName=name)
        return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Message"]

    def failed():
        configuration = client.get_function_configuration(FunctionName=name)
        assert configuration["State"] in ("Pending", "Failed"), f"accepted: {configuration}"
        return configuration if configuration["State"] == "Failed" else None

    configuration = wait_until("the function fails", failed, 60)
    client.delete_function(FunctionName=name)
    return configuration["StateReasonCode"], 0, configuration["StateReason"]


ESCAPES = {
    "zip-slip": archive(("app.py", ECHO), ("../../escaped", "x")),
    "zip-slip with backslashes": archive(("app.py", ECHO), ("..\\..\\escaped", "x")),
    "zip-slip in the middle": archive(("app.py", ECHO), ("a/../../escaped", "x")),
    "absolute path": archive(("app.py", ECHO), ("/tmp/squall-e2e-escaped", "x")),
    "symlink out": archive(("app.py", ECHO), symlink("out", "../../../etc")),
    "absolute symlink": archive(("app.py", ECHO), symlink("out", "/etc/passwd")),
    "write through a symlink": archive(("app.py", ECHO), symlink("out", "/tmp"), ("out/squall-e2e-escaped", "x")),
}


@pytest.mark.parametrize("what", ["text", "nothing", "cut", "garbage inside", "lying sizes"])
def test_what_is_no_zip_is_refused(client, what):
    good = archive(("app.py", ECHO * 100))
    middle = len(good) // 2
    package = {
        "text": b"this is not a zip", "nothing": b"", "cut": good[:middle],
        "garbage inside": good[:60] + b"\xff" * 40 + good[100:], "lying sizes": lying(ECHO * 100),
    }[what]
    code, status, message = refusal(client, package)
    assert code in ("InvalidParameterValueException", "InvalidZipFileException", "InvalidZipFile"), (code, message)
    assert status in (0, 400, 502) and message


@pytest.mark.parametrize("what", ESCAPES)
def test_a_package_that_reaches_out_is_refused_and_writes_nothing(client, server, what):
    import pathlib
    code, status, message = refusal(client, ESCAPES[what])
    assert status in (0, 400, 502) and "zip" in (code + message).lower(), (code, status, message)
    assert not pathlib.Path("/tmp/squall-e2e-escaped").exists()
    assert not list(server.data_dir.parent.rglob("*escaped*"))


def test_a_bomb_is_refused_before_it_fills_the_disk(client, server):
    code, status, message = refusal(client, bomb(300))
    assert status in (0, 400, 413) and message, (code, message)
    size = sum(path.stat().st_blocks * 512 for path in server.data_dir.rglob("*") if path.is_file())
    assert size < 400 << 20


def test_many_entries_are_refused_or_made(client):
    package = archive(("app.py", ECHO), *((f"d{n % 100}/f{n}", "") for n in range(20_000)))
    name = create(client, package)
    assert json.loads(client.invoke(FunctionName=name, Payload=b"2")["Payload"].read()) == 2


def test_a_package_over_fifty_megabytes_is_refused(server):
    body = json.dumps({"FunctionName": "large", "Code": {"ZipFile": "A" * (80 << 20)}}).encode()
    answer = wire.send_signed(server, CREATE, "POST", body=body)
    assert (answer.status, answer.headers["x-amzn-errortype"]) == (413, "RequestEntityTooLargeException"), answer


@pytest.mark.parametrize("settings, error, word", [
    ({"Runtime": "cobol74"}, "InvalidParameterValueException", "cobol74"),
    ({"Runtime": "python3.99"}, "InvalidParameterValueException", "python3.99"),
    ({"Handler": "x" * 129}, "ValidationException", "handler"),
    ({"MemorySize": 127}, "ValidationException", "memorySize"),
    ({"MemorySize": 1_000_000}, "ValidationException", "memorySize"),
    ({"Timeout": 0}, "ValidationException", "timeout"),
    ({"Timeout": 901}, "ValidationException", "timeout"),
    ({"FunctionName": "no spaces"}, "ValidationException", "functionName"),
    ({"FunctionName": "x" * 65}, "ValidationException", ""),
    ({"Role": "nobody"}, "ValidationException", "role"),
    ({"Environment": {"Variables": {"AWS_REGION": "x"}}}, "InvalidParameterValueException", "AWS_REGION"),
    ({"Environment": {"Variables": {"1BAD": "x"}}}, "ValidationException", ""),
    ({"Environment": {"Variables": {"BIG": "x" * 5000}}}, "InvalidParameterValueException", "4096"),
    ({"EphemeralStorage": {"Size": 1}}, "ValidationException", ""),
    ({"Architectures": ["arm64"]}, "InvalidParameterValueException", "arm64"),
])
def test_a_setting_out_of_bounds_is_named(server, settings, error, word):
    """Sent raw: boto3 would refuse some of these itself."""
    import base64
    request = {"FunctionName": fresh_name(), "Runtime": PYTHON, "Role": ROLE, "Handler": "app.handler",
               "Code": {"ZipFile": base64.b64encode(zipped({"app.py": ECHO})).decode()}} | settings
    answer = wire.send_signed(server, CREATE, "POST", body=json.dumps(request).encode())
    assert answer.status == 400, answer
    assert answer.headers["x-amzn-errortype"] in (error, "InvalidParameterValueException"), answer
    content = answer.json()
    assert word.lower() in (content.get("message") or content.get("Message")).lower(), content


@pytest.mark.parametrize("missing", ["Handler", "Runtime", "Role", "Code", "FunctionName"])
def test_a_setting_that_is_missing_is_named(server, missing):
    import base64
    request = {"FunctionName": fresh_name(), "Runtime": PYTHON, "Role": ROLE, "Handler": "app.handler",
               "Code": {"ZipFile": base64.b64encode(zipped({"app.py": ECHO})).decode()}}
    del request[missing]
    answer = wire.send_signed(server, CREATE, "POST", body=json.dumps(request).encode())
    assert answer.status == 400 and answer.headers["x-amzn-errortype"], answer
    assert missing.lower() in answer.body.decode().lower(), answer


@pytest.mark.parametrize("body", [
    b"", b"{", b"[]", b"null", b'"text"', b"\xff", b'{"FunctionName": 7}', b'{"FunctionName": {"a": []}}',
    b'{"Code": {"ZipFile": "*not base64*"}}', b"[" * 100_000, b'{"a":' * 50_000,
])
def test_a_body_of_the_wrong_shape_is_refused(server, body):
    answer = wire.send_signed(server, CREATE, "POST", body=body)
    assert answer.status == 400 and answer.headers["x-amzn-errortype"], answer


@pytest.mark.parametrize("path", [
    "/2015-03-31/functions/%2e%2e%2f%2e%2e/configuration", "/2015-03-31/functions/a%00b", "/2015-03-31/functions/%ff",
    "/2015-03-31/functions/" + "x" * 500, "/2015-03-31/functions/a:b:c:d:e:f:g:h:i", "/2015-03-31/nothing",
    "/2015-03-31/functions?MaxItems=0", "/2015-03-31/functions?MaxItems=x", "/2015-03-31/functions?Marker=%00",
    "/2015-03-31/functions?FunctionVersion=SOME", "/lambda-url/..%2f..%2fetc/passwd", "/%", "/",
])
def test_a_strange_path_is_answered_with_an_error(server, path):
    answer = wire.send_signed(server, path)
    assert 400 <= answer.status < 500, answer
    assert answer.headers.get("x-amzn-errortype"), answer


def test_a_method_that_is_not_there_is_refused(server):
    for method in ("PATCH", "PUT", "TRACE"):
        answer = wire.send_signed(server, CREATE, method)
        assert 400 <= answer.status < 500, (method, answer)


def test_code_that_was_never_uploaded_is_a_clear_refusal(client):
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        client.create_function(FunctionName=fresh_name(), Runtime=PYTHON, Role=ROLE, Handler="a.b",
                               Code={"S3Bucket": "bucket", "S3Key": "key"})
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400


def test_updating_to_a_broken_package_keeps_the_old_code(client):
    name = create(client, ECHO)
    before = client.get_function_configuration(FunctionName=name)["CodeSha256"]
    try:
        client.update_function_code(FunctionName=name, ZipFile=b"no zip")
    except botocore.exceptions.ClientError as error:
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] in (400, 502)
        assert client.get_function_configuration(FunctionName=name)["CodeSha256"] == before
    assert json.loads(client.invoke(FunctionName=name, Payload=b"3")["Payload"].read()) == 3


def test_one_function_is_created_once_by_many(client):
    name, package, outcomes = fresh_name(), zipped({"app.py": ECHO}), []

    def make():
        try:
            client.create_function(FunctionName=name, Runtime=PYTHON, Role=ROLE, Handler="app.handler",
                                   Code={"ZipFile": package})
            outcomes.append("made")
        except client.exceptions.ResourceConflictException:
            outcomes.append("refused")

    threads = [threading.Thread(target=make) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["made"] + ["refused"] * 9


def test_half_a_request_holds_nobody_up(server, client):
    import http.client
    host, port = server.endpoint.removeprefix("http://").split(":")
    held = []
    for _ in range(20):
        connection = http.client.HTTPConnection(host, int(port), timeout=5)
        connection.connect()
        connection.sock.sendall(b"POST /2015-03-31/functions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        held.append(connection)
    assert client.list_functions()["Functions"] is not None
    for connection in held:
        connection.close()
