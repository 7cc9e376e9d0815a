"""Retwis: timelines and posts, the same code over Squall's state at two levels and over Redis.

After Cloudburst's B8. All run as Squall functions that are called alike, so what differs is where the state is.
"""

import concurrent.futures
import pathlib
import random
import sys
import tempfile
import time
import uuid

from measure import ROOT, WORK, percentile, show, spread
from redis_server import redis_package, redis_server

sys.path[:0] = [str(ROOT / "sdk" / "python"), str(ROOT / "tests" / "e2e")]

QUESTION = "What do Retwis's timelines cost over Squall's state, causal and not, next to Redis?"
ESTIMATE = "lww at or below Redis (a read without a network), causal within a few percent of it"
USERS, FOLLOWS, POSTS, THREADS, CALLS = 100, 10, 300, 4, 100
CACHES = "4"
LWW_P50_MAX, LWW_P99_MAX, CAUSAL_P50_MAX, CAUSAL_P99_MAX = 1.27, 1.02, 1.04, 1.20


class SquallShelf:
    """What Retwis needs of a store, on Squall."""

    def __init__(self, bucket):
        import squall

        self.bucket = squall.bucket(bucket)

    def put(self, key, value):
        self.bucket.put(key, value)

    def get_many(self, keys):
        return self.bucket.get_many(keys)

    def add(self, key, member):
        self.bucket.set(key).add(member)

    def members(self, key):
        return self.bucket.set(key).get()

    def rank(self, key, member, score):
        self.bucket.ordered_set(key).add(member, score)

    def newest(self, key, count):
        return self.bucket.ordered_set(key).get()[-count:]


class RedisShelf:
    """The same on Redis."""

    def __init__(self, port):
        import redis

        self.redis = redis.Redis(port=port)

    def put(self, key, value):
        import json

        self.redis.set(key, json.dumps(value))

    def get_many(self, keys):
        import json

        found = self.redis.mget(keys) if keys else []
        return {key: json.loads(value) for key, value in zip(keys, found) if value is not None}

    def add(self, key, member):
        self.redis.sadd(key, member)

    def members(self, key):
        return {member.decode() for member in self.redis.smembers(key)}

    def rank(self, key, member, score):
        self.redis.zadd(key, {member: score})

    def newest(self, key, count):
        return [(member.decode(), score) for member, score in self.redis.zrange(key, -count, -1, withscores=True)]


class Retwis:
    """The service, over either."""

    def __init__(self, shelf, where):
        self.shelf = shelf(where)

    def run(self, operation, *arguments):
        return getattr(self, operation)(*arguments)

    def follow(self, who, whom):
        self.shelf.add("following/" + who, whom)

    def post(self, number, who, text, parent):
        import time

        if parent is not None:
            self.shelf.get_many(["post/" + parent])
        self.shelf.put("post/" + number, {"who": who, "text": text, "parent": parent})
        self.shelf.rank("posts/" + who, number, time.time())

    def timeline(self, who):
        """(ids of the posts, how many replies among them are without what they reply to)"""
        newest = []
        for whom in self.shelf.members("following/" + who):
            newest += [(score, number) for number, score in self.shelf.newest("posts/" + whom, 10)]
        numbers = [number for _, number in sorted(newest, reverse=True)[:10]]
        posts = self.shelf.get_many(["post/" + number for number in numbers])
        parents = [post["parent"] for post in posts.values() if post["parent"] is not None]
        found = self.shelf.get_many(["post/" + parent for parent in set(parents)])
        return numbers, sum("post/" + parent not in found for parent in parents)


