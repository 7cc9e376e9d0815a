"""S3's API through boto3: buckets, objects, listing, multipart, checksums, presigned links, conditions."""

import base64
import datetime
import hashlib
import io
import os
import unittest.mock
import urllib.parse
import zlib

import boto3
import boto3.s3.transfer
import botocore.auth
import botocore.config
import pytest
from botocore.exceptions import ClientError

import wire
from functions import PYTHON, ROLE, fresh_name, zipped

MIB = 1024 * 1024


def refused(call, code, status=None):
    with pytest.raises(ClientError) as error:
        call()
    answer = error.value.response
    assert answer["Error"]["Code"] == code, answer
    if status:
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == status, answer
    return answer["Error"].get("Message", "")


def body_of(s3, bucket, key, **more):
    return s3.get_object(Bucket=bucket, Key=key, **more)["Body"].read()


def test_the_life_of_a_bucket(s3):
    name = fresh_name("life")
    made = s3.create_bucket(Bucket=name)
    assert made["Location"] == f"/{name}"
    refused(lambda: s3.create_bucket(Bucket=name), "BucketAlreadyOwnedByYou", 409)
    assert s3.head_bucket(Bucket=name)["BucketRegion"] == "us-east-1"
    assert s3.get_bucket_location(Bucket=name)["LocationConstraint"] is None
    assert "Status" not in s3.get_bucket_versioning(Bucket=name)
    assert name in [found["Name"] for found in s3.list_buckets()["Buckets"]]
    s3.put_object(Bucket=name, Key="k", Body=b"x")
    refused(lambda: s3.delete_bucket(Bucket=name), "BucketNotEmpty", 409)
    s3.delete_object(Bucket=name, Key="k")
    upload = s3.create_multipart_upload(Bucket=name, Key="k")["UploadId"]
    s3.upload_part(Bucket=name, Key="k", UploadId=upload, PartNumber=1, Body=b"x" * MIB)
    s3.delete_bucket(Bucket=name)
    refused(lambda: s3.head_bucket(Bucket=name), "404", 404)
    refused(lambda: s3.list_objects_v2(Bucket=name), "NoSuchBucket", 404)
    refused(lambda: s3.put_object(Bucket=name, Key="k", Body=b""), "NoSuchBucket", 404)
    s3.create_bucket(Bucket=name)
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=name)


def test_buckets_elsewhere_or_of_odd_names_are_refused(s3, server):
    where = {"LocationConstraint": "eu-west-1"}
    refused(lambda: s3.create_bucket(Bucket=fresh_name("b"), CreateBucketConfiguration=where),
            "IllegalLocationConstraintException", 400)
    for name in ["Upper", "a_b", "ab", "10.0.0.1", "-abc"]:
        answer = wire.send_signed(server, f"/{name}", "PUT", signer=botocore.auth.S3SigV4Auth, service="s3")
        assert answer.status == 400 and b"InvalidBucketName" in answer.body, (name, answer)


