"""Many deployed small components: the server's memory, its start, disk, and whether a deployment slows other calls.

Every function is a component of its own: the same code with a custom section, so that each is compiled and kept.
"""

import concurrent.futures
import threading
import time

import functions
import guests
import measure
from cold import Caller
from idle import disk_kib
from measure import spread

QUESTION = "What do many deployed small components cost, and does deploying one slow the calls of another?"
ESTIMATE = "a record of some KiB and 30-45 KiB of machine code each on disk; some KiB of memory; a start of seconds"
DEPLOYERS = 4
# Between two deployments beside the load: the client's own work must not be what slows the calls.
PAUSE_SECONDS = 0.2
SLOWER_MAX = 1.5


def run(new_server, options):
    """Measures on one server of its own, and returns (figures, table lines, verdicts)."""
    with new_server() as server:
        figures = deployed(server, options.functions)
        figures |= restarted(server, options.functions)
        client = server.client(check=False)
        figures |= neighbours(server, client, options)
    lines = ["| what | figure |", "|---|---|"]
    for name, figure in figures.items():
        lines.append(f"| {name} | {measure.show(figure) if isinstance(figure, dict) else f'{figure:.4g}'} |")
    quiet, busy = figures["p99 of another function, quiet, µs"], figures["p99 of another function, while deploying, µs"]
    slower = busy["median"] / quiet["median"]
    return figures, lines, [(f"p99 of another function while components are deployed: {slower:.2f} of the quiet, "
                             f"target <= {SLOWER_MAX}", slower <= SLOWER_MAX)]


def deployed(server, count):
    """Deploys so many and waits until the last is Active."""
    client, wasm = server.client(check=False), guests.HELLO_C.read_bytes()
    caller, first = Caller(server), guests.deploy(client, wasm)
    caller.call(first)  # The engine is there; what is counted below is the functions'.
    memory, disk = measure.memory_kib(server.process.pid), disk_kib(server.data_dir)
    begun = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(DEPLOYERS) as threads:
        list(threads.map(lambda number: create(client, wasm, number), range(count)))
    created = time.monotonic() - begun
    wait_all_active(client)
    active = time.monotonic() - begun
    after = measure.memory_kib(server.process.pid)
    return {
        "functions": count, "CreateFunction, all answered after, s": created, "all Active after, s": active,
        "server before, RSS, KiB": memory["rss"], "server with all, RSS, KiB": after["rss"],
        "memory per 1,000 idle deployed functions, private, KiB":
            (after["private"] - memory["private"]) / count * 1000,
        "disk per function, KiB": (disk_kib(server.data_dir) - disk) / count,
    }


def create(client, wasm, number):
    client.create_function(
        FunctionName=f"many-{number}", Runtime="wasm", Role=functions.ROLE,
        Code={"ZipFile": functions.zipped({"function.wasm": guests.distinct(wasm, number)})})


def wait_all_active(client):
    """Asks page by page, and waits a little between."""
    pages = client.get_paginator("list_functions")
    while any(one["State"] == "Pending" for page in pages.paginate() for one in page["Functions"]):
        time.sleep(1)


def restarted(server, count):
    """Ends it in order, starts it again, and calls one of the functions."""
    server.terminate()
    begun = time.monotonic()
    server.start()
    start = time.monotonic() - begun
    memory, caller = measure.memory_kib(server.process.pid), Caller(server)
    first, second = (caller.call(f"many-{number}")[0] for number in (count // 2, count // 3))
    return {"start of the server with all, s": start, "server after its start, RSS, KiB": memory["rss"],
            "first call after the start, ms": first, "first call of another function, ms": second}


def neighbours(server, client, options):
    """p50 and p99 of one function, in turns with nothing beside it and with deployments beside it."""
    name = guests.deploy(client, guests.HELLO_C.read_bytes())
    url = guests.with_url(server, client, name)
    load = lambda: measure.wrk(url, 1, options.seconds, {}, "{}")
    load()
    quiet, busy = [], []
    for round_ in range(options.rounds):
        quiet.append(load())
        with deploying(client, round_):
            busy.append(load())
    got = {}
    for title, rounds in (("quiet", quiet), ("while deploying", busy)):
        for share in ("p50", "p99"):
            got[f"{share} of another function, {title}, µs"] = spread([one[f"{share}_us"] for one in rounds])
    return got


class deploying:
    """Deploys one new component after another while the block runs, and does not ask how far each is."""

    def __init__(self, client, round_):
        self.client, self.ended = client, threading.Event()
        self.thread = threading.Thread(target=self._deploy, args=((round_ + 1) << 40,))

    def _deploy(self, number):
        wasm = guests.HELLO_C.read_bytes()
        while not self.ended.wait(PAUSE_SECONDS):
            number += 1
            create(self.client, wasm, number)

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()
