"""`squall queue`, and the queue example as its README tells it."""

import json
import os
import re
import uuid

import pytest

from functions import EXAMPLES
from squall_server import binary, wait_until


@pytest.fixture
def queue(server):
    name = f"q-{uuid.uuid4().hex[:12]}"
    server.squall("queue", "create", name)
    return name


def test_a_message_is_sent_received_and_deleted(server, queue):
    message_id = server.squall("queue", "send", queue, "--data", "one\ntwo").stdout.strip()
    received = json.loads(server.squall("queue", "receive", queue, "--wait", "20s", "--output", "json").stdout)
    assert [(one["MessageId"], one["Body"]) for one in received] == [(message_id, "one\ntwo")]
    listed = json.loads(server.squall("queue", "ls", "--prefix", queue, "--output", "json").stdout)
    assert listed[queue]["ApproximateNumberOfMessagesNotVisible"] == "1"
    server.squall("queue", "send", queue, "--data", "-", input="from stdin")
    taken = server.squall("queue", "receive", queue, "--wait", "20s", "--delete").stdout
    assert taken == "from stdin\n"
    row = server.squall("queue", "ls", "--prefix", queue).stdout.splitlines()[1].split()
    assert row == [queue, "0", "1", "0", "-"]
    server.squall("queue", "purge", queue)
    assert json.loads(server.squall("queue", "show", queue).stdout)["ApproximateNumberOfMessagesNotVisible"] == "0"
    nothing = server.squall("queue", "receive", queue, check=False)
    assert (nothing.returncode, nothing.stdout) == (1, "")
    assert server.squall("queue", "rm", queue).stdout == f"removed {queue}\n"


def test_a_fifo_queue_keeps_its_order_and_drops_what_came_before(server):
    name = f"q-{uuid.uuid4().hex[:12]}.fifo"
    server.squall("queue", "create", name, "--content-deduplication", "--visibility", "30s")
    for text in ("first", "second", "first"):
        server.squall("queue", "send", name, "--data", text, "--group", "g")
    taken = server.squall("queue", "receive", name, "--max", "10", "--wait", "20s", "--delete").stdout
    assert taken == "first\nsecond\n"


def test_dead_letters_are_moved_back(server, client):
    letters, orders = (f"{kind}-{uuid.uuid4().hex[:12]}" for kind in ("letters", "orders"))
    server.squall("queue", "create", letters)
    server.squall("queue", "create", orders, "--dead-letter", letters, "--max-receives", "1", "--visibility", "0s")
    server.squall("queue", "send", orders, "--data", "poison")
    assert server.squall("queue", "receive", orders, "--wait", "20s").stdout == "poison\n"
    # The second receive finds that it was received too often.
    server.squall("queue", "receive", orders, check=False)
    holds = lambda name: json.loads(server.squall("queue", "show", name).stdout)["ApproximateNumberOfMessages"]
    wait_until("it is a dead letter", lambda: holds(letters) == "1", 60)
    assert letters in server.squall("queue", "ls", "--prefix", orders).stdout
    assert server.squall("queue", "redrive", letters).stdout == "moved 1 messages\n"
    assert (holds(letters), holds(orders)) == ("0", "1")


@pytest.mark.parametrize("args, why", [
    (["show", "absent"], "could not find the queue `absent`: The specified queue does not exist. (QueueDoesNotExist)"),
    (["create", "no spaces"], "InvalidParameterValue"),
    (["create", "q", "--delay", "1500ms"], "whole seconds"),
    (["create", "q", "--delay", "1h"], "InvalidAttributeValue"),
    (["send", "absent", "--data", "x"], "QueueDoesNotExist"),
    (["redrive", "absent"], "QueueDoesNotExist"),
])
def test_what_cannot_be_done_is_said_by_name(server, args, why):
    refused = server.squall("queue", *args, check=False)
    assert refused.returncode == 1
    assert why in refused.stderr


def test_a_wrong_use_is_exit_code_2(server):
    for args in (["create", "q", "--dead-letter", "letters"], ["receive", "q", "--max", "11"], ["send", "q"]):
        assert server.squall("queue", *args, check=False).returncode == 2


def test_the_example_runs_as_its_readme_says(server):
    readme = (EXAMPLES / "queue-python" / "README.md").read_text()
    setup, _ = re.findall(r"```sh\n(.*?)```", readme, re.S)
    path = f"{binary().parent}{os.pathsep}{os.environ['PATH']}"
    server.run("bash", "-euc", setup, cwd=EXAMPLES.parent, env={"PATH": path})
    logged = lambda: server.squall("logs", "take-orders").stdout
    wait_until("the order is taken", lambda: "order 17: 2 x tea" in logged(), 60)
    wait_until("the other is refused", lambda: "could not read message" in logged(), 60)
    receive = lambda: server.squall("queue", "receive", "unreadable", "--wait", "20s", check=False).stdout
    # Its visibility timeout has to pass before it is found to have been received too often.
    assert wait_until("the other is a dead letter", receive, 120) == "two teas, please\n"
