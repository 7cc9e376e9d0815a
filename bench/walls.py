"""Walls: what they add to a start and to a warm call, and what neighbours notice of a function that misbehaves.

Two servers run at once, one with all walls and one with none, and are asked in turns. The neighbour's quiet figure is
taken anew before every kind of misbehaviour. Whoever calls the neighbour stands for a caller on a machine of its own: its
thread has real-time priority, so that what is timed is the server and the neighbour, and not its own wait for a processor.
"""

import contextlib
import json
import os
import threading
import time

import functions
import measure
from cold import Caller, cold_round
from measure import ROOT, show, spread

QUESTION = "What do the walls cost, and do they keep a misbehaving function from its neighbours?"
ESTIMATE = "a fresh start 2-4 ms more, a fork of the zygote nothing, a warm call nothing; neighbours within 2x"
FRESH_MS_MAX, ZYGOTE_MS_MAX, NEIGHBOUR_MAX = 5, 1, 2
# A difference of warm calls that is no more than what two rounds of one server differ by.
WARM_SHARE_MAX = 0.05
WARM_BLOCKS, WARM_CALLS = 30, 100
PYTHON, BOOTSTRAP = "python, fork of the zygote", "bootstrap, fresh process"

# A runtime of its own with the smallest start: the interpreter without its site packages.
BOOTSTRAP_SOURCE = """#!/usr/bin/python3 -IS
import http.client, json, os
host, port = os.environ["AWS_LAMBDA_RUNTIME_API"].split(":")
api = http.client.HTTPConnection(host, int(port))
path = "/2018-06-01/runtime/invocation/"
while True:
    api.request("GET", path + "next")
    reply = api.getresponse()
    id, event = reply.headers["Lambda-Runtime-Aws-Request-Id"], json.loads(reply.read())
    if "hold" in event:
        open(event["in"], "w").close()
        open(event["hold"]).read()
    api.request("POST", path + id + "/response", b"null")
    api.getresponse().read()
"""

RUNNER = """
import mmap, os, sys, time
def handler(event, context):
    exec(event["code"], globals())
"""

MISBEHAVIOURS = {
    "a spin on all processors": """
for _ in range(2 * os.cpu_count()):
    if os.fork() == 0:
        while True: pass
while True: pass
""",
    # Should no wall stop it, it stops by itself at 4096.
    "a fork bomb": """
for _ in range(12):
    try: os.fork()
    except OSError: time.sleep(0.1)
while True: os.getppid()
""",
    "a memory bomb": """
held, block = mmap.mmap(-1, 1500 << 20), bytes(1 << 20)
for _ in range(1500): held.write(block)
""",
    "a flood of lines": """
line = "y" * 1023 + "\\n"
while True: sys.stdout.write(line)
""",
    "a filler of /tmp": """
while True:
    try:
        with open("/tmp/fill", "wb") as file:
            for _ in range(500): file.write(bytes(1 << 20))
    except OSError: pass
""",
}


def run(new_server, options):
    """Measures everything, and returns (figures, table lines, verdicts)."""
    with new_server("--walls", "full") as walled, new_server("--walls", "off") as open_:
        servers = {"walls": Subject(walled), "no walls": Subject(open_)}
        rounds = {}
        for _ in range(options.rounds):
            for kind, subject in servers.items():
                for what, figure in subject.starts(options).items():
                    rounds.setdefault(f"{what}, {kind}", []).append(figure)
            for kind, figure in warm_round(servers).items():
                rounds.setdefault(f"warm call, {kind}", []).append(figure)
    with new_server("--walls", "full") as walled:
        neighbour = Subject(walled)
        stranger = functions.create(neighbour.client, RUNNER, Timeout=options.seconds + 3, MemorySize=512)
        for _ in range(options.rounds):
            for what, code in MISBEHAVIOURS.items():
                quiet = neighbour.p99(options.seconds)
                with Misbehaving(walled, stranger, code):
                    beside = neighbour.p99(options.seconds)
                rounds.setdefault(f"neighbour p99 in quiet, before {what}", []).append(quiet)
                rounds.setdefault(f"neighbour p99 beside {what}", []).append(beside)
    figures = {what: spread(some, 3) for what, some in rounds.items()}
    lines = ["| what | ms |", "|---|---|", *(f"| {what} | {show(figure)} |" for what, figure in figures.items())]
    return figures, lines, verdicts(figures)


