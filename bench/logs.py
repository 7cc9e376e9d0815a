"""Logs: how many lines a second are kept, what keeping them adds to a call, and how fast they are searched.

Two servers take turns: one that keeps lines and one that was told to keep none (`--log-mib-max 0`), which captures
them all the same.
"""

import contextlib
import time

import functions
import measure
import wire
from measure import show, spread

QUESTION = "How many log lines a second are kept, and what does keeping them add to a call?"
ESTIMATE = ("a commit every 10 ms shared by all calls: some 20-40 µs of CPU a call for its three lines, 1-2 µs for each "
            "further line of 100 bytes; 100,000 lines/s and more on two cores; a search reads some 50 MiB/s")
LINES = (0, 10, 100)
CONNECTIONS = (1, 16)
# START, END and REPORT.
OWN_LINES = 3
ADDED_US_MAX = 50
WRITER = """
LINE = "x" * 99

def handler(event, context):
    for _ in range(event["lines"]):
        print(LINE)
"""


def run(new_server, options):
    """Measures on servers of its own, and returns (figures, table lines, verdicts)."""
    rounds, searched = {}, []
    with contextlib.ExitStack() as stack:
        subjects = {"kept": stack.enter_context(new_server()),
                    "not kept": stack.enter_context(new_server("--log-mib-max", "0"))}
        names = {kind: functions.create(server.client(check=False), WRITER, "writer", Timeout=30)
                 for kind, server in subjects.items()}
        for _ in range(options.rounds):
            for lines in LINES:
                for connections in CONNECTIONS:
                    for kind, server in subjects.items():
                        got = load(server, names[kind], lines, connections, options.seconds)
                        rounds.setdefault((kind, lines, connections), []).append(got)
            searched.append(search(subjects["kept"]))
        check_kept(subjects)
    figures = {kind: {f"{lines} lines, {connections} connections":
                      {key: spread([one[key] for one in rounds[kind, lines, connections]])
                       for key in ("p50_us", "calls_per_s", "lines_per_s", "cpu_us_per_call")}
                      for lines in LINES for connections in CONNECTIONS} for kind in subjects}
    figures["search, MiB/s"] = spread(searched)
    return figures, table(figures), verdicts(figures)


def load(server, name, lines, connections, seconds):
    path = f"{server.endpoint}/2015-03-31/functions/{name}/invocations"
    body = f'{{"lines":{lines}}}'
    headers = wire.sign(server, path, "POST", {"Content-Type": "application/json"}, body.encode())
    pids = lambda: [server.process.pid, *server.descendants()]
    measure.wrk(path, connections, 1, headers, body)
    before = measure.cpu_seconds(pids())
    got = measure.wrk(path, connections, seconds, headers, body)
    got["cpu_us_per_call"] = (measure.cpu_seconds(pids()) - before) / got["calls"] * 1e6
    got["lines_per_s"] = got["calls_per_s"] * (lines + OWN_LINES)
    return got


def search(server):
    """MiB/s of a search that finds nothing."""
    logs = server.client("logs")
    [group] = logs.describe_log_groups()["logGroups"]
    start = time.perf_counter()
    pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group["logGroupName"], filterPattern="nothing")
    assert not any(page["events"] for page in pages)
    return group["storedBytes"] / (time.perf_counter() - start) / 2**20


def check_kept(subjects):
    """That one has kept lines, and the other none."""
    assert subjects["kept"].client("logs").describe_log_groups()["logGroups"][0]["storedBytes"] > 0
    assert subjects["not kept"].client("logs").describe_log_groups()["logGroups"] == []


def added_us(figures, subject):
    kept, bare = (figures[kind][subject]["cpu_us_per_call"]["median"] for kind in ("kept", "not kept"))
    return kept - bare


def table(figures):
    lines = ["| call | p50 kept, µs | p50 not kept, µs | calls/s kept | not kept | lines/s kept "
             "| CPU per call kept, µs | not kept | added by keeping |", "|---" * 9 + "|"]
    for subject, kept in figures["kept"].items():
        bare = figures["not kept"][subject]
        lines.append(f"| {subject} | {show(kept['p50_us'])} | {show(bare['p50_us'])} | {show(kept['calls_per_s'])} "
                     f"| {show(bare['calls_per_s'])} | {show(kept['lines_per_s'])} | {show(kept['cpu_us_per_call'])} "
                     f"| {show(bare['cpu_us_per_call'])} | {added_us(figures, subject):.1f} |")
    return [*lines, "", f"A search that finds nothing: {show(figures['search, MiB/s'], 'MiB/s')}."]


def verdicts(figures):
    added = added_us(figures, "0 lines, 1 connections")
    return [(f"keeping a call's own three lines adds {added:.1f} µs of CPU, target <= {ADDED_US_MAX}",
             added <= ADDED_US_MAX)]
