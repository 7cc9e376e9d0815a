"""Uploads as they should not be, and as SDKs write them on the wire: chunks, trailers, broken bodies, a full disk."""

import base64
import hashlib
import hmac
import os
import socket
import threading
import urllib.parse
import zlib

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest
from botocore.exceptions import ClientError

import wire
from conftest import judged
from squall_server import Server, wait_until
from test_disk import small_disk  # noqa: F401 (a fixture)

MIB = 1024 * 1024


class Declared(botocore.auth.S3SigV4Auth):
    """Signs what `x-amz-content-sha256` is said to be, whatever the body is."""

    said = ""

    def payload(self, request):
        return self.said

    def _should_sha256_sign_payload(self, request):
        return True


def put(server, path, said, body, headers=None):
    """A PutObject whose payload hash is said to be `said`."""
    signer = type("Signer", (Declared,), {"said": said})
    return wire.send_signed(server, path, "PUT", headers or {}, body, signer=signer, service="s3")


def chunks(*pieces, trailer=b""):
    """aws-chunked without signatures."""
    framed = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return framed + b"0\r\n" + trailer + b"\r\n"


def crc32(data):
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big"))


def chunked_headers(length, trailer=True):
    headers = {"Content-Encoding": "aws-chunked", "x-amz-decoded-content-length": str(length)}
    return headers | ({"x-amz-trailer": "x-amz-checksum-crc32"} if trailer else {})


UNSIGNED = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"


def test_chunks_with_a_trailer(server, s3, bucket):
    data = os.urandom(300_000)
    good = chunks(data[:200_000], data[200_000:], trailer=b"x-amz-checksum-crc32:" + crc32(data) + b"\r\n")
    answer = put(server, f"/{bucket}/k", UNSIGNED, good, chunked_headers(len(data)))
    assert answer.status == 200, answer
    assert answer.headers["x-amz-checksum-crc32"] == crc32(data).decode()
    got = s3.get_object(Bucket=bucket, Key="k")
    assert got["Body"].read() == data and "ContentEncoding" not in got
    for name, body, code in [
        ("a wrong checksum", chunks(data, trailer=b"x-amz-checksum-crc32:AAAAAA==\r\n"), b"BadDigest"),
        ("no trailer", chunks(data), b"MalformedTrailerError"),
        ("too few bytes", chunks(data[:-1], trailer=b"x-amz-checksum-crc32:" + crc32(data) + b"\r\n"), b"Incomplete"),
        ("no end", good[:-30], b"Incomplete"),
        ("no chunks", data, b"Incomplete"),
    ]:
        answer = put(server, f"/{bucket}/{urllib.parse.quote(name)}", UNSIGNED, body, chunked_headers(len(data)))
        assert answer.status == 400 and code in answer.body, (name, answer)
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["k"]