def test_an_object_comes_back_as_it_went(s3, bucket):
    data = os.urandom(70_000)
    put = s3.put_object(
        Bucket=bucket, Key="a/b.bin", Body=data, ContentType="image/png", CacheControl="no-cache",
        ContentDisposition="attachment", ContentLanguage="de", ContentEncoding="gzip", Expires="2030-01-02T03:04:05Z",
        Metadata={"name": "Ada", "odd": "a b"}, Tagging="k=v%201&l=",
    )
    assert put["ETag"] == f'"{hashlib.md5(data).hexdigest()}"'
    got = s3.get_object(Bucket=bucket, Key="a/b.bin")
    assert got["Body"].read() == data
    head = s3.head_object(Bucket=bucket, Key="a/b.bin")
    for answer in (got, head):
        assert answer["ContentLength"] == len(data)
        assert answer["ETag"] == put["ETag"]
        assert answer["ContentType"] == "image/png"
        assert answer["CacheControl"] == "no-cache"
        assert answer["ContentDisposition"] == "attachment"
        assert answer["ContentLanguage"] == "de"
        assert answer["ContentEncoding"] == "gzip"
        assert answer["ExpiresString"] == "Wed, 02 Jan 2030 03:04:05 GMT"
        assert answer["Metadata"] == {"name": "Ada", "odd": "a b"}
        assert answer["AcceptRanges"] == "bytes"
    assert got["TagCount"] == 2
    tags = [{"Key": "k", "Value": "v 1"}, {"Key": "l", "Value": ""}]
    assert s3.get_object_tagging(Bucket=bucket, Key="a/b.bin")["TagSet"] == tags
    s3.put_object_tagging(Bucket=bucket, Key="a/b.bin", Tagging={"TagSet": tags[:1]})
    assert s3.get_object_tagging(Bucket=bucket, Key="a/b.bin")["TagSet"] == tags[:1]
    s3.delete_object_tagging(Bucket=bucket, Key="a/b.bin")
    assert s3.get_object_tagging(Bucket=bucket, Key="a/b.bin")["TagSet"] == []
    over = s3.get_object(Bucket=bucket, Key="a/b.bin", ResponseContentType="text/x", ResponseCacheControl="private")
    assert (over["ContentType"], over["CacheControl"]) == ("text/x", "private")
    s3.put_object(Bucket=bucket, Key="a/b.bin", Body=b"short")
    assert s3.head_object(Bucket=bucket, Key="a/b.bin")["ContentType"] == "binary/octet-stream"
    s3.delete_object(Bucket=bucket, Key="a/b.bin")
    s3.delete_object(Bucket=bucket, Key="a/b.bin")
    refused(lambda: s3.get_object(Bucket=bucket, Key="a/b.bin"), "NoSuchKey", 404)
    refused(lambda: s3.head_object(Bucket=bucket, Key="a/b.bin"), "404", 404)


@pytest.mark.parametrize("size", [0, 1, 16 * 1024, 16 * 1024 + 1, 256 * 1024, 3 * MIB + 7])
def test_bodies_of_all_sizes_and_their_ranges(s3, bucket, size):
    data = os.urandom(size)
    s3.put_object(Bucket=bucket, Key="k", Body=data)
    assert body_of(s3, bucket, "k") == data
    refused(lambda: s3.get_object(Bucket=bucket, Key="k", Range=f"bytes={size}-"), "InvalidRange", 416)
    if not size:
        return
    for asked, expected in [
        ("bytes=0-0", data[:1]),
        (f"bytes={size // 2}-", data[size // 2:]),
        ("bytes=-1", data[-1:]),
        (f"bytes=-{size + 10}", data),
        (f"bytes=0-{size + 10}", data),
        (f"bytes={size - 1}-{size - 1}", data[-1:]),
    ]:
        got = s3.get_object(Bucket=bucket, Key="k", Range=asked)
        assert got["ResponseMetadata"]["HTTPStatusCode"] == 206, asked
        assert got["Body"].read() == expected, asked
        assert got["ContentRange"].endswith(f"/{size}"), got["ContentRange"]


ODD_KEYS = [
    "../../etc/passwd", "..", ".", "a//b", "/leading", "trailing/", "a b+c%20d", "ünï/\U0001f600", "q?x=1&y#z",
    "<&>\"'", "k" * 1024, "\u00fc" * 512, "a\tb", "\x7f",
]


def test_keys_are_texts_and_never_paths(s3, bucket, server):
    for number, key in enumerate(ODD_KEYS):
        s3.put_object(Bucket=bucket, Key=key, Body=b"%d" % number)
    for number, key in enumerate(ODD_KEYS):
        assert body_of(s3, bucket, key) == b"%d" % number, key
    found = [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    assert found == sorted(ODD_KEYS, key=str.encode)
    for key in ("k" * 1025, "\u00fc" * 513):
        refused(lambda: s3.put_object(Bucket=bucket, Key=key, Body=b""), "KeyTooLongError", 400)
    refused(lambda: s3.put_object(Bucket=bucket, Key="a\0b", Body=b""), "InvalidArgument", 400)
    copied = s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "ünï/\U0001f600"})
    assert copied["CopyObjectResult"]["ETag"] == s3.head_object(Bucket=bucket, Key="copy")["ETag"]
    done = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in [*ODD_KEYS, "copy"]]})
    assert "Errors" not in done and len(done["Deleted"]) == len(ODD_KEYS) + 1
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_listing_pages_and_rolls_up(s3, bucket):
    keys = [f"dir{d}/sub{n % 3}/{n:03}" for d in range(3) for n in range(40)] + ["a", "b", "zz"]
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    for version in ("list_objects", "list_objects_v2"):
        pages = s3.get_paginator(version)
        size = {"PaginationConfig": {"PageSize": 7}}
        found = [entry["Key"] for page in pages.paginate(Bucket=bucket, **size) for entry in page.get("Contents", [])]
        assert found == sorted(keys), version
        rolled = list(pages.paginate(Bucket=bucket, Delimiter="/", PaginationConfig={"PageSize": 2}))
        assert [e["Key"] for page in rolled for e in page.get("Contents", [])] == ["a", "b", "zz"]
        assert [p["Prefix"] for page in rolled for p in page.get("CommonPrefixes", [])] == ["dir0/", "dir1/", "dir2/"]
        inside = list(pages.paginate(Bucket=bucket, Delimiter="/", Prefix="dir1/", PaginationConfig={"PageSize": 1}))
        assert [p["Prefix"] for page in inside for p in page.get("CommonPrefixes", [])] == [
            "dir1/sub0/", "dir1/sub1/", "dir1/sub2/"]
        assert [e["Key"] for page in pages.paginate(Bucket=bucket, Prefix="dir2/sub1/00") for e in page["Contents"]] == [
            "dir2/sub1/001", "dir2/sub1/004", "dir2/sub1/007"]
    after = s3.list_objects_v2(Bucket=bucket, StartAfter="dir2/sub2/038", FetchOwner=True)
    assert [entry["Key"] for entry in after["Contents"]] == ["zz"]
    assert after["Contents"][0]["Owner"]["ID"] == "000000000000"
    assert s3.list_objects_v2(Bucket=bucket, MaxKeys=0)["KeyCount"] == 0
    refused(lambda: s3.list_objects_v2(Bucket=bucket, ContinuationToken="%%"), "InvalidArgument", 400)


