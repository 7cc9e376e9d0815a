"""State from inside a Python function, next to redis-py on loopback; and what each level of consistency costs.

Both sides are Squall functions that time their own calls, so the way to the function is in neither's figures.
"""

import re
import subprocess
import sys
import tempfile

from measure import ROOT, WORK, percentile, show, spread
from redis_server import redis_package, redis_server

sys.path.insert(0, str(ROOT / "sdk" / "python"))

QUESTION = "What do a get and a put inside a Python function cost, and what does consistency?"
ESTIMATE = "a hot get 40-60 µs (a frame there and back, two switches of the process), redis-py 120-180 µs; a durable put a sync of the disk"
CALLS, WARM_UP, VALUE_BYTES = 2000, 200, 100
GET_MAX = 0.5
DURABILITIES = ("memory", "buffered", "durable")
RUNS, ROUNDS_OF_LEVELS = 1000, 1


class Timed:
    """Times calls of one shelf inside of the function."""

    def __init__(self, shelf, *arguments):
        self.shelf = shelf(*arguments)

    def run(self, operation, count, size):
        import time

        value, times = b"x" * size, []
        call = {"get": self.shelf.get, "put": self.shelf.put}[operation]
        arguments = () if operation == "get" else (value,)
        self.shelf.put(value)
        for _ in range(count):
            start = time.perf_counter()
            call(*arguments)
            times.append(time.perf_counter() - start)
        assert self.shelf.get() == value
        return times


class SquallShelf:
    def __init__(self, bucket):
        import squall

        self.bucket = squall.bucket(bucket)

    def get(self):
        return self.bucket.get("key")

    def put(self, value):
        self.bucket.put("key", value)


class RedisShelf:
    def __init__(self, port):
        import redis

        self.redis = redis.Redis(port=port)

    def get(self):
        return self.redis.get("key")

    def put(self, value):
        self.redis.set("key", value)


def run(server, _, options):
    """Measures everything, and returns (figures, table lines, verdicts)."""
    from squall import Client

    env = server.env
    c = Client(server.endpoint, env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"], env["AWS_REGION"])
    with redis_server() as port:
        subjects = {}
        for durability in DURABILITIES:
            bucket = "bench-state-" + durability
            c.create_bucket(bucket, durability=durability)
            subjects["Squall, " + durability] = c.register((Timed, (SquallShelf, bucket)), bucket, buckets=[bucket])
        subjects["Redis"] = c.register((Timed, (RedisShelf, port)), "bench-state-redis", include=[redis_package()])
        rounds = {(name, operation): [] for name in subjects for operation in ("get", "put")}
        for _ in range(options.rounds):
            for (name, operation), of in rounds.items():
                subjects[name](operation, WARM_UP, VALUE_BYTES).get(timeout=60)
                of.append(subjects[name](operation, CALLS, VALUE_BYTES).get(timeout=60))
    figures = {f"{name}, {operation}": {f"p{share}_us": spread([percentile(times, share / 100) * 1e6 for times in of])
                                        for share in (50, 99)} for (name, operation), of in rounds.items()}
    lines = ["| inside a Python function | p50, µs | p99, µs |", "|---|---|---|"]
    for name, figure in figures.items():
        lines.append(f"| {name} | {show(figure['p50_us'])} | {show(figure['p99_us'])} |")
    figures["levels"], table = levels()
    return figures, [*lines, "", *table], verdicts(figures)


def verdicts(figures):
    ours, theirs = (figures[name]["p50_us"]["median"] for name in ("Squall, durable, get", "Redis, get"))
    return [(f"a hot get: {ours / theirs:.2f}x of redis-py's GET (p50), target <= {GET_MAX}x", ours <= GET_MAX * theirs)]


def levels():
    """Cloudburst's workload at each level in one process, with a simulated network: (figures, table lines)."""
    with tempfile.TemporaryDirectory(prefix="levels-", dir=WORK) as folder:
        command = ["cargo", "run", "--release", "--quiet", "--package", "squall-state", "--example", "consistency", "--",
                   folder, RUNS, ROUNDS_OF_LEVELS]
        out = subprocess.run([str(word) for word in command], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    table = [line for line in out.splitlines() if line.startswith("|")]
    end = next((at for at, line in enumerate(table) if line.startswith("| durability")), len(table))
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table[:end]]
    names = [re.sub(r"\W+", "_", name).strip("_") for name in rows[0]]
    return {row[0]: dict(zip(names[1:], row[1:])) for row in rows[2:]}, table[:end]
