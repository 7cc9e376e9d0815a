"""The examples of schedules, CloudEvents and state changes: each command of their READMEs, as a new user runs them."""

import re

import pytest

from functions import EXAMPLES
from squall_server import binary, wait_until


def commands(example):
    """What the README says to type, one command after the other."""
    readme = (EXAMPLES / example / "README.md").read_text()
    return re.search(r"```sh\n(.*?)```", readme, re.S)[1].replace("\\\n", " ").strip().splitlines()


def run(server, command):
    """As in a shell, with the binary in the path and the repository around it."""
    path = f"export PATH={binary().resolve().parent}:$PATH"
    return server.run("bash", "-ec", f"{path}; {command}", cwd=EXAMPLES.parent).stdout


def run_all_but_last(server, example):
    *first, last = [command for command in commands(example) if not command.startswith("eval ")]
    for command in first:
        run(server, command)
    return last


@pytest.mark.parametrize(
    ("example", "lines"),
    [
        ("schedule-python", [r"Ada, it is \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ: time for a break"]),
        ("state-change-python", [r"written: orders/7\n(.*\n)*.*deleted: orders/7"]),
    ],
)
def test_an_example_leaves_in_the_log_what_it_promises(server, example, lines):
    logs = run_all_but_last(server, example)
    assert logs.startswith("squall logs ")

    def logged():
        printed = run(server, logs)
        return all(re.search(line, printed) for line in lines)

    wait_until(f"{example} has run", logged, 60, 0.2)


def test_a_cloudevent_is_answered_by_one(server):
    answer = run(server, run_all_but_last(server, "cloudevent-python"))
    head, _, body = answer.replace("\r", "").partition("\n\n")
    assert "ce-type: receipt.written" in head.lower(), answer
    assert body == '{"for":"/shop","total":42}'
