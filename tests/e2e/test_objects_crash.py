"""kill -9 at random moments while objects are uploaded: what was acknowledged is whole, and nothing else is visible.

SQUALL_E2E_SEED repeats a run's choices; SQUALL_E2E_UPLOADS and SQUALL_E2E_KILLS set its size: 1000 and 20 is the issue's.
"""

import hashlib
import os
import random
import threading
import time

import botocore.exceptions
import pytest

from conftest import judged
from squall_server import Server, wait_until

UPLOADS = int(os.environ.get("SQUALL_E2E_UPLOADS", 200))
KILLS = int(os.environ.get("SQUALL_E2E_KILLS", 5))
THREADS = 4
BUCKET = "crashes"
MIB = 1024 * 1024
# In the store, in one piece, in several, in parts.
SIZES = [10, 16 * 1024, 20_000, 300_000, 2 * MIB, 6 * MIB]
GONE = (botocore.exceptions.HTTPClientError, botocore.exceptions.ConnectionError)


def data_of(key, size):
    """The bytes of a key: whoever sees it knows what it must be."""
    return random.Random(key).randbytes(size)


class Uploaders:
    """Threads that upload objects of their own, each key once or twice, and note what was acknowledged."""

    def __init__(self, rng):
        self.todo = [(f"{number:05}-{rng.choice(SIZES)}", rng.random() < 0.3) for number in range(UPLOADS)]
        # Key -> ETag. Of those that were tried, only these must be there; those that were not tried must not.
        self.acknowledged, self.tried = {}, set()
        self.problems = []
        self.server_is_up = threading.Event()
        self._lock = threading.Lock()
        self._client = None
        self._threads = [threading.Thread(target=self._run) for _ in range(THREADS)]

    def start(self):
        for thread in self._threads:
            thread.start()

    def use(self, server):
        self._client = server.client("s3")
        self.server_is_up.set()

    def alive(self):
        return any(thread.is_alive() for thread in self._threads)

    def wait_for(self, wanted):
        """Until so many are acknowledged. What bounds it is the time without any progress."""
        while self.alive() and (before := len(self.acknowledged)) < wanted:
            wait_until("a further upload is acknowledged",
                       lambda: len(self.acknowledged) > before or not self.alive(), 120)

    def join(self):
        self.wait_for(UPLOADS)
        for thread in self._threads:
            thread.join(120)

    def _run(self):
        try:
            while True:
                with self._lock:
                    if not self.todo:
                        return
                    key, in_parts = self.todo.pop()
                    self.tried.add(key)
                self._upload(key, in_parts)
        except Exception as error:  # Whatever it is, the test's thread must hear of it.
            self.problems.append(repr(error))

    def _upload(self, key, in_parts):
        """Until it is acknowledged, by whichever server."""
        data = data_of(key, int(key.partition("-")[2]))
        while True:
            self.server_is_up.wait()
            try:
                etag = self._in_parts(key, data) if in_parts else \
                    self._client.put_object(Bucket=BUCKET, Key=key, Body=data)["ETag"]
                self.acknowledged[key] = etag.strip('"')
                return
            except GONE:
                time.sleep(0.05)  # The test's main thread starts the next server.
            except botocore.exceptions.ClientError as error:
                # The completion that was not acknowledged had happened.
                if error.response["Error"]["Code"] != "NoSuchUpload":
                    raise

    def _in_parts(self, key, data):
        client, size = self._client, 5 * MIB
        upload = client.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
        parts = []
        for number, start in enumerate(range(0, len(data), size), 1):
            etag = client.upload_part(Bucket=BUCKET, Key=key, UploadId=upload, PartNumber=number,
                                      Body=data[start:start + size])["ETag"]
            parts.append({"PartNumber": number, "ETag": etag})
        return client.complete_multipart_upload(Bucket=BUCKET, Key=key, UploadId=upload,
                                                MultipartUpload={"Parts": parts})["ETag"]


def etags_of(data):
    """What the ETag may be: of one request, or of parts."""
    digests = [hashlib.md5(data[start:start + 5 * MIB]).digest() for start in range(0, len(data), 5 * MIB)]
    return {hashlib.md5(data).hexdigest(), f"{hashlib.md5(b''.join(digests)).hexdigest()}-{len(digests)}"}


def check(server, uploaders):
    """Everything acknowledged is there and whole; everything that is there is whole."""
    s3 = server.client("s3")
    acknowledged = dict(uploaders.acknowledged)
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    listed = {entry["Key"]: entry for page in pages for entry in page.get("Contents", [])}
    assert set(acknowledged) <= set(listed), set(acknowledged) - set(listed)
    assert set(listed) <= uploaders.tried, set(listed) - uploaders.tried
    for key, entry in listed.items():
        data = data_of(key, int(key.partition("-")[2]))
        etag = entry["ETag"].strip('"')
        assert entry["Size"] == len(data) and etag in etags_of(data), entry
        assert key not in acknowledged or acknowledged[key] == etag, (key, acknowledged[key], etag)
        assert s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() == data, key


@pytest.mark.timeout(1500)
def test_what_was_acknowledged_is_whole_and_nothing_else_is_visible(workdir):
    seed = int(os.environ.get("SQUALL_E2E_SEED", random.randrange(2**32)))
    print(f"SQUALL_E2E_SEED={seed}")
    rng = random.Random(seed)
    uploaders = Uploaders(rng)
    with judged(Server(workdir / "crashed")) as server:
        server.start()
        server.client("s3").create_bucket(Bucket=BUCKET)
        uploaders.use(server)
        uploaders.start()
        for kill in range(1, KILLS + 1):
            uploaders.wait_for(UPLOADS * kill // (KILLS + 1) - rng.randrange(5))
            time.sleep(rng.random() * 0.05)  # Into the middle of whatever goes on.
            uploaders.server_is_up.clear()
            server.kill9()
            server.start()
            uploaders.use(server)
        uploaders.join()
        assert not uploaders.problems, uploaders.problems
        check(server, uploaders)
        # Once more, from the disk alone; and what the kills left behind is gone.
        server.kill9()
        server.start()
        check(server, uploaders)
        s3 = server.client("s3")
        for upload in s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []):
            s3.abort_multipart_upload(Bucket=BUCKET, Key=upload["Key"], UploadId=upload["UploadId"])
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
        for first in range(0, len(keys), 1000):
            s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": key} for key in keys[first:first + 1000]]})
        files = lambda: [path for path in (server.data_dir / "objects").rglob("*") if path.is_file()]
        wait_until("no body is left", lambda: not files(), 60)
