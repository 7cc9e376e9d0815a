"""One server per test module, judged at the module's end."""

import os
import pathlib
import tempfile

import pytest

from functions import fresh_name
from squall_server import Server, binary, still_running, wait_for_end


def pytest_sessionstart(session):
    if not binary().exists():
        pytest.exit(f"no squall at {binary()}: build it with `cargo build --release`, or set SQUALL_BIN", returncode=2)


@pytest.fixture(scope="module")
def workdir():
    """A folder of the module's own, that a failed module leaves behind."""
    with tempfile.TemporaryDirectory(prefix="squall-e2e-") as folder:
        yield pathlib.Path(folder)


@pytest.fixture
def meeting(workdir):
    """A new folder that functions see and write, as whatever user they run."""
    folder = workdir / fresh_name("meeting")
    folder.mkdir()
    folder.chmod(0o777)
    return folder


@pytest.fixture(scope="module")
def server(request, workdir):
    """The module's server: `pytestmark` may carry `server_args` and `expected_log`."""
    marks = request.node.iter_markers
    args = [arg for mark in marks("server_args") for arg in mark.args]
    started = Server(workdir / "data", args, share=not any(marks("shares_nothing")))
    started.expected += [mark.args[0] for mark in marks("expected_log")]
    with judged(started):
        started.start()
        yield started


@pytest.fixture(scope="module")
def client(server):
    """The module's checked boto3 Lambda client."""
    return server.client()


@pytest.fixture(scope="module")
def s3(server):
    """The module's checked boto3 S3 client."""
    return server.client("s3")


@pytest.fixture
def bucket(s3):
    """A bucket of the test's own."""
    name = fresh_name("bucket")
    s3.create_bucket(Bucket=name)
    return name


@pytest.fixture(scope="session")
def cache():
    """A folder for what is slow to build, kept from run to run."""
    kept = os.environ.get("SQUALL_E2E_CACHE")
    folder = pathlib.Path(kept) if kept else pathlib.Path(tempfile.gettempdir()) / f"squall-e2e-cache-{os.getuid()}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class judged:
    """Ends a server at the end of the block, and fails when it complained, lingered or left a process."""

    def __init__(self, server):
        self.server = server

    def __enter__(self):
        return self.server

    def __exit__(self, kind, *_):
        server = self.server
        if server.process is None:
            return
        ended_by_test = server.process.poll() is not None
        children = {} if ended_by_test else server.descendants()
        code = server.terminate()
        if kind is not None:
            print(server.text())
            return
        wait_for_end(lambda: still_running(children), 10)
        wait_for_end(server.stragglers, 10)
        assert ended_by_test or code == 0, f"squall up ended with {code}\n{server.text()}"
        complaints = server.complaints()
        assert not complaints, "the server complained:\n" + "\n".join(complaints)

