"""Cold starts: an instance from the zygote, the first call of a revision, Node; each next to a fresh interpreter.

A cold start is forced one at a time: a call that holds takes the idle instance, so the next call needs a new one.
What is timed is the whole call at the client, over a kept-alive connection, to the answer's last byte.
"""

import base64
import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time

import functions
import measure
import wire
from measure import ROOT, WORK, show, spread
from squall_server import wait_until

QUESTION = "How long does a call take that needs a new instance?"
ESTIMATE = "zygote 1.3-5.2 ms; `python3 -c pass` 8-13 ms; the same handler as a fresh process 27-584 ms"
TARGETS_MS = {"python, json": 10, "python, boto3 + numpy": 15}


class Holder:
    """Occupies instances until it is released: a call that waits on a pipe takes no CPU."""

    def __init__(self, server, client, function):
        self.client, self.function, self.threads = client, function, []
        # In the folder that functions see, for whatever user they are.
        self.folder = tempfile.mkdtemp(prefix="hold-", dir=server.data_dir.parent)
        self.pipe = os.path.join(self.folder, "hold")
        os.mkfifo(self.pipe)
        os.chmod(self.folder, 0o777)
        os.chmod(self.pipe, 0o666)

    def take_idle_instance(self):
        inside = os.path.join(self.folder, f"{len(self.threads)}.in")
        payload = json.dumps({"hold": self.pipe, "in": inside})
        thread = threading.Thread(
            target=lambda: self.client.invoke(FunctionName=self.function, Payload=payload)["Payload"].read())
        thread.start()
        self.threads.append(thread)
        wait_until("the holding call is inside", lambda: os.path.exists(inside), 60, 0.001)

    def release(self):
        end = os.open(self.pipe, os.O_RDWR)
        os.close(os.open(self.pipe, os.O_WRONLY))
        os.close(end)
        for thread in self.threads:
            thread.join()


class Caller:
    """Calls over one kept-alive connection, signed before the clock starts."""

    def __init__(self, server):
        self.server = server
        host, port = server.endpoint.removeprefix("http://").split(":")
        self.connection = http.client.HTTPConnection(host, int(port), timeout=120)

    def call(self, function):
        """(milliseconds, Init Duration or None) of one call."""
        path = f"/2015-03-31/functions/{function}/invocations"
        headers = wire.sign(self.server, self.server.endpoint + path, "POST", {"X-Amz-Log-Type": "Tail"}, b"{}")
        start = time.perf_counter()
        self.connection.request("POST", path, b"{}", headers)
        reply = self.connection.getresponse()
        body = reply.read()
        took = (time.perf_counter() - start) * 1e3
        assert reply.status == 200 and not reply.getheader("x-amz-function-error"), body
        log = base64.b64decode(reply.getheader("x-amz-log-result")).decode(errors="replace")
        found = re.search(r"Init Duration: ([\d.]+) ms", log)
        return took, found and float(found[1])


def cold_round(client, caller, function, samples):
    """p50 and p99 of so many calls that each started an instance, and the server's own figure for the start."""
    caller.call(function)
    holder, took, inits = Holder(caller.server, client, function), [], []
    try:
        for _ in range(samples):
            holder.take_idle_instance()
            milliseconds, init = caller.call(function)
            took.append(milliseconds)
            inits += [init] if init is not None else []
    finally:
        holder.release()
    return {"p50_ms": measure.percentile(took, 0.5), "p99_ms": measure.percentile(took, 0.99),
            "init_p50_ms": measure.percentile(inits, 0.5) if inits else 0.0, "cold_share": len(inits) / samples}


def first_round(client, caller, function, samples):
    """The first call of a revision: no zygote of it has been there. A changed variable makes a new revision."""
    took = []
    for number in range(samples):
        client.update_function_configuration(
            FunctionName=function, Environment={"Variables": {"ROUND": f"{time.time()}-{number}"}})
        functions.wait_active(client, function)
        took.append(caller.call(function)[0])
    return {"p50_ms": measure.percentile(took, 0.5), "p99_ms": max(took)}


