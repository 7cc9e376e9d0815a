"""The unmodified `aws s3`, with nothing but the environment of `squall env`."""

import os
import pathlib
import sys

import pytest

import wire
from functions import fresh_name

AWS = pathlib.Path(sys.executable).with_name("aws")
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def aws(server, workdir):
    """Runs `aws s3 …` and returns what it printed."""

    def run(*args, check=True):
        result = server.run(sys.executable, AWS, "s3", *args, check=check, cwd=workdir)
        return result.stdout if check else result

    return run


@pytest.fixture
def bucket(aws):
    name = fresh_name("cli")
    assert aws("mb", f"s3://{name}").strip() == f"make_bucket: {name}"
    return name


def test_cp_ls_presign_rm_rb(aws, workdir, bucket):
    small, large = workdir / "small", workdir / "large"
    small.write_bytes(b"hello")
    large.write_bytes(os.urandom(9 * MIB))  # In parts.
    aws("cp", small, f"s3://{bucket}/a/small")
    aws("cp", large, f"s3://{bucket}/a/large")
    listed = aws("ls", f"s3://{bucket}/a/")
    assert [line.split()[2:] for line in listed.splitlines()] == [[str(9 * MIB), "large"], ["5", "small"]]
    assert "PRE a/" in aws("ls", f"s3://{bucket}") and bucket in aws("ls")
    aws("cp", f"s3://{bucket}/a/large", workdir / "back")
    assert (workdir / "back").read_bytes() == large.read_bytes()
    aws("cp", f"s3://{bucket}/a/large", f"s3://{bucket}/b/large")
    aws("mv", f"s3://{bucket}/a/small", f"s3://{bucket}/b/small")
    link = aws("presign", f"s3://{bucket}/b/small", "--expires-in", "60").strip()
    assert wire.send(link).body == b"hello"
    assert aws("cp", f"s3://{bucket}/b/small", "-") == "hello"
    refused = aws("rb", f"s3://{bucket}", check=False)
    assert refused.returncode != 0 and "BucketNotEmpty" in refused.stderr
    aws("rm", f"s3://{bucket}", "--recursive")
    assert aws("ls", f"s3://{bucket}", "--recursive") == ""
    assert aws("rb", f"s3://{bucket}").strip() == f"remove_bucket: {bucket}"
    gone = aws("ls", f"s3://{bucket}", check=False)
    assert gone.returncode != 0 and "NoSuchBucket" in gone.stderr


def test_sync_both_ways(aws, workdir, bucket):
    here, there = workdir / "here", workdir / "there"
    for name in ("one", "dir/two", "dir/ünï three", "dir/sub/four+5%"):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text(name)
    printed = aws("sync", here, f"s3://{bucket}/top")
    assert printed.count("upload:") == 4
    assert aws("sync", here, f"s3://{bucket}/top") == "", "nothing has changed"
    (here / "one").write_text("changed")
    (here / "dir/two").unlink()
    printed = aws("sync", here, f"s3://{bucket}/top", "--delete")
    assert printed.count("upload:") == 1 and printed.count("delete:") == 1
    aws("sync", f"s3://{bucket}/top", there)
    found = {str(path.relative_to(there)): path.read_text() for path in there.rglob("*") if path.is_file()}
    assert found == {"one": "changed", "dir/ünï three": "dir/ünï three", "dir/sub/four+5%": "dir/sub/four+5%"}
    aws("rb", f"s3://{bucket}", "--force")
