"""Ten running functions find the mean of their numbers by telling each other: push-sum, after Kempe and others (2003).

In each round everybody keeps half of what it has and sends the other half to somebody; the sums never change, and
what each holds comes close to the mean. Nobody gathers anything. Run it with a server up and its environment set:
see README.md.
"""

import uuid

from squall import Client

ACTORS, ROUNDS = 10, 20


def push_sum(number, value, meeting, actors, rounds):
    """One actor: finds the others by their message ids, then talks to them. Returns what it takes the mean for."""
    import random
    import time

    import squall

    ids = squall.bucket("gossip").map(meeting)
    ids.put(str(number), squall.my_id())
    known = ids.get()
    while len(known) < actors:
        time.sleep(0.001)
        known = ids.get()
    total, weight = float(value), 1.0
    arrived = [[] for _ in range(rounds)]
    for now in range(rounds):
        # Everybody throws the same dice, and so knows how many have sent it something in this round.
        dice = random.Random(now)
        targets = [(sender + dice.randrange(1, actors)) % actors for sender in range(actors)]
        total, weight = total / 2, weight / 2
        squall.send(known[str(targets[number])], [now, total, weight])
        for _ in range(targets.count(number)):
            while not arrived[now]:
                # Others may be rounds ahead.
                sent_in, *share = squall.recv()
                arrived[sent_in].append(share)
            share = arrived[now].pop()
            total, weight = total + share[0], weight + share[1]
    return total / weight


def main():
    c = Client()
    c.create_bucket("gossip", durability="memory")
    actor = c.register(push_sum, "gossip-push-sum", buckets=["gossip"])
    values = [number * number for number in range(ACTORS)]
    meeting = uuid.uuid4().hex
    futures = [actor(number, value, meeting, ACTORS, ROUNDS) for number, value in enumerate(values)]
    for number, future in enumerate(futures):
        print("actor {}: had {}, says {:.1f}".format(number, values[number], future.get(timeout=60)))
    print("the mean is {}".format(sum(values) / ACTORS))


if __name__ == "__main__":
    main()
