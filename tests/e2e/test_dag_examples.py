"""The examples of compositions, messages and shared state, as a new user runs them."""

import re
import sys

import pytest

from functions import EXAMPLES

SDK = EXAMPLES.parent / "sdk" / "python"


def run(server, *command):
    """What an example prints, with the environment that `squall env` sets."""
    return server.run(sys.executable, *command, env={"PYTHONPATH": str(SDK)}).stdout


def promised(example):
    """What an example's README says that it prints."""
    readme = (EXAMPLES / example / "README.md").read_text()
    return re.search(r"It prints:\n```\n(.*?)```", readme, re.S)[1]


@pytest.mark.parametrize("example", ["gossip", "pipeline", "retwis"])
def test_an_example_prints_what_its_readme_says(server, example):
    assert run(server, EXAMPLES / example / f"{example}.py") == promised(example)