def test_reads_on_conditions(s3, bucket):
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"data")["ETag"]
    changed = s3.head_object(Bucket=bucket, Key="k")["LastModified"]
    get = lambda **more: s3.get_object(Bucket=bucket, Key="k", **more)
    assert get(IfMatch=etag)["Body"].read() == b"data"
    refused(lambda: get(IfMatch='"0"'), "PreconditionFailed", 412)
    refused(lambda: get(IfNoneMatch=etag), "304", 304)
    assert get(IfNoneMatch='"0"')["Body"].read() == b"data"
    refused(lambda: get(IfModifiedSince=changed), "304", 304)
    assert get(IfUnmodifiedSince=changed)["Body"].read() == b"data"
    refused(lambda: get(IfUnmodifiedSince="2020-01-01"), "PreconditionFailed", 412)
    refused(lambda: s3.head_object(Bucket=bucket, Key="k", IfNoneMatch=etag), "304", 304)


def test_writes_on_conditions(s3, bucket):
    put = lambda **more: s3.put_object(Bucket=bucket, Key="k", Body=b"x", **more)
    refused(lambda: put(IfMatch='"0"'), "NoSuchKey", 404)
    etag = put(IfNoneMatch="*")["ETag"]
    refused(lambda: put(IfNoneMatch="*"), "PreconditionFailed", 412)
    refused(lambda: put(IfMatch='"0"'), "PreconditionFailed", 412)
    assert put(IfMatch=etag)["ETag"] == etag
    refused(lambda: put(IfNoneMatch=etag), "NotImplemented", 501)


