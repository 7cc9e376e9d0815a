"""Events sent while the server is killed: each that was acknowledged ran, or is in its dead-letter queue.

SQUALL_E2E_KILLS and SQUALL_E2E_EVENTS make it larger (30 and 100000 for the whole proof); SQUALL_E2E_SEED repeats a
run's choices.
"""

import json
import os
import random
import threading
import time

import botocore.exceptions
import pytest

from conftest import judged
from functions import create
from squall_server import Server, still_running, wait_for_end, wait_until

KILLS = int(os.environ.get("SQUALL_E2E_KILLS", 5))
EVENTS = int(os.environ.get("SQUALL_E2E_EVENTS", 400))
SENDERS = 4
# What a client sees of a server that was killed. Anything else it says is a failure of the test.
GONE = (botocore.exceptions.HTTPClientError, botocore.exceptions.ConnectionError)

# Notes each event before it ends; fails for good on one of ten.
WORKER = """
import os
def handler(event, context):
    if event["n"] % 10 == 0:
        raise ValueError("one of ten")
    file = os.open(event["file"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, f"{event['n']} {context.aws_request_id}\\n".encode())
    os.close(file)
"""


class Senders:
    """Clients that send events and note which were acknowledged, under which request id."""

    def __init__(self, ran):
        self.ran, self.acknowledged, self.problems = ran, {}, []
        self._number, self._lock = 0, threading.Lock()
        self._threads, self._wanted = [], 0

    def begin(self, client, function, wanted):
        """Goes on until so many are acknowledged, or the server is gone."""
        self._wanted = wanted
        self._threads = [threading.Thread(target=self._loop, args=(client, function)) for _ in range(SENDERS)]
        for thread in self._threads:
            thread.start()

    def end(self):
        for thread in self._threads:
            thread.join(600)
            assert not thread.is_alive(), "a call was never answered"
        assert not self.problems, self.problems

    def _loop(self, client, function):
        try:
            while len(self.acknowledged) < self._wanted:
                with self._lock:
                    number = self._number
                    self._number += 1
                payload = json.dumps({"n": number, "file": str(self.ran)})
                answer = client.invoke(FunctionName=function, InvocationType="Event", Payload=payload)
                self.acknowledged[number] = answer["ResponseMetadata"]["RequestId"]
        except GONE:
            pass
        except Exception as error:  # Whatever it is, the test's thread must hear of it.
            self.problems.append(repr(error))


def letters(sqs, url):
    """Takes what is in the dead-letter queue: {number: request id}."""
    found = {}
    while messages := sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]).get("Messages", []):
        for message in messages:
            number = json.loads(message["Body"])["n"]
            found[number] = message["MessageAttributes"]["RequestID"]["StringValue"]
        entries = [{"Id": str(i), "ReceiptHandle": message["ReceiptHandle"]} for i, message in enumerate(messages)]
        sqs.delete_message_batch(QueueUrl=url, Entries=entries)
    return found


@pytest.mark.timeout(3600)
def test_every_acknowledged_event_runs_or_is_a_dead_letter(workdir):
    seed = int(os.environ.get("SQUALL_E2E_SEED", random.randrange(2**32)))
    print(f"SQUALL_E2E_SEED={seed}")
    dice = random.Random(seed)
    server, ran = Server(workdir / "killed"), workdir / "ran"
    senders, dead = Senders(ran), {}
    with judged(server):
        server.start()
        url = server.client("sqs").create_queue(QueueName="dead")["QueueUrl"].partition("/000000000000/")[2]
        arn = f"arn:aws:sqs:{server.env['AWS_REGION']}:000000000000:{url}"
        worker = create(server.client(), WORKER, Timeout=30, DeadLetterConfig={"TargetArn": arn})
        server.client().put_function_event_invoke_config(FunctionName=worker, MaximumRetryAttempts=0)
        for number in range(KILLS):
            # The kills are spread over the events; more are sent than are wanted, so that each meets a busy server.
            senders.begin(server.client(), worker, 2 * EVENTS)
            wait_until("some were acknowledged", lambda n=number: len(senders.acknowledged) >= EVENTS * n // KILLS, 600)
            time.sleep(dice.uniform(0.02, 0.6))  # The moment of the kill is what is random here.
            children = server.descendants()
            server.kill9()
            senders.end()
            wait_for_end(lambda: still_running(children), 20)
            server.start()
        senders.begin(server.client(), worker, EVENTS)
        senders.end()
        sqs = server.client("sqs")
        queue = sqs.get_queue_url(QueueName="dead")["QueueUrl"]

        def missing():
            dead.update(letters(sqs, queue))
            done = {int(line.split()[0]) for line in ran.read_text().splitlines()}
            return {n for n in senders.acknowledged if n not in done and n not in dead}

        wait_until("each ran or is a dead letter", lambda: not missing(), 900, 0.5)
    print(f"{len(senders.acknowledged)} events acknowledged, {len(dead)} dead letters, {KILLS} kills")
    assert len(senders.acknowledged) >= EVENTS
    # Under its own request id, on every attempt.
    for number, request_id in dead.items():
        assert senders.acknowledged.get(number, request_id) == request_id
    for line in ran.read_text().splitlines():
        number, request_id = line.split()
        assert senders.acknowledged.get(int(number), request_id) == request_id
