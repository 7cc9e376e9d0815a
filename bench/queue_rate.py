"""Queues through SQS's API: sending, receiving, deleting, next to moto's server, which keeps messages in memory only."""

import concurrent.futures
import contextlib
import subprocess
import sys
import time

import boto3
import botocore.config

import measure
import wire
from measure import show, spread
from warm import free_port, vendored, wait_for_port

QUESTION = "How many SQS messages a second are sent, received and deleted, durably, next to an emulator without a disk?"
ESTIMATE = "moto some 300-600 requests/s on one core, whatever the senders; here a send is a synced write"
MOTO = "moto[server]==5.2.5"
BODY = "x" * 200
SENDERS = (1, 16)
CYCLES = 300


def run(new_server, options):
    """Measures on servers of its own, and returns (figures, table lines, verdicts)."""
    rounds = {}
    for _ in range(options.rounds):
        with new_server() as server:
            subject = {"url": server.endpoint, "pids": lambda: [server.process.pid], "env": server.env, "server": server}
            one_round("squall", subject, options.seconds, rounds)
        with moto() as subject:
            one_round("moto", subject, options.seconds, rounds)
    figures = {name: {key: spread(values) for key, values in one.items()} for name, one in rounds.items()}
    squall, rival = (figures[name]["sends/s, 16 senders"]["median"] for name in ("squall", "moto"))
    return figures, table(figures), [
        (f"sends with 16 senders: {squall:.0f}/s durable, moto {rival:.0f}/s in memory, target >= moto", squall >= rival)]


def table(figures):
    names = list(figures)
    lines = ["| what | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for key in figures[names[0]]:
        lines.append(f"| {key} | " + " | ".join(show(figures[name][key]) for name in names) + " |")
    return lines


def one_round(name, subject, seconds, rounds):
    sqs = client(subject)
    noted = lambda key, value: rounds.setdefault(name, {}).setdefault(key, []).append(value)
    for senders in SENDERS:
        url = sqs.create_queue(QueueName=f"sends-{senders}")["QueueUrl"]
        got = sends(subject, url, senders, seconds)
        noted(f"sends/s, {senders} senders", got["calls_per_s"])
        noted(f"p50 of a send, {senders} senders, µs", got["p50_us"])
        noted(f"CPU per send, {senders} senders, µs", got["cpu_us_per_call"])
    for workers in SENDERS:
        url = sqs.create_queue(QueueName=f"cycles-{workers}")["QueueUrl"]
        rate, cpu = cycles(subject, url, workers)
        noted(f"batches of 10 sent, received, deleted by {workers} boto3 clients, messages/s", rate)
        noted(f"CPU per such message, {workers} clients, µs", cpu)


def client(subject):
    env = subject["env"]
    once = botocore.config.Config(retries={"total_max_attempts": 1}, read_timeout=120, max_pool_connections=4)
    return boto3.client("sqs", endpoint_url=subject["url"], region_name=env["AWS_REGION"], config=once,
                        aws_access_key_id=env["AWS_ACCESS_KEY_ID"], aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"])


def sends(subject, queue_url, senders, seconds):
    """SendMessage by wrk, kept alive; moto takes the same signed request and looks at its scope only."""
    body = f'{{"QueueUrl": "{queue_url}", "MessageBody": "{BODY}"}}'
    headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "AmazonSQS.SendMessage"}
    signed = wire.sign(subject["server"], subject["url"] + "/", "POST", headers, body.encode(), service="sqs")
    before = measure.cpu_seconds(subject["pids"]())
    got = measure.wrk(subject["url"] + "/", senders, seconds, signed, body)
    got["cpu_us_per_call"] = (measure.cpu_seconds(subject["pids"]()) - before) / got["calls"] * 1e6
    return got


def cycles(subject, queue_url, workers):
    """(messages/s, µs of the server's CPU for each) of clients that send, receive and delete ten at a time."""
    entries = [{"Id": str(n), "MessageBody": BODY} for n in range(10)]
    clients = [client(subject) for _ in range(workers)]

    def work(sqs):
        done = 0
        for _ in range(max(1, CYCLES // workers)):
            sqs.send_message_batch(QueueUrl=queue_url, Entries=entries)
            got = sqs.receive_message(QueueUrl=queue_url, MaxNumberOfMessages=10).get("Messages", [])
            handles = [{"Id": str(n), "ReceiptHandle": one["ReceiptHandle"]} for n, one in enumerate(got)]
            if handles:
                sqs.delete_message_batch(QueueUrl=queue_url, Entries=handles)
            done += len(handles)
        return done

    before, start = measure.cpu_seconds(subject["pids"]()), time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        messages = sum(pool.map(work, clients))
    elapsed = time.perf_counter() - start
    cpu = measure.cpu_seconds(subject["pids"]()) - before
    return messages / elapsed, cpu / messages * 1e6


class Keys:
    """What `wire.sign` wants of a server."""

    env = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_REGION": "us-east-1"}


@contextlib.contextmanager
def moto():
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
                               env={"PYTHONPATH": str(vendored(MOTO)), "PATH": "/usr/bin:/bin"},
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for_port(port)
        yield {"url": f"http://127.0.0.1:{port}", "pids": lambda: [process.pid], "env": Keys.env, "server": Keys}
    finally:
        process.kill()
        process.wait()