def test_copies(s3, bucket):
    source = {"Bucket": bucket, "Key": "from"}
    for size in (10, 100_000):
        data = os.urandom(size)
        s3.put_object(Bucket=bucket, Key="from", Body=data, ContentType="text/a", Metadata={"m": "1"}, Tagging="t=1")
        s3.copy_object(Bucket=bucket, Key="to", CopySource=source)
        kept = s3.get_object(Bucket=bucket, Key="to")
        assert (kept["Body"].read(), kept["ContentType"], kept["Metadata"]) == (data, "text/a", {"m": "1"})
        assert s3.get_object_tagging(Bucket=bucket, Key="to")["TagSet"] == [{"Key": "t", "Value": "1"}]
        s3.copy_object(Bucket=bucket, Key="to", CopySource=source, MetadataDirective="REPLACE", ContentType="text/b",
                       ChecksumAlgorithm="SHA256")
        anew = s3.head_object(Bucket=bucket, Key="to", ChecksumMode="ENABLED")
        assert (anew["ContentType"], anew["Metadata"]) == ("text/b", {})
        assert anew["ChecksumSHA256"] == base64.b64encode(hashlib.sha256(data).digest()).decode()
        s3.delete_object(Bucket=bucket, Key="from")
        assert body_of(s3, bucket, "to") == data, "a copy does not depend on what it was made of"
    refused(lambda: s3.copy_object(Bucket=bucket, Key="x", CopySource=source), "NoSuchKey", 404)
    same = {"Bucket": bucket, "Key": "to"}
    refused(lambda: s3.copy_object(Bucket=bucket, Key="to", CopySource=same), "InvalidRequest", 400)
    s3.copy_object(Bucket=bucket, Key="to", CopySource=same, MetadataDirective="REPLACE", Metadata={"n": "2"})
    assert s3.head_object(Bucket=bucket, Key="to")["Metadata"] == {"n": "2"}
    assert body_of(s3, bucket, "to") == data
    refused(lambda: s3.copy_object(Bucket=bucket, Key="y", CopySource=same, CopySourceIfMatch='"0"'),
            "PreconditionFailed", 412)


def test_checksums_are_checked_and_told(s3, bucket):
    data = b"123456789"
    sums = {"CRC32": "y/Q5Jg==", "CRC32C": "4waSgw==", "CRC64NVME": "rosUhgp5mIg=",
            "SHA1": base64.b64encode(hashlib.sha1(data).digest()).decode(),
            "SHA256": base64.b64encode(hashlib.sha256(data).digest()).decode()}
    for name, value in sums.items():
        member = f"Checksum{name}"
        put = s3.put_object(Bucket=bucket, Key=name, Body=data, **{member: value})
        assert (put[member], put["ChecksumType"]) == (value, "FULL_OBJECT")
        assert s3.head_object(Bucket=bucket, Key=name, ChecksumMode="ENABLED")[member] == value
        wrong = base64.b64encode(b"\0" * len(base64.b64decode(value))).decode()
        refused(lambda: s3.put_object(Bucket=bucket, Key="no", Body=data, **{member: wrong}), "BadDigest", 400)
        refused(lambda: s3.put_object(Bucket=bucket, Key="no", Body=data, **{member: "%"}), "InvalidRequest", 400)
    # What boto3 sends of itself today.
    assert s3.put_object(Bucket=bucket, Key="plain", Body=data)["ChecksumCRC32"] == sums["CRC32"]
    md5 = base64.b64encode(hashlib.md5(data).digest()).decode()
    s3.put_object(Bucket=bucket, Key="md5", Body=data, ContentMD5=md5)
    refused(lambda: s3.put_object(Bucket=bucket, Key="no", Body=data + b"x", ContentMD5=md5), "BadDigest", 400)
    refused(lambda: s3.put_object(Bucket=bucket, Key="no", Body=data, ContentMD5="eA=="), "InvalidDigest", 400)
    refused(lambda: s3.head_object(Bucket=bucket, Key="no"), "404", 404)


def upload(s3, bucket, key, parts, **more):
    made = s3.create_multipart_upload(Bucket=bucket, Key=key, **more)["UploadId"]
    sent = []
    for number, part in enumerate(parts, 1):
        answer = s3.upload_part(Bucket=bucket, Key=key, UploadId=made, PartNumber=number, Body=part)
        sent.append({"PartNumber": number, "ETag": answer["ETag"]})
    return made, sent


