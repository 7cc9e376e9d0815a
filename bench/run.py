#!/usr/bin/env python3
"""Asks the questions of DESIGN's table of numbers of a release build, next to their rivals in the same run.

Writes bench/runs/DATE/QUESTION.json and .md. See bench/README.md.
"""

import argparse
import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "tests" / "e2e")]

import accept  # noqa: E402
import cold  # noqa: E402
import composition  # noqa: E402
import gossip  # noqa: E402
import idle  # noqa: E402
import locality  # noqa: E402
import logs  # noqa: E402
import measure  # noqa: E402
import objects  # noqa: E402
import queue_rate  # noqa: E402
import retwis  # noqa: E402
import schedules  # noqa: E402
import state  # noqa: E402
import walls  # noqa: E402
import warm  # noqa: E402
import wasm  # noqa: E402
import wasm_many  # noqa: E402
import wasm_start  # noqa: E402
import wasm_stop  # noqa: E402
from squall_server import Server, binary  # noqa: E402

QUESTIONS = {"warm": warm, "cold": cold, "idle": idle, "wasm": wasm, "wasm-start": wasm_start,
             "wasm-stop": wasm_stop, "wasm-many": wasm_many,
             "composition": composition, "state": state, "locality": locality, "gossip": gossip, "retwis": retwis,
             "accept": accept, "queue": queue_rate, "schedules": schedules, "logs": logs,
             "walls": walls, "objects": objects}
OWN_SERVERS = {"idle", "wasm-many", "retwis", "accept", "queue", "schedules", "logs", "walls", "objects"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("questions", nargs="*", metavar="QUESTION", help=f"of {', '.join(QUESTIONS)} [default: all]")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, subjects interleaved in each [3]")
    parser.add_argument("--seconds", type=int, default=4, help="of load for each subject, concurrency and round [4]")
    parser.add_argument("--samples", type=int, default=40, help="cold starts for each function and round [40]")
    parser.add_argument("--no-emulator", action="store_true", help="leave AWS's own emulator out")
    parser.add_argument("--functions", type=int, default=10_000, help="deployed by wasm-many [10000]")
    parser.add_argument("--schedules", type=int, default=schedules.PENDING, help="pending in schedules [100000]")
    options = parser.parse_args()
    unknown = set(options.questions) - set(QUESTIONS)
    if unknown:
        parser.error(f"no such question: {', '.join(sorted(unknown))}")
    if shutil.which("wrk") is None:
        parser.error("wrk is not installed (Debian: apt-get install wrk)")
    if not binary().exists():
        parser.error(f"no squall at {binary()}: build it with `cargo build --release`, or set SQUALL_BIN")
    measure.WORK.mkdir(exist_ok=True)
    missed = [text for name in options.questions or QUESTIONS for text in ask(name, options)]
    return 1 if missed else 0


def ask(name, options):
    """Answers one question, prints and writes it, and returns the targets that were missed."""
    question, about = QUESTIONS[name], measure.machine()
    print(f"\n{question.QUESTION}\nEstimate: {question.ESTIMATE}", flush=True)
    if name in OWN_SERVERS:
        figures, lines, verdicts = question.run(new_server, options)
    else:
        with new_server() as server:
            figures, lines, verdicts = question.run(server, server.client(check=False), options)
    about["load_after"] = round(os.getloadavg()[0], 2)
    write(name, question, about, figures, lines, verdicts)
    return [text for text, met in verdicts if not met]


@contextlib.contextmanager
def new_server(*args):
    """A server with a data directory on this disk, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="data-", dir=measure.WORK) as folder:
        server = Server(pathlib.Path(folder) / "data", args)
        server.start()
        try:
            yield server
        finally:
            server.terminate()


def write(name, question, about, figures, lines, verdicts):
    command = "bench/run.py " + " ".join(sys.argv[1:])
    said = [f"- {'met' if met else '**missed**'}: {text}" for text, met in verdicts]
    head = [
        f"# {question.QUESTION}", "", f"Estimate before measuring: {question.ESTIMATE}.", "",
        f"{about['cpu']}, {about['cores']} cores, {about['memory_mib']} MiB, Linux {about['kernel']}; "
        f"load {about['load_before'][0]} before, {about['load_after']} after; commit {about['commit']}"
        f"{' with uncommitted changes' if about['uncommitted_changes'] else ''}; Python {about['python']}, "
        f"Node {about['node']}; {about['date']}; `{command.strip()}`.", "",
        "Figures are `median (min-max)` of the rounds. CPU is user + system of the server and all instances.", "",
    ]
    folder = ROOT / "bench" / "runs" / time.strftime("%Y-%m-%d", time.gmtime())
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text("\n".join([*head, *lines, "", *said, ""]))
    result = {"machine": about, "command": command, "figures": figures,
              "verdicts": [{"target": text, "met": met} for text, met in verdicts]}
    (folder / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    print("\n".join([*lines, *said]), flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        sys.exit(f"{error}\n{error.stderr or ''}")
