"""Warm calls: Python, Node and a Rust bootstrap through the Invoke API; Python and Node through a function URL too.

Rivals in the same rounds: bare hyper, awslambdaric over our Runtime API, awslambdaric under AWS's own emulator.
"""

import contextlib
import os
import pathlib
import socket
import subprocess
import sys
import time

import functions
import measure
import wire
from measure import ROOT, WORK, show, spread
from squall_server import descendants_of

QUESTION = "Warm invoke over HTTP with keep-alive: what does the platform add to the function's own time?"
ESTIMATE = "framed socket 25-97 µs, awslambdaric 281-500 µs, bare hyper 120-260 µs over HTTP"
BODY = '{"name":"Ada"}'
CONCURRENT = 16
OVERHEAD_US_MAX, CALLS_PER_S_MIN = 300, 8000


class Subject:
    """Something that answers POSTs: where, with what headers, and whose CPU it uses."""

    def __init__(self, name, url, headers, pids, concurrent=True):
        self.name, self.url, self.headers, self.pids, self.concurrent = name, url, headers, pids, concurrent
        self.one, self.many = [], []

    def round(self, seconds):
        self.one.append(self._load(1, seconds))
        if self.concurrent:
            self.many.append(self._load(CONCURRENT, seconds))

    def _load(self, connections, seconds):
        pids = self.pids()
        before = measure.cpu_seconds(pids)
        got = measure.wrk(self.url, connections, seconds, self.headers(), BODY)
        after = measure.cpu_seconds(self.pids())
        got["cpu_us_per_call"] = (after - before) / got["calls"] * 1e6
        return got

    def figures(self):
        """{p50_us, p99_us, cpu_us at 1; calls_per_s, p99_us, cpu_us at 16}, each with its spread."""
        pick = lambda rounds, key: spread([one[key] for one in rounds])
        figures = {"c1": {key: pick(self.one, key) for key in ("p50_us", "p99_us", "calls_per_s", "cpu_us_per_call")}}
        if self.many:
            figures["c16"] = {key: pick(self.many, key)
                              for key in ("p50_us", "p99_us", "calls_per_s", "cpu_us_per_call")}
        return figures


def run(server, client, options):
    """Measures everything, and returns (figures, table lines, verdicts)."""
    with contextlib.ExitStack() as stack:
        subjects = [hyper_hello(stack), *deployed(server, client, options)]
        emulator = rie(stack, options)
        if emulator:
            subjects.append(emulator)
        for subject in subjects:
            measure.wrk(subject.url, CONCURRENT if subject.concurrent else 1, 1, subject.headers(), BODY)
        for _ in range(options.rounds):
            for subject in subjects:
                subject.round(options.seconds)
    own_us = own_time_us()
    figures = {subject.name: subject.figures() for subject in subjects}
    figures["own_time_us"] = own_us
    return figures, table(subjects), verdicts(figures, own_us)


def verdicts(figures, own_us):
    python = figures["python, Invoke"]
    overhead = python["c1"]["p50_us"]["median"] - own_us
    rate = python["c16"]["calls_per_s"]["median"]
    return [
        (f"warm Python p50 overhead at concurrency 1: {overhead:.0f} µs, target <= {OVERHEAD_US_MAX} µs",
         overhead <= OVERHEAD_US_MAX),
        (f"warm Python calls/s at concurrency {CONCURRENT}: {rate:.0f}, target >= {CALLS_PER_S_MIN}",
         rate >= CALLS_PER_S_MIN),
    ]


def table(subjects):
    lines = ["| subject | p50 at 1, µs | p99 at 1, µs | CPU per call at 1, µs | calls/s at 16 | p99 at 16, µs "
             "| CPU per call at 16, µs |", "|---|---|---|---|---|---|---|"]
    for subject in subjects:
        figures = subject.figures()
        one, many = figures["c1"], figures.get("c16")
        cells = [show(one["p50_us"]), show(one["p99_us"]), show(one["cpu_us_per_call"])]
        cells += [show(many["calls_per_s"]), show(many["p99_us"]), show(many["cpu_us_per_call"])] if many else ["-"] * 3
        lines.append(f"| {subject.name} | " + " | ".join(cells) + " |")
    return lines


def own_time_us():
    """What the Python handler takes by itself, called 100,000 times in one process."""
    code = "import time, hello\nt = time.perf_counter()\nfor _ in range(100000): hello.handler({'name': 'Ada'}, None)\n" \
           "print((time.perf_counter() - t) * 10)"
    return float(subprocess.run([sys.executable, "-c", code], cwd=ROOT / "bench" / "functions", check=True,
                                capture_output=True, text=True).stdout)


