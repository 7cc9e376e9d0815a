"""kill -9 at random moments while messages are sent and a mapping works on them.

Every acknowledged message runs at least once or is in its dead-letter queue, and groups keep their order.
SQUALL_E2E_SEED repeats a run's choices; SQUALL_E2E_MESSAGES and SQUALL_E2E_KILLS set its size.
"""

import collections
import json
import math
import os
import random
import threading
import time

import botocore.exceptions
import pytest

from conftest import judged
from functions import create
from squall_server import Server, still_running, wait_for_end, wait_until

MESSAGES = int(os.environ.get("SQUALL_E2E_MESSAGES", 2000))
KILLS = int(os.environ.get("SQUALL_E2E_KILLS", 6))
GROUPS = 8
# What a client sees of a server that was killed.
GONE = (botocore.exceptions.HTTPClientError, botocore.exceptions.ConnectionError)

# One write per batch: a batch is in the file whole or not at all.
RECORD = """
import json, os
def handler(event, context):
    bodies = [json.loads(record["body"]) for record in event["Records"]]
    file = os.open(bodies[0]["file"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, "".join(f"{b['id']}\\n" for b in bodies).encode())
    os.close(file)
    failures = [r["messageId"] for r, b in zip(event["Records"], bodies) if b["poison"]]
    return {"batchItemFailures": [{"itemIdentifier": one} for one in failures]}
"""