def test_multipart_by_hand(s3, bucket):
    parts = [os.urandom(5 * MIB), os.urandom(5 * MIB + 1), b"end"]
    made, sent = upload(s3, bucket, "big", parts, ContentType="video/x", Metadata={"m": "1"}, Tagging="t=1")
    refused(lambda: s3.head_object(Bucket=bucket, Key="big"), "404", 404)
    assert [one["UploadId"] for one in s3.list_multipart_uploads(Bucket=bucket)["Uploads"]] == [made]
    first = s3.list_parts(Bucket=bucket, Key="big", UploadId=made, MaxParts=2)
    assert [part["Size"] for part in first["Parts"]] == [5 * MIB, 5 * MIB + 1] and first["IsTruncated"]
    rest = s3.list_parts(Bucket=bucket, Key="big", UploadId=made, PartNumberMarker=first["NextPartNumberMarker"])
    assert [part["PartNumber"] for part in rest["Parts"]] == [3] and not rest["IsTruncated"]
    complete = lambda parts: s3.complete_multipart_upload(
        Bucket=bucket, Key="big", UploadId=made, MultipartUpload={"Parts": parts})
    refused(lambda: complete([sent[1], sent[0], sent[2]]), "InvalidPartOrder", 400)
    refused(lambda: complete([*sent, {"PartNumber": 4, "ETag": '"0"'}]), "InvalidPart", 400)
    refused(lambda: complete([{"PartNumber": 1, "ETag": '"0"'}]), "InvalidPart", 400)
    refused(lambda: complete([sent[0], sent[2], {"PartNumber": 4, "ETag": sent[2]["ETag"]}]), "InvalidPart", 400)
    s3.upload_part(Bucket=bucket, Key="big", UploadId=made, PartNumber=4, Body=b"never named")
    done = complete(sent)
    digests = b"".join(hashlib.md5(part).digest() for part in parts)
    etag = f'"{hashlib.md5(digests).hexdigest()}-3"'
    assert done["ETag"] == etag
    head = s3.head_object(Bucket=bucket, Key="big", PartNumber=2)
    assert (head["PartsCount"], head["ContentLength"]) == (3, 5 * MIB + 1)
    assert (head["ContentType"], head["Metadata"], head["ETag"]) == ("video/x", {"m": "1"}, etag)
    assert body_of(s3, bucket, "big") == b"".join(parts)
    assert body_of(s3, bucket, "big", PartNumber=3) == b"end"
    middle = body_of(s3, bucket, "big", Range=f"bytes={5 * MIB - 2}-{5 * MIB + 1}")
    assert middle == parts[0][-2:] + parts[1][:2]
    refused(lambda: s3.get_object(Bucket=bucket, Key="big", PartNumber=4), "InvalidPartNumber", 416)
    refused(lambda: complete(sent), "NoSuchUpload", 404)
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "big"})
    assert s3.head_object(Bucket=bucket, Key="copy")["ETag"] == f'"{hashlib.md5(b"".join(parts)).hexdigest()}"'


def test_parts_that_are_too_small_or_aborted(s3, bucket):
    made, sent = upload(s3, bucket, "k", [b"small", b"end"])
    refused(lambda: s3.complete_multipart_upload(
        Bucket=bucket, Key="k", UploadId=made, MultipartUpload={"Parts": sent}), "EntityTooSmall", 400)
    s3.abort_multipart_upload(Bucket=bucket, Key="k", UploadId=made)
    refused(lambda: s3.abort_multipart_upload(Bucket=bucket, Key="k", UploadId=made), "NoSuchUpload", 404)
    refused(lambda: s3.upload_part(Bucket=bucket, Key="k", UploadId=made, PartNumber=1, Body=b""), "NoSuchUpload", 404)
    refused(lambda: s3.upload_part(Bucket=bucket, Key="k", UploadId="nonsense", PartNumber=1, Body=b""), "NoSuchUpload")
    again, _ = upload(s3, bucket, "k", [])
    for number in (0, 10_001):
        refused(lambda: s3.upload_part(Bucket=bucket, Key="k", UploadId=again, PartNumber=number, Body=b""),
                "InvalidArgument", 400)


def test_uploads_of_one_key_do_not_touch_each_other(s3, bucket):
    one, one_sent = upload(s3, bucket, "k", [b"one"])
    two, two_sent = upload(s3, bucket, "k", [b"two"])
    listed = s3.list_multipart_uploads(Bucket=bucket)["Uploads"]
    assert [upload["UploadId"] for upload in listed] == [one, two]
    page = s3.list_multipart_uploads(Bucket=bucket, MaxUploads=1)
    rest = s3.list_multipart_uploads(Bucket=bucket, KeyMarker=page["NextKeyMarker"],
                                     UploadIdMarker=page["NextUploadIdMarker"])
    assert [upload["UploadId"] for upload in rest["Uploads"]] == [two]
    s3.complete_multipart_upload(Bucket=bucket, Key="k", UploadId=two, MultipartUpload={"Parts": two_sent})
    assert body_of(s3, bucket, "k") == b"two"
    s3.complete_multipart_upload(Bucket=bucket, Key="k", UploadId=one, MultipartUpload={"Parts": one_sent})
    assert body_of(s3, bucket, "k") == b"one"


