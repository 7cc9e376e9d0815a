"""A disk that is full: nothing acknowledged is lost, refusals say so, and it goes on when there is room again."""

import json
import os
import subprocess

import botocore.exceptions
import pytest

from conftest import judged
from functions import ECHO, PYTHON, ROLE, create, fresh_name, zipped
from squall_server import Server, wait_until

SIZE_MIB = 64


@pytest.fixture
def small_disk(workdir):
    """A file system of a few megabytes; only root can make one."""
    if os.getuid() != 0:
        pytest.skip("mounting a small file system needs root")
    folder = workdir / fresh_name("disk")
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "squall-e2e", folder],
                             capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def incompressible(size):
    return zipped({"app.py": ECHO, "ballast": os.urandom(size)})


def test_a_full_disk_refuses_and_loses_nothing(small_disk):
    server = Server(small_disk / "data")
    server.log = small_disk.parent / "small-disk.log"
    # A disk that is full may be complained of.
    server.expected += [r"(?i)no space|os error 28|storage|disk|could not"]
    with judged(server):
        server.start()
        client = server.client()
        made = [create(client, ECHO)]
        refused = None
        for _ in range(40):
            name = fresh_name("full")
            try:
                client.create_function(FunctionName=name, Runtime=PYTHON, Role=ROLE, Handler="app.handler",
                                       Code={"ZipFile": incompressible(3 << 20)})
                made.append(name)
            except botocore.exceptions.ClientError as error:
                refused = error.response
                break
        assert refused, "the disk never became full"
        assert refused["ResponseMetadata"]["HTTPStatusCode"] in (500, 507) or \
            refused["Error"]["Code"] == "CodeStorageExceededException", refused
        assert refused["Error"]["Message"]
        listed = {f["FunctionName"] for page in client.get_paginator("list_functions").paginate()
                  for f in page["Functions"]}
        assert set(made) <= listed and name not in listed
        # Room again, by what a user would do: remove functions.
        for gone in made[1:]:
            client.delete_function(FunctionName=gone)
        server.kill9()
        server.start()
        client = server.client()

        def works():
            try:
                return create(client, ECHO)
            except botocore.exceptions.ClientError:
                return None

        name = wait_until("a function can be made again", works, 30)
        assert json.loads(client.invoke(FunctionName=name, Payload=b"1")["Payload"].read()) == 1
        reply = client.invoke(FunctionName=made[0], Payload=b"2")
        assert json.loads(reply["Payload"].read()) == 2