class Subject:
    """One server with the functions that are called."""

    def __init__(self, server):
        self.server, self.client, self.caller = server, server.client(check=False), Caller(server)
        package = functions.zipped({"hello.py": (ROOT / "bench" / "functions" / "hello.py").read_text()})
        bootstrap = functions.zipped({"bootstrap!": BOOTSTRAP_SOURCE})
        settings = {"Timeout": 300, "MemorySize": 256}
        self.made = {
            PYTHON: functions.create(self.client, package, handler="hello.cold", **settings),
            BOOTSTRAP: functions.create(self.client, bootstrap, runtime="provided.al2023", **settings),
        }

    def starts(self, options):
        """p50 of starts of each kind."""
        got = {}
        for what, function in self.made.items():
            # The idle instances of the round before would answer; a changed variable makes a new revision.
            variables = {"ROUND": str(time.time())}
            self.client.update_function_configuration(FunctionName=function, Environment={"Variables": variables})
            functions.wait_active(self.client, function)
            cold = cold_round(self.client, self.caller, function, options.samples)
            assert cold["cold_share"] > 0.9, f"{what}: these were no starts: {cold}"
            got[what] = cold["p50_ms"]
        return got

    def p99(self, seconds):
        """Of warm calls, one after the other."""
        took, end = [], time.monotonic() + seconds
        with real_time():
            self.caller.call(self.made[PYTHON])
            while time.monotonic() < end:
                took.append(self.caller.call(self.made[PYTHON])[0])
        return measure.percentile(took, 0.99)


def warm_round(servers):
    """p50 of warm calls of each server, in short turns, so that what the machine does besides falls on both."""
    took = {kind: [] for kind in servers}
    for _ in range(WARM_BLOCKS):
        for kind, subject in servers.items():
            took[kind] += [subject.caller.call(subject.made[PYTHON])[0] for _ in range(WARM_CALLS)]
    return {kind: measure.percentile(some, 0.5) for kind, some in took.items()}


@contextlib.contextmanager
def real_time():
    """The calling thread goes before all that others do, for the length of the block."""
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


# How long what a misbehaving function has started may take to be gone, in seconds.
GONE_MAX = 20


class Misbehaving:
    """A function that does harm for the length of the block, over and over."""

    def __init__(self, server, function, code):
        self.server, self.function, self.code = server, function, code
        self.over = threading.Event()

    def __enter__(self):
        self.processes = processes()
        self.thread = threading.Thread(target=self.misbehave)
        self.thread.start()
        # Until it is under way.
        time.sleep(1)

    def __exit__(self, *_):
        # What runs ends at its deadline, and what it has started a moment later: the next figure is to be a quiet one.
        self.over.set()
        self.thread.join()
        end = time.monotonic() + GONE_MAX
        while processes() > self.processes + 10 and time.monotonic() < end:
            time.sleep(0.1)

    def misbehave(self):
        client = self.server.client(check=False)
        while not self.over.is_set():
            client.invoke(FunctionName=self.function, Payload=json.dumps({"code": self.code}))["Payload"].read()


def processes():
    """How many the machine has."""
    return sum(name.isdigit() for name in os.listdir("/proc"))


def verdicts(figures):
    def median(what):
        return figures[what]["median"]

    def added(what):
        return median(f"{what}, walls") - median(f"{what}, no walls")

    got = [(f"{what}: the walls add {added(what):.2f} ms, target <= {most} ms", added(what) <= most)
           for what, most in ((BOOTSTRAP, FRESH_MS_MAX), (PYTHON, ZYGOTE_MS_MAX))]
    share = added("warm call") / median("warm call, no walls")
    got.append((f"warm call: the walls add {share:.1%}, target <= {WARM_SHARE_MAX:.0%}", share <= WARM_SHARE_MAX))
    for what in MISBEHAVIOURS:
        times = median(f"neighbour p99 beside {what}") / median(f"neighbour p99 in quiet, before {what}")
        got.append((f"neighbour beside {what}: p99 {times:.2f}x of quiet, target <= {NEIGHBOUR_MAX}x", times <= NEIGHBOUR_MAX))
    return got