def test_parts_are_copied_from_objects(s3, bucket):
    data = os.urandom(6 * MIB)
    s3.put_object(Bucket=bucket, Key="from", Body=data)
    made, _ = upload(s3, bucket, "to", [])
    source = {"Bucket": bucket, "Key": "from"}
    copy = lambda number, **more: s3.upload_part_copy(
        Bucket=bucket, Key="to", UploadId=made, PartNumber=number, CopySource=source, **more)["CopyPartResult"]["ETag"]
    sent = [{"PartNumber": 1, "ETag": copy(1)}, {"PartNumber": 2, "ETag": copy(2, CopySourceRange="bytes=0-9")}]
    refused(lambda: copy(3, CopySourceRange=f"bytes=0-{len(data)}"), "InvalidArgument", 400)
    s3.complete_multipart_upload(Bucket=bucket, Key="to", UploadId=made, MultipartUpload={"Parts": sent})
    assert body_of(s3, bucket, "to") == data + data[:10]


@pytest.mark.parametrize("kind", ["COMPOSITE", "FULL_OBJECT"])
def test_the_checksum_of_parts(s3, bucket, kind):
    parts = [os.urandom(5 * MIB), b"end"]
    made = s3.create_multipart_upload(Bucket=bucket, Key="k", ChecksumAlgorithm="CRC32", ChecksumType=kind)["UploadId"]
    sent = []
    for number, part in enumerate(parts, 1):
        answer = s3.upload_part(Bucket=bucket, Key="k", UploadId=made, PartNumber=number, Body=part,
                                ChecksumAlgorithm="CRC32")
        sent.append({"PartNumber": number, "ETag": answer["ETag"], "ChecksumCRC32": answer["ChecksumCRC32"]})
    crc = lambda data: zlib.crc32(data).to_bytes(4, "big")
    whole = {"COMPOSITE": base64.b64encode(crc(b"".join(map(crc, parts)))).decode() + "-2",
             "FULL_OBJECT": base64.b64encode(crc(b"".join(parts))).decode()}[kind]
    complete = lambda **more: s3.complete_multipart_upload(
        Bucket=bucket, Key="k", UploadId=made, MultipartUpload={"Parts": sent}, **more)
    refused(lambda: complete(ChecksumCRC32="AAAAAA=="), "BadDigest", 400)
    refused(lambda: complete(MpuObjectSize=7), "InvalidArgument", 400)
    done = complete(ChecksumCRC32=whole, ChecksumType=kind)
    assert (done["ChecksumCRC32"], done["ChecksumType"]) == (whole, kind)


def test_the_transfer_manager_and_the_resource(server, s3, bucket, workdir):
    data = os.urandom(13 * MIB)
    file = workdir / "thirteen"
    file.write_bytes(data)
    config = boto3.s3.transfer.TransferConfig(multipart_threshold=6 * MIB, multipart_chunksize=5 * MIB)
    s3.upload_file(str(file), bucket, "file", Config=config, ExtraArgs={"ContentType": "x/y"})
    assert s3.head_object(Bucket=bucket, Key="file")["ETag"].endswith('-3"')
    s3.download_file(bucket, "file", str(workdir / "back"), Config=config)
    assert (workdir / "back").read_bytes() == data
    resource = server.session().resource("s3", endpoint_url=server.env["AWS_ENDPOINT_URL"])
    held = resource.Bucket(bucket)
    held.upload_fileobj(io.BytesIO(data), "obj", Config=config)
    sink = io.BytesIO()
    held.download_fileobj("obj", sink)
    assert sink.getvalue() == data
    held.copy({"Bucket": bucket, "Key": "obj"}, "managed-copy", Config=config)
    assert held.Object("managed-copy").get()["Body"].read() == data
    assert {one.key for one in held.objects.all()} == {"file", "obj", "managed-copy"}
    held.objects.all().delete()
    held.delete()


