"""Asynchronous events: how many are accepted a second, and how soon after its sending one runs.

Rivals in the same rounds, each syncing before it acknowledges: Redis Streams (appendfsync always), NATS JetStream
(sync_interval always). The limit is a plain file with group commit, by the store's own example.
"""

import concurrent.futures
import http.client
import json
import re
import subprocess
import threading
import time
import urllib.parse

import accept_rivals
import functions
import measure
import wire
from measure import ROOT, percentile, show, spread
from squall_server import wait_until

QUESTION = "How many asynchronous events a second are on disk when they are acknowledged, and how soon do they run?"
ESTIMATE = ("plain file with group commit 29-48 k/s with 64 writers, Redis with appendfsync always 34-46 k/s pipelined, "
            "NATS JetStream with sync always 2.5-3 k/s")
SENDERS = (1, 16, 64)
SAMPLES = 600
SHARE_OF_FILE_MIN = 0.5
BODY = '{"name":"Ada","order":17}'
# Events of one function that run at once: `async_per_function_max`.
AT_ONCE = 50

# Holds what it gets, so that nothing but the accepting is measured.
HOLDER = "import time\n\ndef handler(event, context):\n    time.sleep(600)\n"
CLOCK = "import time\n\ndef handler(event, context):\n    return time.time_ns()\n"


def run(new_server, options):
    """Measures on servers of its own, and returns (figures, table lines, verdicts)."""
    accepts = {"squall": lambda senders: squall_rate(new_server, senders, options.seconds),
               "Redis Streams": lambda senders: accept_rivals.redis_rate(senders, options.seconds, BODY),
               "NATS JetStream": lambda senders: accept_rivals.nats_rate(senders, options.seconds, BODY)}
    delays = {"squall": lambda senders: squall_delays(new_server, senders),
              "Redis Streams": lambda senders: accept_rivals.redis_delays(senders, SAMPLES, BODY),
              "NATS JetStream": lambda senders: accept_rivals.nats_delays(senders, SAMPLES, BODY)}
    rounds = {(name, senders): [] for senders in SENDERS for name in accepts}
    for _ in range(options.rounds):
        for name, senders in rounds:
            got = accepts[name](senders)
            times = delays[name](senders)
            got |= {"run_p50_us": percentile(times, 0.5), "run_p99_us": percentile(times, 0.99)}
            rounds[name, senders].append(got)
    figures = {}
    for (name, senders), several in rounds.items():
        keys = several[0].keys() - {"calls"}
        figures.setdefault(name, {})[senders] = {key: spread([one[key] for one in several]) for key in sorted(keys)}
    figures["plain file"] = spread(file_rates())
    return figures, table(figures), verdicts(figures)


def verdicts(figures):
    file, squall = figures["plain file"]["median"], figures["squall"][64]["calls_per_s"]["median"]
    share = squall / file
    return [(f"accepted with 64 senders: {squall:.0f}/s, {share:.2f} of the plain file's {file:.0f}/s, "
             f"target >= {SHARE_OF_FILE_MIN}", share >= SHARE_OF_FILE_MIN)]


def table(figures):
    lines = ["| subject | senders | accepted/s | p50 of accepting, µs | p99, µs | CPU per event, µs "
             "| p50 from sending to running, µs | p99, µs |", "|---|---|---|---|---|---|---|---|"]
    keys = ("calls_per_s", "p50_us", "p99_us", "cpu_us_per_call", "run_p50_us", "run_p99_us")
    for senders in SENDERS:
        for name in figures:
            if name != "plain file":
                cells = [show(figures[name][senders][key]) for key in keys]
                lines.append(f"| {name} | {senders} | " + " | ".join(cells) + " |")
    lines += [f"| plain file, 64 writers, a sync per group | 64 | {show(figures['plain file'])} | - | - | - | - | - |"]
    return lines


def file_rates():
    """A plain file's durable appends a second, with 64 writers, three times."""
    command = ["cargo", "run", "--release", "--quiet", "-p", "squall-store", "--example", "durable_puts", "--", measure.WORK]
    out = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [float(rate) for rate in re.findall(r"^file (\d+)/s", out, re.M)]


def squall_rate(new_server, senders, seconds):
    """What wrk gets accepted, on a server whose instances are all busy: {calls_per_s, p50_us, p99_us, cpu_us_per_call}."""
    with new_server() as server:
        client = server.client(check=False)
        name = functions.create(client, HOLDER, Timeout=900)
        url = f"{server.endpoint}/2015-03-31/functions/{name}/invocations"
        for _ in range(AT_ONCE):
            client.invoke(FunctionName=name, InvocationType="Event", Payload=BODY)
        busy = f'squall_instances{{function="{name}",state="busy"}} {AT_ONCE}\n'
        wait_until("all instances are busy", lambda: busy in server.squall("metrics").stdout, 60)
        headers = wire.sign(server, url, "POST", event_headers(), BODY.encode())
        pids = [server.process.pid]
        before = measure.cpu_seconds(pids)
        got = measure.wrk(url, senders, seconds, headers, BODY)
        got["cpu_us_per_call"] = (measure.cpu_seconds(pids) - before) / got["calls"] * 1e6
        # What it holds would keep it from ending in order.
        server.kill9()
        return got


def event_headers():
    return {"Content-Type": "application/json", "X-Amz-Invocation-Type": "Event"}


def squall_delays(new_server, senders):
    """Microseconds from sending an event to its handler, of events that `senders` threads send one after the other."""
    with new_server() as server:
        name = functions.create(server.client(check=False), CLOCK, Timeout=30)
        path = f"/2015-03-31/functions/{name}/invocations"
        sent, lock = {}, threading.Lock()

        def send_some(_):
            connection = http.client.HTTPConnection(urllib.parse.urlsplit(server.endpoint).netloc, timeout=60)
            for _ in range(max(1, SAMPLES // senders)):
                headers = wire.sign(server, server.endpoint + path, "POST", event_headers(), BODY.encode())
                at = time.time_ns()
                connection.request("POST", path, BODY, headers)
                answer = connection.getresponse()
                answer.read()
                assert answer.status == 202, answer.status
                with lock:
                    sent[answer.headers["x-amzn-requestid"]] = at
            connection.close()

        # Instances are there before anything is timed.
        warm = [server.client(check=False).invoke(FunctionName=name, InvocationType="Event", Payload=BODY)
                for _ in range(senders)]
        result_of(server, warm[-1]["ResponseMetadata"]["RequestId"])
        with concurrent.futures.ThreadPoolExecutor(senders) as pool:
            list(pool.map(send_some, range(senders)))
        return [(result_of(server, request_id) - at) / 1000 for request_id, at in sent.items()]


def result_of(server, request_id):
    def found():
        answer = wire.send_signed(server, f"/squall/v1/invocations/{request_id}")
        assert answer.status == 200, answer
        return json.loads(answer.body).get("response")

    return wait_until(f"{request_id} ran", found, 60)
