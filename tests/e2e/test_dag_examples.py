"""The examples of compositions, as a new user runs them."""

import sys

from functions import EXAMPLES

SDK = EXAMPLES.parent / "sdk" / "python"


def run(server, *command):
    """What an example prints, with the environment that `squall env` sets."""
    return server.run(sys.executable, *command, env={"PYTHONPATH": str(SDK)}).stdout


def test_the_pipeline_recognises_digits(server):
    said = run(server, EXAMPLES / "pipeline" / "pipeline.py").splitlines()
    readme = (EXAMPLES / "pipeline" / "README.md").read_text()
    assert [line.split(" (")[0] for line in said] == [f"drew {digit}, saw {digit}" for digit in "017"]
    assert all(line in readme for line in said), said