class Senders:
    """Threads that send to both queues, each message until it is acknowledged, and note what was."""

    def __init__(self, workdir):
        self.files = {"plain": workdir / "plain", "ordered": workdir / "ordered"}
        self.sent = collections.defaultdict(list)
        self.problems = []
        self.server_is_up = threading.Event()
        self._client = None
        self._threads = [threading.Thread(target=self._send_plain, args=(n,)) for n in range(3)]
        self._threads += [threading.Thread(target=self._send_ordered, args=(n,)) for n in range(GROUPS // 2)]

    def start(self):
        for thread in self._threads:
            thread.start()

    def alive(self):
        return any(thread.is_alive() for thread in self._threads)

    def acknowledged(self):
        return sum(map(len, self.sent.values()))

    def wait_for(self, wanted):
        """Until so many are acknowledged, or no sender is left. What bounds it is the time without any progress."""
        while self.alive() and (before := self.acknowledged()) < wanted:
            wait_until("a further message is acknowledged",
                       lambda: self.acknowledged() > before or not self.alive(), 120)

    def join(self):
        self.wait_for(math.inf)

    def use(self, server, urls):
        client = server.client("sqs")
        self._urls, self._client = urls(client), client
        self.server_is_up.set()

    def _call(self, what):
        """Until it is acknowledged; the server may be gone meanwhile."""
        while True:
            self.server_is_up.wait()
            try:
                return what(self._client, self._urls)
            except GONE:
                time.sleep(0.05)  # The test's main thread starts the next server.

    def _body(self, kind, name, poison=False):
        return json.dumps({"file": str(self.files[kind]), "id": name, "poison": poison})

    def _send_plain(self, thread):
        try:
            for first in range(0, MESSAGES // 6, 5):
                names = [f"p{thread}-{first + n}" for n in range(5)]
                entries = [{"Id": str(n), "MessageBody": self._body("plain", name, poison=(first + n) % 97 == 13)}
                           for n, name in enumerate(names)]
                answer = self._call(lambda c, urls: c.send_message_batch(QueueUrl=urls["plain"], Entries=entries))
                assert not answer["Failed"], answer
                self.sent["plain"] += names
        except Exception as error:  # Whatever it is, the test's thread must hear of it.
            self.problems.append(repr(error))

    def _send_ordered(self, thread):
        try:
            for number in range(MESSAGES // GROUPS):
                group = f"g{thread * 2 + number % 2}"
                name = f"{group}-{number:06}"
                self._call(lambda c, urls: c.send_message(
                    QueueUrl=urls["ordered"], MessageBody=self._body("ordered", name), MessageGroupId=group,
                    MessageDeduplicationId=name))
                self.sent["ordered"].append(name)
        except Exception as error:
            self.problems.append(repr(error))


def make_queues(server):
    """A standard and a FIFO queue with a mapping each, and the standard one's dead-letter queue."""
    sqs, client = server.client("sqs"), server.client()
    function = create(client, RECORD, Timeout=2)
    arn = lambda name: f"arn:aws:sqs:us-east-1:000000000000:{name}"
    sqs.create_queue(QueueName="dead")
    policy = json.dumps({"deadLetterTargetArn": arn("dead"), "maxReceiveCount": 3 + KILLS})
    sqs.create_queue(QueueName="plain", Attributes={"VisibilityTimeout": "2", "RedrivePolicy": policy})
    sqs.create_queue(QueueName="ordered.fifo", Attributes={"VisibilityTimeout": "2", "FifoQueue": "true"})
    for name in ("plain", "ordered.fifo"):
        client.create_event_source_mapping(EventSourceArn=arn(name), FunctionName=function,
                                           FunctionResponseTypes=["ReportBatchItemFailures"])


def urls_of(sqs):
    return {"plain": sqs.get_queue_url(QueueName="plain")["QueueUrl"],
            "ordered": sqs.get_queue_url(QueueName="ordered.fifo")["QueueUrl"],
            "dead": sqs.get_queue_url(QueueName="dead")["QueueUrl"]}


def counts(sqs, url):
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed"]
    return sum(map(int, sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"].values()))


@pytest.mark.timeout(3600)
def test_kills_under_load_lose_no_message_and_no_order(workdir):
    seed = int(os.environ.get("SQUALL_E2E_SEED", random.randrange(2**32)))
    print(f"SQUALL_E2E_SEED={seed}")
    dice = random.Random(seed)
    server, senders, kills = Server(workdir / "killed"), Senders(workdir), []
    with judged(server):
        server.start()
        make_queues(server)
        senders.use(server, urls_of)
        senders.start()
        for number in range(KILLS):
            # One kill in each equal part of the messages, whatever their number: at a random message of that part.
            senders.wait_for(MESSAGES * dice.uniform(number, number + 1) / KILLS)
            assert not senders.problems, (seed, senders.problems)
            kills.append(senders.acknowledged())
            children = server.descendants()
            senders.server_is_up.clear()
            server.kill9()
            wait_for_end(lambda: still_running(children), 20)
            server.start()
            senders.use(server, urls_of)
        senders.join()
        assert not senders.problems, (seed, senders.problems)
        print(f"killed at {kills} of {senders.acknowledged()} messages")
        # Else most of a large run would see no kill at all.
        assert len(kills) == KILLS and kills[-1] >= MESSAGES * (KILLS - 1) / KILLS, (seed, kills)
        sqs = server.client("sqs")
        urls = urls_of(sqs)
        wait_until("both queues are empty",
                   lambda: counts(sqs, urls["plain"]) + counts(sqs, urls["ordered"]) == 0, 1800, 0.2)
        check_plain(sqs, urls, senders, seed)
        check_ordered(senders, seed)


def check_plain(sqs, urls, senders, seed):
    sent = senders.sent["plain"]
    ran = set(senders.files["plain"].read_text().split())
    dead = []
    while got := sqs.receive_message(QueueUrl=urls["dead"], MaxNumberOfMessages=10, VisibilityTimeout=600).get("Messages"):
        dead += [json.loads(one["Body"])["id"] for one in got]
    lost = set(sent) - ran - set(dead)
    assert not lost, f"seed {seed}: neither run nor dead: {sorted(lost)[:10]}"
    poisoned = {name for name in sent if int(name.partition("-")[2]) % 97 == 13}
    missing = poisoned - set(dead)
    assert not missing, f"seed {seed}: poisoned messages that are in no dead-letter queue: {missing}"
    print(f"{len(sent)} messages acknowledged, {len(dead)} dead letters")


def check_ordered(senders, seed):
    """The first time that each message of a group runs is in the group's order; none is missing."""
    first = collections.defaultdict(dict)
    for name in senders.files["ordered"].read_text().split():
        group = name.partition("-")[0]
        first[group].setdefault(name)
    expected = collections.defaultdict(list)
    for name in senders.sent["ordered"]:
        expected[name.partition("-")[0]].append(name)
    for group, names in expected.items():
        ran = list(first[group])
        assert ran == sorted(names), f"seed {seed}: {group} ran as {ran[:20]}…"
    print(f"{len(senders.sent['ordered'])} messages in {len(expected)} groups kept their order")
