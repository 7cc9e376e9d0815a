"""kill -9 at random moments under load: what was acknowledged is there, and what was accepted runs.

The seed is printed; SQUALL_E2E_SEED repeats a run's choices.
"""

import base64
import hashlib
import json
import os
import random
import threading
import time

import botocore.exceptions
import pytest

from conftest import judged
from functions import PYTHON, ROLE, create, fresh_name, wait_active, zipped
from squall_server import Server, still_running, wait_for_end, wait_until

KILLS = 20
# What a client sees of a server that was killed. Anything else it says is a failure of the test.
GONE = (botocore.exceptions.HTTPClientError, botocore.exceptions.ConnectionError)

APPEND = """
import os
def handler(event, context):
    file = os.open(event["file"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, (event["id"] + "\\n").encode())
    os.close(file)
"""


class Load:
    """Clients that create functions, send events and call, noting only what was acknowledged."""

    def __init__(self, server, ran, function):
        self.ran, self.function = ran, function
        self.functions, self.events, self.sync = {}, set(), 0
        self.problems = []
        self._ids = iter(range(10**9))
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._client = server.client()
        self._threads = [threading.Thread(target=self._loop, args=(work,)) for work in
                         (self._create, self._send, self._send, self._call)]
        for thread in self._threads:
            thread.start()

    def end(self):
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a call was never answered"

    def _loop(self, work):
        try:
            while not self._stop.is_set():
                work()
        except GONE:
            pass
        except Exception as error:  # Whatever it is, the test's thread must hear of it.
            self.problems.append(f"{work.__name__}: {error!r}")

    def _create(self):
        name = fresh_name("crash")
        package = zipped({"app.py": f"def handler(e, c):\n    return {name!r}\n"})
        self._client.create_function(
            FunctionName=name, Runtime=PYTHON, Role=ROLE, Handler="app.handler", Code={"ZipFile": package})
        self.functions[name] = base64.b64encode(hashlib.sha256(package).digest()).decode()

    def _send(self):
        with self._lock:
            event = f"{fresh_name('event')}-{next(self._ids)}"
        self._client.invoke(FunctionName=self.function, InvocationType="Event",
                            Payload=json.dumps({"id": event, "file": str(self.ran)}))
        with self._lock:
            self.events.add(event)

    def _call(self):
        reply = self._client.invoke(
            FunctionName=self.function, Payload=json.dumps({"id": "sync", "file": os.devnull}))
        assert "FunctionError" not in reply, reply["Payload"].read()
        self.sync += 1


@pytest.mark.timeout(1500)
def test_twenty_kills_under_load_lose_nothing_that_was_acknowledged(workdir):
    seed = int(os.environ.get("SQUALL_E2E_SEED", random.randrange(2**32)))
    print(f"SQUALL_E2E_SEED={seed}")
    dice = random.Random(seed)
    server = Server(workdir / "killed")
    ran, functions, events, calls = workdir / "ran", {}, set(), 0
    with judged(server):
        server.start()
        appender = create(server.client(), APPEND, Timeout=30)
        for number in range(KILLS):
            load = Load(server, ran, appender)
            time.sleep(dice.uniform(0.02, 1.2))  # The moment of the kill is what is random here.
            children = server.descendants()
            server.kill9()
            load.end()
            assert not load.problems, (seed, number, load.problems)
            functions |= load.functions
            events |= load.events
            calls += load.sync
            wait_for_end(lambda: still_running(children), 20)
            server.start()
            check_functions(server.client(), functions, seed)
        print(f"{len(functions)} functions, {len(events)} events, {calls} calls acknowledged")
        assert functions and events and calls
        wait_until("every accepted event has run", lambda: events <= set(ran.read_text().split()), 120)


def check_functions(client, functions, seed):
    """Each is there with its code; a Pending one becomes Active."""
    listed = {}
    for page in client.get_paginator("list_functions").paginate():
        listed |= {function["FunctionName"]: function["CodeSha256"] for function in page["Functions"]}
    lost = {name for name, code in functions.items() if listed.get(name) != code}
    assert not lost, f"seed {seed}: lost {lost}"
    newest = list(functions)[-5:]
    for name in newest:
        wait_active(client, name)
    if newest:
        reply = client.invoke(FunctionName=newest[-1])
        assert json.loads(reply["Payload"].read()) == newest[-1]


def test_a_data_dir_is_held_by_one_process(workdir):
    server = Server(workdir / "held")
    with judged(server):
        server.start()
        second = server.squall("up", "--listen", "127.0.0.1:0", "--data-dir", server.data_dir, check=False, seconds=30)
        assert second.returncode == 1, second
        assert str(server.data_dir) in second.stderr, second.stderr
        assert server.client().list_functions()["Functions"] == []
        server.kill9()
        server.start()
        assert server.client().list_functions()["Functions"] == []


@pytest.mark.parametrize("content", ["not a directory", "foreign credentials"])
def test_a_data_dir_that_is_not_ours_is_refused_and_left_alone(workdir, content):
    path = workdir / fresh_name("foreign")
    if content == "not a directory":
        path.write_text("mine")
    else:
        path.mkdir()
        (path / "credentials.json").write_text("{}")
    server = Server(workdir / fresh_name("other"))
    server.env = {}
    result = server.squall("up", "--listen", "127.0.0.1:0", "--data-dir", path, check=False, seconds=30)
    assert result.returncode == 1 and result.stderr.strip(), result
    kept = path if path.is_file() else path / "credentials.json"
    assert kept.read_text() in ("mine", "{}")


def test_a_data_dir_of_another_version_is_refused_and_left_alone(workdir):
    server = Server(workdir / "versioned")
    with judged(server):
        server.start()
        name = create(server.client(), "def handler(e, c):\n    return 1\n")
        assert server.terminate() == 0
        mark = next(server.data_dir.rglob("FORMAT"))
        ours = mark.read_text()
        mark.write_text("squall-store 99\n")
        refused = server.squall("up", "--listen", "127.0.0.1:0", "--data-dir", server.data_dir, check=False, seconds=30)
        assert refused.returncode == 1 and "99" in refused.stderr, refused
        mark.write_text(ours)
        server.start()
        assert server.client().invoke(FunctionName=name)["StatusCode"] == 200


def test_accepted_events_survive_an_orderly_stop(workdir):
    server, ran = Server(workdir / "orderly"), workdir / "orderly-ran"
    with judged(server):
        server.start()
        client = server.client()
        name = create(client, APPEND, Timeout=30)
        sent = [f"e{n}" for n in range(50)]
        for event in sent:
            client.invoke(FunctionName=name, InvocationType="Event",
                          Payload=json.dumps({"id": event, "file": str(ran)}))
        server.restart()
        wait_until("every accepted event has run",
                   lambda: ran.exists() and set(sent) <= set(ran.read_text().split()), 60)