def hyper_hello(stack):
    """Bare hyper: the floor of every HTTP figure."""
    folder = ROOT / "bench" / "hyper-hello"
    target = WORK / "hyper-hello"
    subprocess.run(["cargo", "build", "--release", "--quiet", "--locked", "--target-dir", target], cwd=folder, check=True)
    process = stack.enter_context(subprocess.Popen([target / "release" / "hyper-hello"], stdout=subprocess.PIPE, text=True))
    stack.callback(process.kill)
    url = process.stdout.readline().strip()
    return Subject("bare hyper hello", url, dict, lambda: [process.pid])


def deployed(server, client, options):
    """One function per runtime; the Invoke API for each, and a URL for those of the managed runtimes."""
    source = ROOT / "bench" / "functions"
    made = {
        "python": functions.create(client, functions.zipped({"hello.py": (source / "hello.py").read_text()}),
                                   handler="hello.handler", Timeout=30),
        "node": functions.create(client, functions.zipped({"hello.js": (source / "hello.js").read_text()}),
                                 runtime=functions.node_runtime(), handler="hello.handler", Timeout=30),
    }
    rust = rust_bootstrap()
    if rust:
        made["rust bootstrap"] = functions.create(
            client, functions.zipped({"bootstrap!": rust.read_bytes()}), runtime="provided.al2023", Timeout=30)
    with_url = ["python", "node"]  # The Rust example wants `name` in the event itself, which a URL's event has not.
    # Not the environment's own link to it: a function does not see its folder.
    interpreter = pathlib.Path(sys.executable).resolve()
    ric = {"hello.py": (source / "hello.py").read_text(),
           "bootstrap!": f'#!/bin/sh\ncd "$LAMBDA_TASK_ROOT"\nexec {interpreter} -m awslambdaric "$_HANDLER"\n'}
    made["awslambdaric on our Runtime API"] = functions.create(
        client, functions.zipped_folder(vendored("awslambdaric==4.2.2"), ric), runtime="provided.al2023",
        handler="hello.handler", Timeout=30)
    pids = lambda: [server.process.pid, *server.descendants()]
    subjects = []
    for name, function in made.items():
        answer = client.invoke(FunctionName=function, Payload=BODY)
        assert "FunctionError" not in answer, f"{name}: {answer['Payload'].read()!r}"
        path = f"{server.endpoint}/2015-03-31/functions/{function}/invocations"
        # Signed anew for every round: a signature is good for five minutes.
        sign = lambda path=path: wire.sign(server, path, "POST", {"Content-Type": "application/json"}, BODY.encode())
        subjects.append(Subject(f"{name}, Invoke", path, sign, pids))
    for name in with_url:
        client.create_function_url_config(FunctionName=made[name], AuthType="NONE")
        url = f"{server.endpoint}/lambda-url/{made[name]}/"
        subjects.append(Subject(f"{name}, URL", url, lambda: {"Content-Type": "application/json"}, pids))
    return subjects


def rust_bootstrap():
    """The example, built; None where it is not there."""
    folder = ROOT / "examples" / "rust-bootstrap"
    if not folder.exists():
        return None
    target = WORK / "rust-bootstrap"
    subprocess.run(["cargo", "build", "--release", "--quiet", "--locked", "--target-dir", target], cwd=folder, check=True)
    return target / "release" / "bootstrap"


def vendored(*requirements):
    """A folder with these packages, kept."""
    folder = WORK / "-".join(requirements)
    if not folder.exists():
        fresh = folder.with_name(folder.name + ".new")
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--target", fresh, *requirements], check=True)
        fresh.rename(folder)
    return folder


def rie(stack, options):
    """awslambdaric under AWS's own emulator, which runs one event at a time. It ships inside aws-sam-cli."""
    if options.no_emulator:
        return None
    folder = WORK / "aws-sam-cli"
    if not folder.exists():
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder,
                        "aws-sam-cli"], check=True)
    binary = next(folder.rglob("aws-lambda-rie-x86_64"))
    binary.chmod(0o755)
    ports = [free_port(), free_port()]
    env = os.environ | {"PYTHONPATH": f"{vendored('awslambdaric==4.2.2')}:{ROOT / 'bench' / 'functions'}",
                        "AWS_LAMBDA_FUNCTION_TIMEOUT": "30"}
    process = stack.enter_context(subprocess.Popen(
        [binary, "--log-level", "error", "--runtime-interface-emulator-address", f"127.0.0.1:{ports[0]}",
         "--runtime-api-address", f"127.0.0.1:{ports[1]}", sys.executable, "-m", "awslambdaric", "hello.handler"],
        env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True))
    stack.callback(lambda: os.killpg(process.pid, 9))
    wait_for_port(ports[0])
    url = f"http://127.0.0.1:{ports[0]}/2015-03-31/functions/function/invocations"
    return Subject("awslambdaric under AWS's emulator", url, dict,
                   lambda: [process.pid, *descendants_of(process.pid)], concurrent=False)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for_port(port, seconds=20):
    deadline = time.monotonic() + seconds
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
