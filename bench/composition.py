"""Figure 1 of Cloudburst: square(increment(x)), one after the other, next to Dask distributed and Ray.

A composition runs its functions in processes of their own, or, where it is fused, in one.
"""

import json
import subprocess
import sys
import time

from measure import ROOT, WORK, percentile, show, spread

sys.path.insert(0, str(ROOT / "sdk" / "python"))

QUESTION = "What does a composition of two functions cost, next to Dask's and Ray's?"
ESTIMATE = "0.6 ms for two functions and 0.4 ms for one, against 20 ms (Dask) and 6 ms (Ray)"
CALLS, WARM_UP = 1000, 100
# A large value, with fewer calls: one for each of so many. Lambda's limit for a result is 6 MiB.
LARGE_BYTES, CALLS_PER_LARGE = 4_000_000, 10
RIVALS = ["distributed==2026.8.0", "ray==2.60.0"]
DASK_MAX, RAY_MAX, TWO_TO_ONE_MAX = 0.08, 0.25, 1.3


class Subject:
    """Something that is called with a number, and the times that it took in each round."""

    def __init__(self, name, measure):
        self.name, self.measure, self.rounds = name, measure, []

    def figures(self):
        share = lambda share: spread([percentile(times, share) * 1e6 for times in self.rounds], 0)
        return {"p50_us": share(0.5), "p99_us": share(0.99)}


def run(server, client, options):
    """Measures everything, and returns (figures, table lines, verdicts)."""
    rivals = [Rival("dask"), Rival("ray")]
    try:
        subjects = [*ours(server), *(subject for rival in rivals for subject in rival.subjects())]
        for _ in range(options.rounds):
            for subject in subjects:
                subject.measure(WARM_UP)
                subject.rounds.append(subject.measure(CALLS))
    finally:
        for rival in rivals:
            rival.end()
    figures = {subject.name: subject.figures() for subject in subjects}
    lines = ["| subject | p50, µs | p99, µs |", "|---|---|---|"]
    for name, figure in figures.items():
        lines.append(f"| {name} | {show(figure['p50_us'])} | {show(figure['p99_us'])} |")
    return figures, lines, verdicts(figures)


def verdicts(figures):
    at = lambda name, share: figures[name][f"{share}_us"]["median"]
    said = []
    for rival, most in (("Dask", DASK_MAX), ("Ray", RAY_MAX)):
        for share in ("p50", "p99"):
            ratio = at("Squall, dag of two", share) / at(f"{rival}, two", share)
            said.append((f"two functions, {share}: {ratio:.3f}x {rival}, target <= {most}x", ratio <= most))
    for subject, where in (("Squall, dag of two", "processes of their own"), ("Squall, dag of two, fused", "one process")):
        ratio = at(subject, "p50") / at("Squall, one function", "p50")
        text = f"two functions in {where} cost {ratio:.2f}x of one (p50), target <= {TWO_TO_ONE_MAX}x"
        said.append((text, ratio <= TWO_TO_ONE_MAX))
    return said


def ours(server):
    """Through the Python client, as its users call."""
    from squall import Client

    env = server.env
    c = Client(server.endpoint, env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"], env["AWS_REGION"])
    inc, sq = c.register(lambda x: x + 1, "increment"), c.register(lambda x: x * x, "square")
    edges = [("increment", "square")]
    dag, fused = c.dag("compose", [inc, sq], edges), c.dag("compose-fused", [inc, sq], edges, fused=True)
    squared = lambda call: lambda count: timed(count, lambda x: call(x).get(), lambda x: (x + 1) ** 2)
    return [
        Subject("Squall, one function", lambda count: timed(count, lambda x: inc(x).get(), lambda x: x + 1)),
        Subject("Squall, dag of two", squared(dag)),
        Subject("Squall, dag of two, fused", squared(fused)),
        Subject("Squall, dag of two, recorded", squared(lambda x: dag(x, direct=False))),
        *large(c),
    ]


def large(c):
    """Two functions with a large value between them."""
    make = c.register(lambda x, size=LARGE_BYTES: bytes((x % 256,)) * size, "make", memory=1024)
    last = c.register(lambda value: value[-1], "last", memory=1024)
    last_of = lambda dag: lambda count: timed(count // CALLS_PER_LARGE, lambda x: dag(x).get(), lambda x: x % 256)
    edges, name = [("make", "last")], f"Squall, dag of two with {LARGE_BYTES // 10**6} MB between them"
    return [
        Subject(name, last_of(c.dag("large", [make, last], edges))),
        Subject(name + ", fused", last_of(c.dag("large-fused", [make, last], edges, fused=True))),
    ]


def timed(count, call, expected):
    times = []
    for x in range(count):
        start = time.perf_counter()
        got = call(x)
        times.append(time.perf_counter() - start)
        assert got == expected(x), (got, x)
    return times


class Rival:
    """A rival in a process and an environment of its own, which is told how many calls to make."""

    def __init__(self, name):
        self.name = name
        command = [python(), ROOT / "bench" / "composition_rival.py", name]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline().strip() == "ready", f"{name} did not start"

    def subjects(self):
        title = self.name.capitalize()
        return [Subject(f"{title}, {which}", lambda count, which=which: self._ask(which, count))
                for which in ("one", "two")]

    def _ask(self, which, count):
        self.process.stdin.write(f"{which} {count}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def end(self):
        self.process.stdin.close()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()


def python():
    """The interpreter of an environment with the rivals, made once."""
    folder = WORK / "composition-rivals"
    found = folder / "bin" / "python"
    if not (folder / "whole").exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([found, "-m", "pip", "install", "--quiet", *RIVALS], check=True)
        (folder / "whole").touch()
    return found