@pytest.mark.parametrize("version", ["s3", "s3v4"])
def test_presigned_links(server, s3, bucket, version):
    """boto3 signs links in version 2 where nobody says otherwise."""
    signer = server.client("s3", config=botocore.config.Config(signature_version=version))
    link = lambda operation, **more: signer.generate_presigned_url(operation, {"Bucket": bucket, "Key": "a b/ü"} | more, 60)
    put = link("put_object")
    assert ("X-Amz-Signature" in put) == (version == "s3v4")
    assert wire.send(put, "PUT", body=b"by link").status == 200
    get = link("get_object")
    answer = wire.send(get)
    assert (answer.status, answer.body) == (200, b"by link")
    assert wire.send(link("head_object"), "HEAD").status == 200
    shown = wire.send(link("get_object", ResponseContentType="text/x"))
    assert shown.headers["content-type"] == "text/x"
    forged = signer.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "another"}, 60).partition("?")[2]
    path = get.partition("?")[0]
    for wrong in (f"{path}?{forged}", get.replace("a%20b", "other"), path):
        assert wire.send(wrong).status == 403, wrong
    assert wire.send(get, "DELETE").status == 403
    stolen = wire.send(put, "PUT", headers={"x-amz-copy-source": f"/{bucket}/a%20b/%C3%BC"})
    assert stolen.status == 403, stolen
    if version == "s3v4":
        assert b"not signed: x-amz-copy-source" in stolen.body
    else:
        assert wire.send(put + "&x-amz-copy-source=x", "PUT").status == 403


def presigned_at(server, bucket, seconds_ago, expires):
    """A link that was signed at another time."""
    at = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=seconds_ago)
    signer = server.client("s3", config=botocore.config.Config(signature_version="s3v4"))
    with unittest.mock.patch("botocore.auth.get_current_datetime", lambda remove_tzinfo=True: at.replace(tzinfo=None)):
        return signer.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "k"}, expires)


def test_links_of_another_time(server, s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert wire.send(presigned_at(server, bucket, 50, 600)).status == 200
    expired = wire.send(presigned_at(server, bucket, 700, 600))
    assert expired.status == 403 and b"Request has expired" in expired.body
    early = wire.send(presigned_at(server, bucket, -3600, 60))
    assert early.status == 403 and b"RequestTimeTooSkewed" in early.body
    long = wire.send(presigned_at(server, bucket, 0, 604_801))
    assert long.status == 400 and b"X-Amz-Expires" in long.body
    old = s3.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "k"}, -60)
    assert b"Request has expired" in wire.send(old).body


