"""Retwis, the small Twitter: follow, post, reply, timeline. Three functions over one bucket, and no database.

At the level `causal` a reply is never seen without what it replies to, in whatever cache its reader's function runs.
Run it with a server up and its environment set: see README.md.
"""

import time
import uuid

from squall import Client

BUCKET = "retwis"


def follow(who, whom):
    import squall

    squall.bucket("retwis").set("following/" + who).add(whom)


def post(who, text, time, parent=None):
    """Keeps a post, and then names it in its author's list. Returns its id."""
    import uuid

    import squall

    retwis = squall.bucket("retwis")
    if parent is not None and retwis.get("post/" + parent) is None:
        raise KeyError("there is no post {}".format(parent))
    number = uuid.uuid4().hex
    retwis.put("post/" + number, {"who": who, "text": text, "time": time, "parent": parent})
    retwis.ordered_set("posts/" + who).add(number, time)
    return number


def timeline(who, count=10):
    """The newest posts of those whom somebody follows, newest first, each with what it replies to."""
    import squall

    retwis = squall.bucket("retwis")
    newest = []
    for whom in retwis.set("following/" + who).get():
        newest += retwis.ordered_set("posts/" + whom).get()[-count:]
    newest.sort(key=lambda entry: entry[1], reverse=True)
    posts = retwis.get_many(["post/" + number for number, _ in newest[:count]])
    parents = retwis.get_many({"post/" + one["parent"] for one in posts.values() if one["parent"] is not None})
    return [dict(one, parent=parents.get("post/" + (one["parent"] or ""))) for one in posts.values()]


def main():
    c = Client()
    c.create_bucket(BUCKET)
    following, posting, reading = (
        c.register(function, "retwis-" + function.__name__, buckets=[BUCKET]) for function in (follow, post, timeline)
    )
    # Names of this run's own: what an earlier run has left does not get between.
    run = uuid.uuid4().hex[:8]
    ada, ben, eve = ("{}-{}".format(name, run) for name in ("ada", "ben", "eve"))
    for who, whom in ((ada, ben), (eve, ada), (eve, ben)):
        following(who, whom, consistency="causal").get(timeout=60)
    question = posting(ada, "does anybody like rain?", time.time(), consistency="causal").get(timeout=60)
    posting(ben, "only squalls", time.time(), question, consistency="causal").get(timeout=60)
    for who in (ada, eve):
        print("{} reads:".format(who.split("-")[0]))
        for one in reading(who, consistency="causal").get(timeout=60):
            name = one["who"].split("-")[0]
            print("  {}: {}".format(name, one["text"]))
            if one["parent"] is not None:
                print("    to {}: {}".format(one["parent"]["who"].split("-")[0], one["parent"]["text"]))


if __name__ == "__main__":
    main()
