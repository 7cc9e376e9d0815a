"""The sum of ten arrays: beside a cache that holds them, from the store alone, from Redis, in the process itself.

After Cloudburst's B2. All are Squall functions that are called alike and timed at the caller, but for the last: it is
the sum alone over arrays that its function has kept, timed in the function, and so the bound of all others.
Cold is the first read after a start of the server, by an instance that runs already.
"""

import sys
import time

from measure import ROOT, percentile, show, spread
from redis_server import redis_package, redis_server
from warm import vendored

sys.path.insert(0, str(ROOT / "sdk" / "python"))

NUMPY = "numpy==2.4.6" if sys.version_info >= (3, 11) else "numpy<2.1"
QUESTION = "How long does the sum of ten arrays take, by where they are?"
ESTIMATE = "10 x 800 KB: hot 1 ms, in the process 0.4 ms, cold 10 ms, Redis 15 ms"
ARRAYS, BUCKET = 10, "bench-locality"
# Bytes of each array; calls of each subject and round; sets of ten arrays, each read once after a start.
SIZES = {8_000: (200, 20), 80_000: (200, 20), 800_000: (100, 10), 8_000_000: (20, 2)}
WARM_UP = 3
BAR_BYTES = 800_000
OVER_REDIS_MIN, OVER_COLD_MIN, OVER_PROCESS_MS, OVER_PROCESS = 10, 5, 1.0, 2


def fill(bucket, port, prefix, count, size):
    """Writes the arrays to both stores: the sum of all that they hold."""
    import numpy
    import redis

    import squall

    shelf, rival, total = squall.bucket(bucket), redis.Redis(port=port), 0.0
    for number in range(count):
        array = numpy.random.default_rng(number).random(size // 8)
        shelf.put(f"{prefix}-{number}", array)
        rival.set(f"{prefix}-{number}", array.tobytes())
        total += float(array.sum())
    return total


def sum_of_arguments(*arrays):
    return float(sum(float(array.sum()) for array in arrays))


class FromRedis:
    """A stateless function: it reads what it needs, every time, over a connection that it keeps."""

    def __init__(self, port):
        import redis

        self.redis = redis.Redis(port=port)

    def run(self, prefix, count):
        import numpy

        found = self.redis.mget([f"{prefix}-{number}" for number in range(count)])
        return float(sum(float(numpy.frombuffer(one).sum()) for one in found))


class InProcess:
    """Keeps the arrays of a prefix, and answers how long their sum alone takes."""

    def __init__(self):
        self.kept = {}

    def run(self, prefix, count, size):
        import time

        import numpy

        if prefix not in self.kept:
            self.kept = {prefix: [numpy.random.default_rng(number).random(size // 8) for number in range(count)]}
        start = time.perf_counter()
        total = sum(float(array.sum()) for array in self.kept[prefix])
        return total, time.perf_counter() - start


def run(server, _, options):
    """Measures everything, and returns (figures, table lines, verdicts)."""
    with redis_server() as port:
        bench = Bench(server, port)
        figures = {f"10 x {size} B": bench.size(size, calls, sets, options.rounds)
                   for size, (calls, sets) in SIZES.items()}
    lines = ["| arrays | subject | p50, ms | p99, ms |", "|---|---|---|---|"]
    for arrays, subjects in figures.items():
        for name, figure in subjects.items():
            lines.append(f"| {arrays} | {name} | {show(figure['p50_ms'])} | {show(figure['p99_ms'])} |")
    return figures, lines, verdicts(figures[f"10 x {BAR_BYTES} B"])


def references(prefix):
    from squall import Ref

    return [Ref(BUCKET, f"{prefix}-{number}") for number in range(ARRAYS)]


class Bench:
    """The functions of one server, and what is asked of them."""

    def __init__(self, server, port):
        self.server, self.port = server, port
        self.connect()
        numpy = [folder for folder in vendored(NUMPY).iterdir() if folder.name in ("numpy", "numpy.libs")]
        redis = [redis_package(), *numpy]
        self.c.create_bucket(BUCKET, durability="buffered")
        self.c.register(fill, "bench-locality-fill", memory=1024, include=redis, buckets=[BUCKET])
        self.c.register(sum_of_arguments, "bench-locality-sum", memory=1024, include=numpy, buckets=[BUCKET])
        self.c.register((FromRedis, (port,)), "bench-locality-redis", memory=1024, include=redis)
        self.c.register((InProcess, ()), "bench-locality-process", memory=1024, include=numpy)

    def connect(self):
        from squall import Client

        env = self.server.env
        self.c = Client(self.server.endpoint, env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"], env["AWS_REGION"])

    def call(self, function, *arguments):
        return self.c.function("bench-locality-" + function)(*arguments).get(timeout=300)

    def size(self, size, calls, sets, rounds):
        """Figures of each subject, with arrays of one size."""
        prefixes = [f"of-{size}-{number}" for number in range(sets)]
        self.total = [self.call("fill", BUCKET, self.port, prefix, ARRAYS, size) for prefix in prefixes][0]
        times = {name: [] for name in ("hot", "cold", "Redis", "in the process")}
        for _ in range(rounds):
            times["cold"].append(self.cold(prefixes))
            arguments = references(prefixes[0])
            times["hot"].append(self.timed(calls, "sum", *arguments))
            times["Redis"].append(self.timed(calls, "redis", prefixes[0], ARRAYS))
            times["in the process"].append(self.in_process(calls, prefixes[0], size))
        return {name: {f"p{share}_ms": spread([percentile(of, share / 100) * 1e3 for of in rounds], 3)
                       for share in (50, 99)} for name, rounds in times.items()}

    def cold(self, prefixes):
        """Each set once, after a start, by an instance that has imported all and read something else."""
        self.server.restart()
        self.connect()
        self.call("fill", BUCKET, self.port, "warm-up", ARRAYS, 8000)
        function = self.c.function("bench-locality-sum")
        for _ in range(WARM_UP):
            function(*references("warm-up")).get(timeout=60)
        return [self.once(function, references(prefix)) for prefix in prefixes]

    def timed(self, calls, name, *arguments):
        function = self.c.function("bench-locality-" + name)
        return [self.once(function, arguments) for _ in range(WARM_UP + calls)][WARM_UP:]

    def once(self, function, arguments):
        start = time.perf_counter()
        total = function(*arguments).get(timeout=60)
        seconds = time.perf_counter() - start
        self.check(total)
        return seconds

    def in_process(self, calls, prefix, size):
        times = []
        for _ in range(WARM_UP + calls):
            total, seconds = self.call("process", prefix, ARRAYS, size)
            self.check(total)
            times.append(seconds)
        return times[WARM_UP:]

    def check(self, total):
        assert abs(total - self.total) < 1e-6 * self.total, (total, self.total)


def verdicts(figures):
    hot, cold, redis, process = (figures[name]["p50_ms"]["median"]
                                 for name in ("hot", "cold", "Redis", "in the process"))
    most = OVER_PROCESS_MS + OVER_PROCESS * process
    return [
        (f"10 x 800 KB hot: {redis / hot:.1f}x faster than a stateless function with Redis, target >= {OVER_REDIS_MIN}x",
         redis >= OVER_REDIS_MIN * hot),
        (f"10 x 800 KB hot: {cold / hot:.1f}x faster than cold, target >= {OVER_COLD_MIN}x", cold >= OVER_COLD_MIN * hot),
        (f"10 x 800 KB hot: {hot:.2f} ms, target <= 1 ms + 2x of the sum in the process = {most:.2f} ms", hot <= most),
    ]
