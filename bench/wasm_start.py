"""What the first call of a component costs, a fresh instance inside the server, and the checks of the epoch."""

import base64
import json
import re
import subprocess

import guests
import measure
from cold import Caller
from measure import show, spread

QUESTION = "What do a component's first call, a fresh instance and epoch checks cost?"
ESTIMATE = "fresh instance 20-34 µs (C), 335-630 µs (JavaScript); from disk 0.3 and 2.5 ms; epochs 0-25 %"
FRESH_US_MAX = 100


def run(server, client, options):
    """Measures everything, and returns (figures, table lines, verdicts)."""
    made = {"C": guests.deploy(client, guests.HELLO_C.read_bytes()),
            "JavaScript": guests.deploy(client, guests.hello_js().read_bytes(), MemorySize=256)}
    rounds, caller = {}, Caller(server)
    for _ in range(options.rounds):
        for name, function in made.items():
            rounds.setdefault(f"{name}: first call of a revision, at the client", []).append(
                first_calls(client, caller, function, 5))
            rounds.setdefault(f"{name}: each call, at the client", []).append(
                {"p50_us": measure.percentile(took := calls(caller, function, options.samples * 5), 0.5),
                 "p99_us": measure.percentile(took, 0.99)})
            rounds.setdefault(f"{name}: each call, REPORT's Duration", []).append(
                reported(client, function, options.samples))
    figures = {name: {key: spread([one[key] for one in some]) for key in some[0]} for name, some in rounds.items()}
    checks = epochs(options)
    fresh = figures["C: each call, REPORT's Duration"]["p50_us"]["median"]
    verdict = f"C, fresh instance to its answer inside the server: p50 {fresh:.0f} µs, target <= {FRESH_US_MAX} µs"
    return figures | {"epochs": checks}, table(figures, checks), [(verdict, fresh <= FRESH_US_MAX)]


def first_calls(client, caller, function, samples):
    """A changed variable makes a new revision: its machine code is on disk and not loaded."""
    took = []
    for number in range(samples):
        client.update_function_configuration(
            FunctionName=function, Environment={"Variables": {"ROUND": f"{id(took)}-{number}"}})
        guests.functions.wait_active(client, function)
        took.append(caller.call(function)[0] * 1e3)
    return {"p50_us": measure.percentile(took, 0.5), "p99_us": max(took)}


def calls(caller, function, samples):
    caller.call(function)
    return [caller.call(function)[0] * 1e3 for _ in range(samples)]


def reported(client, function, samples):
    """From the event's arrival at the instance to its answer: every call makes an instance. Grain: 10 µs."""
    took = []
    for _ in range(samples):
        reply = client.invoke(FunctionName=function, Payload=json.dumps({"name": "Ada"}), LogType="Tail")
        log = base64.b64decode(reply["LogResult"]).decode()
        took.append(float(re.search(r"Duration: ([\d.]+) ms", log)[1]) * 1e3)
    return {"p50_us": measure.percentile(took, 0.5), "p99_us": measure.percentile(took, 0.99)}


def epochs(options):
    """{loop: percent that it takes longer with epoch checks}, from the least of several rounds each."""
    program, share = guests.example("epochs"), {}
    for _ in range(options.rounds):
        out = json.loads(subprocess.run([program], check=True, capture_output=True, text=True).stdout)
        for loop, one in out.items():
            share.setdefault(loop, []).append((one["with_ms"] / one["without_ms"] - 1) * 100)
    return {loop: spread(some) for loop, some in share.items()}


def table(figures, checks):
    lines = ["| what | p50, µs | p99 (first calls: worst), µs |", "|---|---|---|"]
    lines += [f"| {name} | {show(one['p50_us'])} | {show(one['p99_us'])} |" for name, one in figures.items()]
    lines += ["", "| epoch checks in | cost, % |", "|---|---|"]
    return lines + [f"| {loop} | {show(share)} |" for loop, share in checks.items()]