def fresh_process_round(samples):
    """The rivals: interpreters that do nothing, and the handlers as processes of their own."""
    call = "print({}.cold({{}}, None))"
    source, heavy = ROOT / "bench" / "functions", heavy_folder()
    env = os.environ | {"PYTHONPATH": f"{heavy}"}
    commands = {
        "`python3 -c pass`": ([sys.executable, "-c", "pass"], source, None),
        "`node -e 0`": (["node", "-e", "0"], source, None),
        "python, json, as a process": ([sys.executable, "-c", "import hello; " + call.format("hello")], source, None),
        "python, boto3 + numpy, as a process":
            ([sys.executable, "-c", "import heavy; " + call.format("heavy")], source, env),
    }
    rounds = {}
    for name, (command, cwd, environment) in commands.items():
        took = [measure.wall_ms(command, cwd, environment) for _ in range(samples)]
        rounds[name] = {"p50_ms": measure.percentile(took, 0.5), "p99_ms": max(took)}
    return rounds


def heavy_folder():
    """boto3 and numpy, without their tests, small enough for a package."""
    folder = WORK / "boto3-numpy"
    if not folder.exists():
        fresh = folder.with_name(folder.name + ".new")
        shutil.rmtree(fresh, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--target", fresh, "boto3==1.43.11", "botocore==1.43.11",
                        "numpy==2.4.6"], check=True)
        for unused in [*fresh.rglob("tests"), *fresh.rglob("__pycache__"), fresh / "bin"]:
            shutil.rmtree(unused, ignore_errors=True)
        fresh.rename(folder)
    return folder


def run(server, client, options):
    """Measures everything, and returns (figures, table lines, verdicts)."""
    source = {path.name: path.read_text() for path in (ROOT / "bench" / "functions").iterdir() if path.is_file()}
    light = functions.zipped({"hello.py": source["hello.py"]})
    heavy = functions.zipped_folder(heavy_folder(), {name: source[name] for name in ("hello.py", "heavy.py")})
    made = {
        "python, json": functions.create(client, light, handler="hello.cold", Timeout=300, MemorySize=256),
        "python, boto3 + numpy": functions.create(client, heavy, handler="heavy.cold", Timeout=300, MemorySize=512),
        "node": functions.create(client, functions.zipped({"hello.js": source["hello.js"]}), handler="hello.cold",
                                 runtime=functions.node_runtime(), Timeout=300, MemorySize=256),
    }
    rounds, caller = {}, Caller(server)
    for _ in range(options.rounds):
        for name, function in made.items():
            rounds.setdefault(f"{name}: new instance", []).append(cold_round(client, caller, function, options.samples))
            rounds.setdefault(f"{name}: first call of a revision", []).append(first_round(client, caller, function, 5))
        for name, figures in fresh_process_round(10).items():
            rounds.setdefault(name, []).append(figures)
    figures = {name: {key: spread([one[key] for one in some], 2) for key in some[0]} for name, some in rounds.items()}
    return figures, table(figures), verdicts(figures)


def table(figures):
    lines = ["| what | p50, ms | p99 (rivals and first calls: worst), ms | Init Duration p50, ms | calls with an init |",
             "|---|---|---|---|---|"]
    for name, one in figures.items():
        init = show(one["init_p50_ms"]) if "init_p50_ms" in one else "-"
        share = show(one["cold_share"]) if "cold_share" in one else "-"
        lines.append(f"| {name} | {show(one['p50_ms'])} | {show(one['p99_ms'])} | {init} | {share} |")
    return lines


def verdicts(figures):
    got = []
    for name, target in TARGETS_MS.items():
        p50 = figures[f"{name}: new instance"]["p50_ms"]["median"]
        got.append((f"cold start of {name}: p50 {p50:.2f} ms, target <= {target} ms", p50 <= target))
    return got
