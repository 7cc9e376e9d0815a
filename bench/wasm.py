"""Components through the function URL at 1, 16 and 64 connections, next to their rivals in the same rounds.

The C component echoes; the JavaScript one greets, and so do Node and workerd. `wasmtime serve` is its own handler in a
program of the same wasmtime release (crates/runtime-wasm/examples/serve.rs), with the pooling allocator, which it
uses where it can, and on demand. The same program, made as bare as it goes, is the limit: hyper and the guest, and
nothing of a platform. Nothing is pinned to a core: each has the whole machine, and wrk shares it.
"""

import contextlib

import guests
import measure
from measure import show, spread
from warm import hyper_hello

QUESTION = "Components over HTTP with keep-alive: how many requests, and for how much CPU?"
ESTIMATE = ("server CPU per request: bare hyper 12-14 µs, Node 35-42, workerd 105-140, `wasmtime serve` 280; ours fresh "
            "51-55 µs, used again 22-28, JavaScript 330-450")
BODY = '{"name":"Ada"}'
CONNECTIONS = (1, 16, 64)
KEYS = ("p50_us", "p99_us", "calls_per_s", "cpu_us_per_call")
JSON = {"Content-Type": "application/json"}


class Subject:
    """Something that answers POSTs: where, and whose CPU it uses."""

    def __init__(self, name, url, pids):
        self.name, self.url, self.pids = name, url, pids
        self.rounds = {connections: [] for connections in CONNECTIONS}

    def round(self, seconds):
        for connections, rounds in self.rounds.items():
            before = measure.cpu_seconds(self.pids())
            got = measure.wrk(self.url, connections, seconds, JSON, BODY)
            got["cpu_us_per_call"] = (measure.cpu_seconds(self.pids()) - before) / got["calls"] * 1e6
            rounds.append(got)

    def figures(self):
        return {f"c{connections}": {key: spread([one[key] for one in rounds]) for key in KEYS}
                for connections, rounds in self.rounds.items()}


def run(server, client, options):
    """Measures everything, and returns (figures, table lines, verdicts)."""
    with contextlib.ExitStack() as stack:
        hyper = hyper_hello(stack)
        subjects = [Subject(hyper.name, hyper.url, hyper.pids), *ours(server, client), *rivals(stack)]
        for subject in subjects:
            measure.wrk(subject.url, 16, 1, JSON, BODY)
        for _ in range(options.rounds):
            for subject in subjects:
                subject.round(options.seconds)
    figures = {subject.name: subject.figures() for subject in subjects}
    return figures, table(figures), verdicts(figures)


def ours(server, client):
    """The functions."""
    pids = lambda: [server.process.pid, *server.descendants()]
    again = {"Variables": {"SQUALL_WASM_REUSE": "100000"}}
    made = {
        "squall, C, fresh instance": guests.deploy(client, guests.HELLO_C.read_bytes()),
        "squall, C, instance used again": guests.deploy(client, guests.HELLO_C.read_bytes(), Environment=again),
        "squall, JavaScript, fresh instance": guests.deploy(client, guests.hello_js().read_bytes(), MemorySize=256),
    }
    return [Subject(name, guests.with_url(server, client, function), pids) for name, function in made.items()]


def rivals(stack):
    serve = guests.example("serve")
    commands = {
        "`wasmtime serve`, C, pooling": [serve, guests.HELLO_C, "pooling"],
        "`wasmtime serve`, C, on demand": [serve, guests.HELLO_C, "on-demand"],
        "`wasmtime serve`, JavaScript, pooling": [serve, guests.hello_js(), "pooling"],
        "hyper and wasmtime alone, C, fresh instance": [serve, guests.HELLO_C, "bare"],
        "hyper and wasmtime alone, C, instance used again": [serve, guests.HELLO_C, "bare-reused"],
        "Node http": guests.node(),
    }
    found = {name: stack.enter_context(guests.printing_its_address(command)) for name, command in commands.items()}
    found["workerd"] = stack.enter_context(guests.workerd())
    return [Subject(name, f"{url}/", lambda process=process: [process.pid]) for name, (url, process) in found.items()]


def table(figures):
    lines = ["| subject | connections | requests/s | p50, µs | p99, µs | server CPU per request, µs |",
             "|---|---|---|---|---|---|"]
    for name, one in figures.items():
        for connections in CONNECTIONS:
            at = one[f"c{connections}"]
            lines.append(f"| {name} | {connections} | {show(at['calls_per_s'])} | {show(at['p50_us'])} | "
                         f"{show(at['p99_us'])} | {show(at['cpu_us_per_call'])} |")
    return lines


def verdicts(figures):
    """At 16 connections, as shares of each rival's requests per second."""
    rate = lambda name: figures[name]["c16"]["calls_per_s"]["median"]
    bars = [("squall, C, fresh instance", "`wasmtime serve`, C, pooling", 1.0),
            ("squall, C, fresh instance", "`wasmtime serve`, C, on demand", 1.0),
            ("squall, C, fresh instance", "workerd", 1.5),
            ("squall, C, fresh instance", "bare hyper hello", 0.3),
            ("squall, C, instance used again", "bare hyper hello", 0.6)]
    got = []
    for subject, rival, least in bars:
        share = rate(subject) / rate(rival)
        got.append((f"{subject}: {share:.2f} of the requests/s of {rival}, target >= {least:g}", share >= least))
    return got
