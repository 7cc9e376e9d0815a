"""Objects through S3's API: put and get of three sizes, next to moto's server and to a plain file with fsync."""

import os
import shutil
import time

import boto3
import botocore.config

import measure
from measure import percentile, show, spread
from queue_rate import moto

QUESTION = "How long do put and get of an object take, durably, next to an emulator without a disk and a bare synced file?"
ESTIMATE = ("boto3 itself some 1 ms a call; a synced file 1-3 ms of 4 KiB and the disk's pace beyond; "
            "moto 2-4 ms of 4 KiB, and memory's pace beyond")
KIB, MIB = 1024, 1024 * 1024
# Name, bytes, puts (and gets) in a round.
SIZES = (("4 KiB", 4 * KIB, 100), ("1 MiB", MIB, 30), ("64 MiB", 64 * MIB, 3))


def run(new_server, options):
    """Measures all subjects on each size in turn, and returns (figures, table lines, verdicts)."""
    rounds = {}
    with new_server() as server, moto() as rival:
        ours = {"url": server.endpoint, "env": server.env, "pids": lambda: [server.process.pid]}
        subjects = {"squall": Subject(ours), "moto": Subject(rival), "file + fsync": Files()}
        for _ in range(options.rounds):
            for size, count, calls in SIZES:
                data = os.urandom(count)
                for name, subject in subjects.items():
                    measured(subject, size, data, calls, rounds.setdefault(name, {}))
    figures = {name: {key: spread(values, 2) for key, values in one.items()} for name, one in rounds.items()}
    return figures, table(figures), verdicts(figures)


def verdicts(figures):
    said = []
    for what, rival in (("put of 4 KiB", "moto"), ("get of 4 KiB", "moto"), ("get of 1 MiB", "moto"),
                        ("get of 64 MiB", "moto")):
        key = f"{what}, p50 ms"
        ours, theirs = figures["squall"][key]["median"], figures[rival][key]["median"]
        said.append((f"{what}: {ours:g} ms, {rival} {theirs:g} ms, target <= {rival}", ours <= theirs))
    for size in ("1 MiB", "64 MiB"):
        key = f"put of {size}, p50 ms"
        ours, bound = figures["squall"][key]["median"], figures["file + fsync"][key]["median"]
        said.append((f"put of {size}: {ours:g} ms, a synced file {bound:g} ms, target <= 3x", ours <= 3 * bound))
    return said


def table(figures):
    names = list(figures)
    lines = ["| what | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for key in figures[names[0]]:
        cells = [show(figures[name][key]) if key in figures[name] else "" for name in names]
        lines.append(f"| {key} | " + " | ".join(cells) + " |")
    return lines


def measured(subject, size, data, calls, rounds):
    """One size: puts of new keys, then gets of them."""
    noted = lambda key, value: rounds.setdefault(key, []).append(value)
    for verb, call in (("put", lambda number: subject.put(f"{size}/{number}", data)),
                       ("get", lambda number: subject.get(f"{size}/{number}", len(data)))):
        before, times = measure.cpu_seconds(subject.pids()), []
        for number in range(calls):
            start = time.perf_counter()
            call(number)
            times.append((time.perf_counter() - start) * 1e3)
        cpu = measure.cpu_seconds(subject.pids()) - before
        noted(f"{verb} of {size}, p50 ms", percentile(times, 0.5))
        noted(f"{verb} of {size}, p99 ms", percentile(times, 0.99))
        if subject.pids():
            noted(f"{verb} of {size}, CPU of the server, ms", cpu / calls * 1e3)


class Subject:
    """A server of S3's API, asked by boto3 in one thread."""

    def __init__(self, subject):
        env = subject["env"]
        once = botocore.config.Config(retries={"total_max_attempts": 1}, read_timeout=300)
        self.s3 = boto3.client("s3", endpoint_url=subject["url"], region_name=env["AWS_REGION"], config=once,
                               aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
                               aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"])
        self.s3.create_bucket(Bucket="bench")
        self.pids = subject["pids"]

    def put(self, key, data):
        self.s3.put_object(Bucket="bench", Key=key, Body=data)

    def get(self, key, length):
        assert len(self.s3.get_object(Bucket="bench", Key=key)["Body"].read()) == length


class Files:
    """What a disk can do at best: a file that is written and synced, and read."""

    def __init__(self):
        self.dir = measure.WORK / "objects-files"
        shutil.rmtree(self.dir, ignore_errors=True)
        self.dir.mkdir(parents=True)

    def pids(self):
        return []

    def put(self, key, data):
        with (self.dir / key.replace("/", "-")).open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def get(self, key, length):
        assert len((self.dir / key.replace("/", "-")).read_bytes()) == length