def test_virtual_hosts(server, s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    port = urllib.parse.urlsplit(server.endpoint).port
    for host in (f"{bucket}.s3.localhost:{port}", f"{bucket}.s3.us-east-1.localhost:{port}", f"{bucket}.localhost:{port}"):
        signed = wire.sign(server, f"http://{host}/k", signer=botocore.auth.S3SigV4Auth, service="s3")
        answer = wire.send(f"{server.endpoint}/k", headers=signed, host=host)
        assert (answer.status, answer.body) == (200, b"x"), (host, answer)
    anonymous = wire.send(f"{server.endpoint}/k", host=f"{bucket}.s3.localhost")
    assert anonymous.status == 403 and b"<Code>AccessDenied</Code>" in anonymous.body


def test_strangers_and_wrong_signatures_are_refused(server, s3, bucket):
    stranger = boto3.client("s3", endpoint_url=server.endpoint, region_name="us-east-1", aws_access_key_id="AKIANOBODY",
                            aws_secret_access_key="x")
    refused(lambda: stranger.list_buckets(), "InvalidAccessKeyId", 403)
    key = server.env["AWS_ACCESS_KEY_ID"]
    forger = boto3.client("s3", endpoint_url=server.endpoint, region_name="us-east-1", aws_access_key_id=key,
                          aws_secret_access_key="x")
    refused(lambda: forger.list_buckets(), "SignatureDoesNotMatch", 403)
    elsewhere = server.session().client("s3", endpoint_url=server.endpoint, region_name="eu-west-1")
    refused(lambda: elsewhere.list_objects_v2(Bucket=bucket), "AuthorizationHeaderMalformed", 400)
    old = server.client("s3", config=botocore.config.Config(signature_version="s3"))
    refused(lambda: old.list_objects_v2(Bucket=bucket), "InvalidRequest", 400)


def test_what_is_not_offered_says_its_name(s3, bucket):
    assert "GetBucketPolicy" in refused(lambda: s3.get_bucket_policy(Bucket=bucket), "NotImplemented", 501)
    assert "PutBucketVersioning" in refused(lambda: s3.put_bucket_versioning(
        Bucket=bucket, VersioningConfiguration={"Status": "Enabled"}), "NotImplemented", 501)
    put = lambda **more: s3.put_object(Bucket=bucket, Key="k", Body=b"", **more)
    for wish in ({"ServerSideEncryption": "AES256"}, {"StorageClass": "GLACIER"}, {"ACL": "public-read"},
                 {"WebsiteRedirectLocation": "/x"}, {"GrantRead": "id=1"}):
        refused(lambda: put(**wish), "NotImplemented", 501)
    put(ACL="private", StorageClass="STANDARD", ExpectedBucketOwner="000000000000")
    refused(lambda: put(ExpectedBucketOwner="111122223333"), "AccessDenied", 403)
    refused(lambda: s3.get_object(Bucket=bucket, Key="k", VersionId="abc"), "InvalidArgument", 400)
    assert body_of(s3, bucket, "k", VersionId="null") == b""


def test_metadata_and_tags_have_bounds(s3, bucket):
    refused(lambda: s3.put_object(Bucket=bucket, Key="k", Metadata={"m": "x" * 2048}), "MetadataTooLarge", 400)
    many = {"TagSet": [{"Key": str(n), "Value": ""} for n in range(11)]}
    s3.put_object(Bucket=bucket, Key="k")
    refused(lambda: s3.put_object_tagging(Bucket=bucket, Key="k", Tagging=many), "BadRequest", 400)
    twice = {"TagSet": [{"Key": "a", "Value": ""}] * 2}
    refused(lambda: s3.put_object_tagging(Bucket=bucket, Key="k", Tagging=twice), "InvalidTag", 400)
    refused(lambda: s3.get_bucket_tagging(Bucket=bucket), "NoSuchTagSet", 404)
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == [{"Key": "a", "Value": "b"}]
    s3.delete_bucket_tagging(Bucket=bucket)


def test_code_comes_from_an_object(server, s3, bucket, client):
    s3.put_object(Bucket=bucket, Key="code.zip", Body=zipped({"app.py": "def handler(e, c):\n    return 'one'\n"}))
    name = fresh_name("from-s3")
    made = {"FunctionName": name, "Runtime": PYTHON, "Role": ROLE, "Handler": "app.handler"}
    with pytest.raises(client.exceptions.InvalidParameterValueException, match="S3 Error Code: NoSuchKey"):
        client.create_function(**made, Code={"S3Bucket": bucket, "S3Key": "nothing"})
    with pytest.raises(client.exceptions.InvalidParameterValueException, match="S3ObjectVersion"):
        client.create_function(**made, Code={"S3Bucket": bucket, "S3Key": "code.zip", "S3ObjectVersion": "7"})
    client.create_function(**made, Code={"S3Bucket": bucket, "S3Key": "code.zip"})
    client.get_waiter("function_active_v2").wait(FunctionName=name)
    assert client.invoke(FunctionName=name)["Payload"].read() == b'"one"'
    s3.put_object(Bucket=bucket, Key="code.zip", Body=zipped({"app.py": "def handler(e, c):\n    return 'two'\n"}))
    client.update_function_code(FunctionName=name, S3Bucket=bucket, S3Key="code.zip")
    client.get_waiter("function_updated_v2").wait(FunctionName=name)
    assert client.invoke(FunctionName=name)["Payload"].read() == b'"two"'
    link = client.get_function(FunctionName=name)["Code"]["Location"]
    assert wire.send(link).body == body_of(s3, bucket, "code.zip")
    assert wire.send(link.replace("Signature=", "Signature=0")).status == 403