def run(_, options):
    """Measures everything, and returns (figures, table lines, verdicts)."""
    from squall import Client
    from squall_server import Server

    with tempfile.TemporaryDirectory(prefix="data-", dir=WORK) as folder, redis_server() as port:
        server = Server(pathlib.Path(folder) / "data", ["--state-caches", CACHES]).start()
        try:
            env = server.env
            c = Client(server.endpoint, env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"], env["AWS_REGION"])
            subjects = [Subject(c, "Squall, lww", "lww"), Subject(c, "Squall, causal", "causal"),
                        Subject(c, "Redis", None, port)]
            for subject in subjects:
                subject.fill()
            for number in range(options.rounds):
                for subject in subjects:
                    subject.round(number)
        finally:
            server.terminate()
    figures = {subject.name: subject.figures() for subject in subjects}
    lines = ["| subject | p50, ms | p99, ms | timelines | replies without what they reply to |", "|---|---|---|---|---|"]
    for name, figure in figures.items():
        lines.append(f"| {name} | {show(figure['p50_ms'])} | {show(figure['p99_ms'])} | {figure['timelines']} "
                     f"| {figure['orphans']} |")
    return figures, lines, verdicts(figures)


class Subject:
    """Retwis over one store."""

    def __init__(self, c, name, level, port=None):
        self.name, self.level = name, level
        self.rounds, self.timelines, self.orphans = [], 0, 0
        if port is None:
            bucket = "bench-retwis-" + level
            c.create_bucket(bucket)
            self.function = c.register((Retwis, (SquallShelf, bucket)), bucket, buckets=[bucket])
        else:
            self.function = c.register((Retwis, (RedisShelf, port)), "bench-retwis-redis", include=[redis_package()])

    def call(self, *arguments):
        return self.function(*arguments, consistency=self.level).get(timeout=60)

    def fill(self):
        dice = random.Random(1)
        users = [f"user-{number}" for number in range(USERS)]
        for who in users:
            for whom in dice.sample(users, FOLLOWS):
                self.call("follow", who, whom)
        posted = []
        for _ in range(POSTS):
            posted.append(self._post(dice, posted))

    def _post(self, dice, known):
        number = uuid.uuid4().hex
        parent = dice.choice(known) if known and dice.random() < 0.5 else None
        self.call("post", number, f"user-{dice.randrange(USERS)}", "x" * 100, parent)
        return number

    def round(self, seed):
        with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
            done = list(pool.map(self._client, range(seed * THREADS, (seed + 1) * THREADS)))
        self.rounds.append([seconds for times, _, _ in done for seconds in times])
        self.timelines += sum(timelines for _, timelines, _ in done)
        self.orphans += sum(orphans for _, _, orphans in done)

    def _client(self, seed):
        """One client: nine timelines to a post, and replies to what it has just seen."""
        dice = random.Random(seed)
        times, timelines, orphans, seen = [], 0, 0, []
        for _ in range(CALLS):
            start = time.perf_counter()
            if dice.random() < 0.1:
                self._post(dice, seen)
            else:
                seen, lost = self.call("timeline", f"user-{dice.randrange(USERS)}")
                timelines, orphans = timelines + 1, orphans + lost
            times.append(time.perf_counter() - start)
        return times, timelines, orphans

    def figures(self):
        share = lambda share: spread([percentile(times, share) * 1e3 for times in self.rounds], 2)
        return {"p50_ms": share(0.5), "p99_ms": share(0.99), "timelines": self.timelines, "orphans": self.orphans}


def verdicts(figures):
    ratio = lambda one, two, share: figures[one][share]["median"] / figures[two][share]["median"]
    said = []
    for one, two, p50_max, p99_max in (("Squall, lww", "Redis", LWW_P50_MAX, LWW_P99_MAX),
                                       ("Squall, causal", "Squall, lww", CAUSAL_P50_MAX, CAUSAL_P99_MAX)):
        for share, most in (("p50_ms", p50_max), ("p99_ms", p99_max)):
            found = ratio(one, two, share)
            said.append((f"{one}, {share[:3]}: {found:.2f}x of {two}, target <= {most}x", found <= most))
    orphans = figures["Squall, causal"]["orphans"]
    said.append((f"causal: {orphans} replies without what they reply to, target 0", orphans == 0))
    return said
