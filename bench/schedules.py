"""Many pending schedules: the server's memory for each, and how late each of those that come due fires."""

import collections
import concurrent.futures
import datetime
import json
import threading
import time

import measure
from measure import show, spread

QUESTION = "What do 100,000 pending schedules cost in memory, and how late do those that come due fire?"
ESTIMATE = "some 300 bytes of index each, and milliseconds: one ordered set, one batch of 128 firings per write"
PENDING, DUE, WRITERS = 100_000, 1_000, 16
KIB_PER_SCHEDULE_MAX, LATE_MS_MAX = 1.0, 250
ROLE = "arn:aws:iam::000000000000:role/squall"


def run(new_server, options):
    """Measures on servers of its own, and returns (figures, table lines, verdicts)."""
    pending = options.schedules
    rounds = []
    for _ in range(options.rounds):
        with new_server() as server:
            rounds.append(one_round(server, pending))
    figures = {key: spread([one[key] for one in rounds], 2) for key in rounds[0]}
    lines = ["| what | figure |", "|---|---|"] + [f"| {name} | {show(figure)} |" for name, figure in figures.items()]
    memory = figures["KiB per pending schedule, RSS"]["median"]
    late = figures["late, p99, ms"]["median"]
    return figures, lines, [
        (f"{pending} pending: {memory:.2f} KiB each, target <= {KIB_PER_SCHEDULE_MAX}", memory <= KIB_PER_SCHEDULE_MAX),
        (f"firing error p99: {late:.0f} ms, target <= {LATE_MS_MAX}", late <= LATE_MS_MAX),
    ]


def one_round(server, pending):
    sqs = server.client("sqs")
    url = sqs.create_queue(QueueName="bench-schedules")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    before = measure.memory_kib(server.process.pid)["rss"]
    began = time.monotonic()
    create_all(server, [(f"far-{n}", "rate(365 days)", arn) for n in range(pending)], start_in_days=30)
    took = time.monotonic() - began
    rss = measure.memory_kib(server.process.pid)["rss"]
    late = fire(server, sqs, url, arn)
    restart = time.monotonic()
    server.restart()
    return {
        "KiB per pending schedule, RSS": (rss - before) / pending,
        "server with all of them, RSS MiB": rss / 1024,
        "schedules made per second": pending / took,
        "late, p50, ms": late[len(late) // 2],
        "late, p99, ms": late[len(late) * 99 // 100],
        "late, most, ms": late[-1],
        "restart until it answers, s": time.monotonic() - restart,
    }


def create_all(server, wanted, start_in_days=None):
    """Makes schedules with several clients at once: each waits for the disk, and they wait together."""
    local, start = threading.local(), {}
    if start_in_days:
        now = datetime.datetime.now(datetime.timezone.utc)
        start = {"StartDate": now + datetime.timedelta(days=start_in_days)}

    def create(one):
        name, expression, arn = one
        if not hasattr(local, "scheduler"):
            local.scheduler = server.client("scheduler", check=False)
        local.scheduler.create_schedule(
            Name=name, ScheduleExpression=expression, FlexibleTimeWindow={"Mode": "OFF"},
            Target={"Arn": arn, "RoleArn": ROLE, "Input": '{"due": "<aws.scheduler.scheduled-time>"}'}, **start,
        )

    with concurrent.futures.ThreadPoolExecutor(WRITERS) as pool:
        collections.deque(pool.map(create, wanted), maxlen=0)


def fire(server, sqs, url, arn):
    """Has schedules come due, spread over ten seconds, and says how late each message was in its queue, in ms."""
    first = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=60)
    due = [first + datetime.timedelta(seconds=n % 10) for n in range(DUE)]
    create_all(server, [(f"near-{n}", f"at({at:%Y-%m-%dT%H:%M:%S})", arn) for n, at in enumerate(due)])
    late = []
    while len(late) < DUE:
        answer = sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=20, AttributeNames=["SentTimestamp"]
        )
        for message in answer.get("Messages", []):
            at = datetime.datetime.fromisoformat(json.loads(message["Body"])["due"].replace("Z", "+00:00"))
            late.append(int(message["Attributes"]["SentTimestamp"]) - at.timestamp() * 1000)
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return sorted(late)
