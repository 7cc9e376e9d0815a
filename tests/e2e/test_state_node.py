"""Shared state, sessions and messages as Node functions reach them: nothing is installed."""

import json
import threading

import pytest

from functions import create, fresh_name, node_runtime, zipped

SOURCE = """
const does = {
  async values(shop) {
    const kept = [null, true, 7, 1.5, 'é', [1, { a: [] }], { k: 'v' }, 'x'.repeat(200000)];
    for (const [number, value] of kept.entries()) await shop.put(`value/${number}`, value);
    await shop.put('bytes', Buffer.from([0, 255]));
    const large = Buffer.alloc(300000, 7);
    await shop.put('large', large);
    await shop.delete('value/6');
    const back = await Promise.all(kept.map((_, number) => shop.get(`value/${number}`)));
    const many = await shop.getMany([...kept.keys()].map((number) => `value/${number}`));
    return [back.length, back[6] === undefined, JSON.stringify(back) === JSON.stringify(kept.map((value, number) => (number === 6 ? undefined : value))),
      many.size, many.get('value/4'), [...await shop.get('bytes')], (await shop.get('large')).equals(large),
      await shop.list('value/', { after: 'value/2', limit: 2 })];
  },
  async lattices(shop) {
    const hits = shop.counter('hits');
    await Promise.all(Array.from({ length: 20 }, () => hits.add(2)));
    const tags = shop.set('tags'); await tags.add('a', 'b', 3); await tags.remove('b');
    const board = shop.orderedSet('board'); await board.add('eve', 3); await board.add('ada', 9.5); await board.add('bob', 1);
    const card = shop.map('card'); await card.put('name', 'Ada'); await card.put('raw', Buffer.from([1])); await card.put('gone', 1);
    await card.remove('gone');
    const [high, low, flag] = [shop.max('high'), shop.min('low'), shop.flag('flag')];
    const before = [await high.get(), await flag.get(), (await shop.set('none').get()).size, await shop.counter('none').get()];
    for (const number of [3, 7, 5]) { await high.put(number); await low.put(number); }
    await flag.set();
    return [before, await hits.get(), [...await tags.get()].sort(), await tags.has('a'), await board.get(),
      [...(await card.get()).keys()].sort(), await card.get('name'), [...await card.get('raw')], await high.get(), await low.get(), await flag.get()];
  },
  async sessions(shop) {
    const inside = await squall.session('atomic', async () => {
      await shop.put('a', 1);
      await new Promise((resolve) => setTimeout(resolve, 1));
      await shop.put('b', 2);
      return [await shop.get('a'), await shop.get('b')];
    });
    const thrown = await squall.session('atomic', async () => {
      await shop.put('a', 'never');
      throw new RangeError('no');
    }).catch((error) => error.message);
    return [inside, thrown, await shop.get('a'), await shop.get('b'), await squall.session('causal', () => shop.get('a'))];
  },
  async refused(shop, { bucket, key }) {
    return squall.bucket(bucket).get(key).then(() => null, (error) => [error instanceof squall.SquallError, error.kind, error.message, error.retryable]);
  },
  async otherLattice(shop) {
    await shop.counter('number').add();
    return shop.set('number').add('x').catch((error) => error.kind);
  },
  async receive(shop) {
    await shop.put('receiver', await squall.myId());
    let turns = 0;
    const ticking = setInterval(() => { turns += 1; }, 1);
    const received = [await squall.recv(), await squall.recv({ timeoutMs: 60000 }), await squall.recv({ timeoutMs: 50 })];
    clearInterval(ticking);
    return [...received, turns > 0];
  },
  async send(shop, { messages }) {
    let receiver;
    while (!(receiver = await shop.get('receiver'))) await new Promise((resolve) => setTimeout(resolve, 1));
    for (const message of messages) await squall.send(receiver, message);
  },
  async get(shop, { key }) { return shop.get(key); },
  async put(shop, { key, value }) { await shop.put(key, value); },
};
const answer = async (event) => does[event.do](squall.bucket(), event) ?? null;
"""
MODULE = "import squall, { bucket } from 'squall';\n" + SOURCE + "export const handler = (event) => bucket && answer(event);\n"
COMMONJS = "const squall = require('squall');\n" + SOURCE + "exports.handler = answer;\n"


def made(client, name, source):
    return create(client, zipped({name: source}), runtime=node_runtime(), handler="index.handler", Timeout=90)


@pytest.fixture(scope="module")
def function(client):
    return made(client, "index.mjs", MODULE)


def ask(client, name, **event):
    answer = client.invoke(FunctionName=name, Payload=json.dumps(event))
    said = json.loads(answer["Payload"].read())
    assert "FunctionError" not in answer, said
    return said


@pytest.mark.parametrize("name, source", [("index.mjs", MODULE), ("index.js", COMMONJS)])
def test_a_function_reads_what_it_wrote_of_every_kind(client, name, source):
    said = ask(client, made(client, name, source), do="values")
    assert said == [8, True, True, 7, "é", [0, 255], True, ["value/3", "value/4"]]


def test_what_merges_loses_nothing(client, function):
    assert ask(client, function, do="lattices") == [
        [None, False, 0, 0], 40, [3, "a"], True, [["bob", 1], ["eve", 3], ["ada", 9.5]],
        ["name", "raw"], "Ada", [1], 7, 3, True,
    ]


def test_a_session_shows_all_of_its_writes_or_none(client, function):
    assert ask(client, function, do="sessions") == [[1, 2], "no", 1, 2, 1]


def test_messages_reach_a_function_that_runs_and_goes_on_meanwhile(client, function):
    received = []
    receiver = threading.Thread(target=lambda: received.append(ask(client, function, do="receive")))
    receiver.start()
    ask(client, function, do="send", messages=[{"n": 1}, "two"])
    receiver.join(60)
    assert received == [[{"n": 1}, "two", None, True]]


def test_what_a_function_may_not_do_says_what_to_do(client, function):
    is_ours, kind, message, retryable = ask(client, function, do="refused", bucket="not-bound", key="k")
    assert (is_ours, kind, retryable) == (True, "BucketNotBound", False) and "bind" in message
    assert ask(client, function, do="refused", bucket=function, key="")[1] == "InvalidRequest"
    assert ask(client, function, do="otherLattice") == "OtherLattice"


def test_python_and_node_share_a_bucket(server, client, function):
    bucket = fresh_name("bucket")
    python = create(client, "import squall\ndef handler(event, context):\n"
                            "    shop = squall.bucket('%s')\n"
                            "    shop.put('from-python', {'é': [1, None]})\n    shop.put('pickled', (1, 2))\n"
                            "    return shop.get('from-node')\n" % bucket)
    node = made(client, "index.mjs", "import { bucket } from 'squall';\nexport const handler = async () => {\n"
                f"  const shop = bucket('{bucket}');\n  await shop.put('from-node', {{ é: [2, null] }});\n"
                "  const pickled = await shop.get('pickled');\n"
                "  return [await shop.get('from-python') ?? null, pickled?.encoding ?? null];\n};\n")
    server.squall("state", "bucket", "create", bucket)
    for name in (python, node):
        server.squall("state", "bind", bucket, name)
    assert ask(client, node) == [None, None]
    assert ask(client, python) == {"é": [2, None]}
    assert ask(client, node) == [{"é": [1, None]}, "pickle"]
