"""Ten running functions find the mean of their numbers: by messages to each other, or gathered through Redis.

After Cloudburst's B3. Both sides are Squall functions that are called alike, so what differs is how they talk.
"""

import importlib.util
import sys
import time
import uuid

from measure import ROOT, percentile, show, spread
from redis_server import redis_package, redis_server

sys.path.insert(0, str(ROOT / "sdk" / "python"))

QUESTION = "How long do ten functions take to agree on a mean, by gossip and by a gather through Redis?"
ESTIMATE = "gossip 8 ms (seven rounds of a message each), gather 10 ms on loopback without the paper's network"
ACTORS, MEETINGS, WARM_UP = 10, 100, 10
# After so many the worst of ten is within 5 %; the dice are the example's.
ROUNDS = 7
MEAN = sum(range(1, ACTORS + 1)) / ACTORS
P50_MAX, P99_MAX = 0.9, 0.6


def example():
    """The example's module; it has the name of this one."""
    spec = importlib.util.spec_from_file_location("example_gossip", ROOT / "examples" / "gossip" / "gossip.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Gatherer:
    """Each pushes its number; the first gathers them all and hands the mean to everybody."""

    def __init__(self, port):
        import redis

        self.redis = redis.Redis(port=port)

    def run(self, number, value, meeting, count, _):
        self.redis.rpush(meeting, value)
        if number == 0:
            numbers = [float(self.redis.blpop(meeting, 30)[1]) for _ in range(count)]
            self.redis.rpush(meeting + "-mean", *[sum(numbers) / count] * count)
        return float(self.redis.blpop(meeting + "-mean", 30)[1])


def run(server, client, options):
    """Measures everything, and returns (figures, table lines, verdicts)."""
    from squall import Client

    env = server.env
    c = Client(server.endpoint, env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"], env["AWS_REGION"])
    c.create_bucket("gossip", durability="memory")
    with redis_server() as port:
        subjects = {
            "gossip, send and recv": c.register(example().push_sum, "bench-push-sum", buckets=["gossip"]),
            "gather, Redis": c.register((Gatherer, (port,)), "bench-gatherer", include=[redis_package()]),
        }
        rounds = {name: [] for name in subjects}
        wrong = {name: 0 for name in subjects}
        for _ in range(options.rounds):
            for name, function in subjects.items():
                for _ in range(WARM_UP):
                    meet(function)
                times = []
                for _ in range(MEETINGS):
                    seconds, worst = meet(function)
                    times.append(seconds)
                    wrong[name] += worst > 0.05
                rounds[name].append(times)
    figures = {name: {f"p{share}_ms": spread([percentile(times, share / 100) * 1e3 for times in of], 2)
                      for share in (50, 99)} | {"over_5_percent": wrong[name]} for name, of in rounds.items()}
    lines = ["| subject | p50, ms | p99, ms | meetings in which somebody was wrong by more than 5 % |", "|---|---|---|---|"]
    for name, figure in figures.items():
        lines.append(f"| {name} | {show(figure['p50_ms'])} | {show(figure['p99_ms'])} | {figure['over_5_percent']} |")
    return figures, lines, verdicts(figures)


def meet(function):
    """(seconds until all have an answer, the worst error)"""
    meeting = uuid.uuid4().hex
    start = time.perf_counter()
    futures = [function(number, number + 1, meeting, ACTORS, ROUNDS) for number in range(ACTORS)]
    found = [future.get(timeout=60) for future in futures]
    return time.perf_counter() - start, max(abs(estimate - MEAN) / MEAN for estimate in found)


def verdicts(figures):
    ours, theirs = figures["gossip, send and recv"], figures["gather, Redis"]
    said = []
    for share, most in (("p50", P50_MAX), ("p99", P99_MAX)):
        ratio = ours[f"{share}_ms"]["median"] / theirs[f"{share}_ms"]["median"]
        said.append((f"gossip {share}: {ratio:.2f}x of the gather, target <= {most}x", ratio <= most))
    return said
