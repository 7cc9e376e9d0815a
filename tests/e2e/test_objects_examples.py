"""The examples of objects: each command of their READMEs, as a new user types it."""

import io
import json
import pathlib
import sys

import pytest
from PIL import Image

from functions import EXAMPLES
from squall_server import binary, wait_until
from test_event_examples import commands

AWS = pathlib.Path(sys.executable).with_name("aws")


@pytest.fixture(scope="module")
def shell(server, workdir):
    """Runs a line of a README: squall, aws and the tested Python are in the path."""
    tools = workdir / "bin"
    tools.mkdir()
    (tools / "aws").write_text(f"#!/bin/sh\nexec {sys.executable} {AWS} \"$@\"\n")
    (tools / "aws").chmod(0o755)
    image = Image.new("RGB", (640, 480), (200, 30, 30))
    image.save(workdir / "photo.jpg")

    def run(line):
        line = line.replace("photo.jpg s3:", f"{workdir / 'photo.jpg'} s3:")
        path = f"export PATH={tools}:{binary().resolve().parent}:$PATH PYTHON={sys.executable}"
        return server.run("bash", "-ec", f"{path}; {line}", cwd=EXAMPLES.parent, seconds=600).stdout

    return run


def test_an_upload_becomes_a_thumbnail_in_another_bucket(server, shell):
    *first, last = commands("thumbnails")
    for line in first:
        if not line.startswith("eval "):
            shell(line)
    listed = wait_until("the thumbnail is there", lambda: shell(last), 60, 0.5)
    assert "photo.png" in listed
    body = server.client("s3").get_object(Bucket="thumbnails", Key="photo.png")["Body"].read()
    thumbnail = Image.open(io.BytesIO(body))
    assert thumbnail.size == (128, 96) and thumbnail.getpixel((5, 5))[0] > 180


def test_a_role_opens_one_bucket_and_not_the_other(server, shell):
    *first, last = commands("two-buckets")
    for line in first:
        if not line.startswith("eval "):
            shell(line)
    answer = json.loads(shell(last))
    assert answer["public-notes"] == "for everybody\n"
    assert answer["private-notes"].startswith("AccessDenied: User: arn:aws:sts::000000000000:assumed-role/reader/two-buckets")
    denied = [line for line in map(json.loads, (server.data_dir / "audit.jsonl").read_text().splitlines())
              if not line["allowed"]]
    assert denied[-1]["resource"] == "arn:aws:s3:::private-notes/note"
