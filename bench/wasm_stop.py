"""Endless loops: how long after its deadline each is stopped, and what others notice of them meanwhile."""

import concurrent.futures
import http.client
import time

import guests
import measure
import wire
from measure import show, spread

QUESTION = "How long after its deadline is an endless loop stopped, and how do others answer meanwhile?"
ESTIMATE = "a loop gives way at every tick of the epoch, 5 ms: late by 5-20 ms, as many loops as there are cores or more"
LOOPS = 4
TIMEOUT_S = 2
LATE_MS_MAX = 50
# A core module whose `_start` is `(loop (br 0))`.
LOOP = (b"\0asm\x01\0\0\0" + b"\x01\x04\x01\x60\0\0" + b"\x03\x02\x01\0" + b"\x07\x0a\x01\x06_start\0\0"
        + b"\x0a\x09\x01\x07\0\x03\x40\x0c\0\x0b\x0b")
CALLS = 100


def run(server, client, options):
    """Measures everything, and returns (figures, table lines, verdicts)."""
    looping = guests.deploy(client, LOOP)
    client.update_function_configuration(FunctionName=looping, Timeout=TIMEOUT_S)
    guests.functions.wait_active(client, looping)
    url = guests.with_url(server, client, guests.deploy(client, guests.HELLO_C.read_bytes()))
    measure.wrk(url, 16, 1, {}, "{}")
    rounds = [one_round(server, looping, url) for _ in range(options.rounds)]
    figures = {key: spread([one[key] for one in rounds]) for key in rounds[0]}
    late, answered = figures["late_ms_worst"]["max"], int(figures["answered"]["min"])
    lines = ["| what | |", "|---|---|",
             f"| a loop is stopped after its deadline, ms: median of {LOOPS} | {show(figures['late_ms'])} |",
             f"| the latest of {LOOPS}, ms | {show(figures['late_ms_worst'])} |",
             f"| others answer meanwhile, calls | {show(figures['answered'])} |",
             f"| their p50 and p99, ms | {show(figures['p50_ms'])}, {show(figures['p99_ms'])} |"]
    return figures, lines, [
        (f"the latest loop was stopped {late:.0f} ms after its deadline, target <= {LATE_MS_MAX} ms", late <= LATE_MS_MAX),
        (f"{answered} other calls were answered meanwhile, target >= {CALLS}", answered >= CALLS)]


def one_round(server, looping, url):
    """All loops at once, and the neighbour under load until after they have ended; its calls before that are counted."""
    with concurrent.futures.ThreadPoolExecutor(LOOPS) as threads:
        loops = [threads.submit(stopped, server, looping) for _ in range(LOOPS)]
        others = measure.wrk(url, 16, TIMEOUT_S - 1, {}, "{}")
        # The loops are to be stopped while others call: past their deadline, and not counted.
        measure.wrk(url, 16, 2, {}, "{}")
        late = [loop.result() for loop in loops]
    return {"late_ms": measure.percentile(late, 0.5), "late_ms_worst": max(late), "answered": others["calls"],
            "p50_ms": others["p50_us"] / 1e3, "p99_ms": others["p99_us"] / 1e3}


def stopped(server, looping):
    """Milliseconds from the deadline of one call to its answer at the client, which are a little more than the server's."""
    path = f"/2015-03-31/functions/{looping}/invocations"
    headers = wire.sign(server, server.endpoint + path, "POST", {}, b"{}")
    host, port = server.endpoint.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    connection.connect()
    start = time.perf_counter()
    connection.request("POST", path, b"{}", headers)
    reply = connection.getresponse()
    body = reply.read()
    took = time.perf_counter() - start
    assert b"timed out" in body, body
    connection.close()
    return (took - TIMEOUT_S) * 1e3