def signed_chunks(server, headers, pieces, spoil=None):
    """aws-chunked with a signature for each chunk, as SDKs without trailers send them."""
    signature = headers["Authorization"].rpartition("Signature=")[2]
    stamp, region = headers["X-Amz-Date"], server.env["AWS_REGION"]
    key = b"AWS4" + server.env["AWS_SECRET_ACCESS_KEY"].encode()
    for part in (stamp[:8], region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    out = b""
    for number, piece in enumerate([*pieces, b""]):
        text = "\n".join(["AWS4-HMAC-SHA256-PAYLOAD", stamp, f"{stamp[:8]}/{region}/s3/aws4_request", signature,
                          hashlib.sha256(b"").hexdigest(), hashlib.sha256(piece).hexdigest()])
        signature = hmac.new(key, text.encode(), "sha256").hexdigest()
        sent = piece if number != spoil else piece[:-1] + bytes([piece[-1] ^ 1])
        out += b"%x;chunk-signature=%s\r\n%s\r\n" % (len(piece), signature.encode(), sent)
    return out


def test_chunks_that_are_signed(server, s3, bucket):
    data = os.urandom(150_000)
    pieces = [data[:65_536], data[65_536:131_072], data[131_072:]]
    for key, spoil, status in (("good", None, 200), ("spoilt", 1, 403)):
        url = f"{server.endpoint}/{bucket}/{key}"
        signer = type("Signer", (Declared,), {"said": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"})
        headers = wire.sign(server, url, "PUT", chunked_headers(len(data), trailer=False), signer=signer, service="s3")
        answer = wire.send(url, "PUT", headers, signed_chunks(server, headers, pieces, spoil))
        assert answer.status == status, (key, answer)
    assert s3.get_object(Bucket=bucket, Key="good")["Body"].read() == data
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 1


def test_a_body_that_is_not_the_one_that_was_signed(server, s3, bucket):
    for size in (10, 500_000):
        body = os.urandom(size)
        answer = put(server, f"/{bucket}/k", hashlib.sha256(b"another").hexdigest(), body)
        assert answer.status == 400 and b"XAmzContentSHA256Mismatch" in answer.body, answer
    assert put(server, f"/{bucket}/k", "UNSIGNED-PAYLOAD", b"any").status == 200
    assert put(server, f"/{bucket}/k", "nonsense", b"any").status in (400, 403)


def test_an_upload_that_breaks_off_leaves_nothing(server, s3, bucket):
    url = f"{server.endpoint}/{bucket}/k"
    data = os.urandom(2 * MIB)
    headers = wire.sign(server, url, "PUT", body=data, signer=botocore.auth.S3SigV4Auth, service="s3")
    address = urllib.parse.urlsplit(server.endpoint)
    files = lambda: [path for path in (server.data_dir / "objects").rglob("*") if path.is_file()]
    before = len(files())
    with socket.create_connection((address.hostname, address.port)) as connection:
        lines = [f"PUT /{bucket}/k HTTP/1.1", f"Host: {address.netloc}", f"Content-Length: {len(data)}"]
        lines += [f"{name}: {value}" for name, value in headers.items() if name.lower() not in ("host", "content-length")]
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + data[: MIB + 3])
    with pytest.raises(ClientError, match="404"):
        s3.head_object(Bucket=bucket, Key="k")
    s3.put_object(Bucket=bucket, Key="k", Body=data)
    wait_until("only the whole body is left", lambda: len(files()) == before + 1, 60)


def test_expect_100_continue_asks_before_the_body(server, s3, bucket):
    address = urllib.parse.urlsplit(server.endpoint)
    data = b"x" * 100_000
    for key, secret, line in (("k", None, b"HTTP/1.1 100 Continue"), ("l", "wrong", b"HTTP/1.1 403")):
        url = f"{server.endpoint}/{bucket}/{key}"
        headers = wire.sign(server, url, "PUT", body=data, signer=botocore.auth.S3SigV4Auth, service="s3", secret=secret)
        lines = [f"PUT /{bucket}/{key} HTTP/1.1", f"Host: {address.netloc}", f"Content-Length: {len(data)}",
                 "Expect: 100-continue"]
        lines += [f"{name}: {value}" for name, value in headers.items() if name.lower() not in ("host", "content-length")]
        with socket.create_connection((address.hostname, address.port), timeout=60) as connection:
            connection.sendall("\r\n".join([*lines, "", ""]).encode())
            first = connection.recv(4096)
            assert first.startswith(line), (key, first)
            if secret is None:
                connection.sendall(data)
                assert connection.recv(4096).startswith(b"HTTP/1.1 200")
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == data


def test_xml_that_is_none(server, s3, bucket):
    md5 = lambda body: {"Content-MD5": base64.b64encode(hashlib.md5(body).digest()).decode()}
    for query, body in (("delete", b"<Delete><Object>"), ("delete", b"{}"), ("notification", b"<x/>"),
                        ("delete", b"<Delete></Delete>")):
        method = "POST" if query == "delete" else "PUT"
        answer = wire.send_signed(server, f"/{bucket}?{query}", method, md5(body), body,
                                  signer=botocore.auth.S3SigV4Auth, service="s3")
        assert 400 <= answer.status < 500 and b"<Code>" in answer.body, (query, body, answer)
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = wire.send(f"{server.endpoint}/{bucket}", "POST", form, b"--x--", host=f"{bucket}.s3.localhost")
    assert answer.status == 501 and b"PostObject" in answer.body


def test_readers_and_writers_of_one_key(server, s3, bucket):
    """Every reader sees one of the bodies, whole."""
    bodies = [bytes([letter]) * (700_000 + letter) for letter in range(4)]
    s3.put_object(Bucket=bucket, Key="k", Body=bodies[0])
    problems, stop = [], threading.Event()

    def write():
        client = server.client("s3")
        for round in range(40):
            client.put_object(Bucket=bucket, Key="k", Body=bodies[round % 4])

    def read():
        client = server.client("s3")
        while not stop.is_set():
            got = client.get_object(Bucket=bucket, Key="k")
            data = got["Body"].read()
            if data not in bodies or got["ETag"].strip('"') != hashlib.md5(data).hexdigest():
                problems.append((len(data), got["ETag"]))

    readers = [threading.Thread(target=read) for _ in range(3)]
    for thread in readers:
        thread.start()
    write()
    stop.set()
    for thread in readers:
        thread.join(60)
    assert not problems
    assert s3.head_object(Bucket=bucket, Key="k")["ContentLength"] == len(bodies[3])


def test_a_full_disk_refuses_and_changes_nothing(small_disk):  # noqa: F811
    server = Server(small_disk / "data")
    server.log = small_disk.parent / "small-disk-objects.log"
    server.expected += [r"(?i)no space|os error 28|storage|disk|could not"]
    with judged(server):
        server.start()
        s3 = server.client("s3")
        s3.create_bucket(Bucket="full")
        old = os.urandom(MIB)
        s3.put_object(Bucket="full", Key="k", Body=old)
        with pytest.raises(ClientError) as refused:
            s3.put_object(Bucket="full", Key="k", Body=os.urandom(100 * MIB))
        answer = refused.value.response
        assert answer["Error"]["Code"] == "InsufficientStorage", answer
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 507
        assert s3.get_object(Bucket="full", Key="k")["Body"].read() == old
        # What was written of it is gone: there is room again.
        s3.put_object(Bucket="full", Key="l", Body=os.urandom(MIB))
        assert [entry["Key"] for entry in s3.list_objects_v2(Bucket="full")["Contents"]] == ["k", "l"]
