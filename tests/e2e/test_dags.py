"""Compositions through the Python client: what they compute, how they fail, and that kill -9 does not lose a run."""

import json
import os
import pathlib
import socket
import sys
import threading
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "sdk" / "python"))

from conftest import judged  # noqa: E402
from functions import create, fresh_name  # noqa: E402
from squall import Client, Ref  # noqa: E402
from squall.client import FunctionError, Refused  # noqa: E402
from squall_server import Server, pid_on_host  # noqa: E402


def connected(server):
    """A client of the server, by what `squall env` prints."""
    env = server.env
    return Client(server.endpoint, env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"], env["AWS_REGION"])


@pytest.fixture(scope="module")
def c(server):
    return connected(server)


@pytest.fixture(scope="module")
def inc(c):
    return c.register(lambda x: x + 1, "increment")


@pytest.fixture(scope="module")
def sq(c):
    return c.register(lambda x: x * x, "square")


@pytest.fixture(scope="module")
def compose(c, inc, sq):
    return c.dag("compose", [inc, sq], [("increment", "square")])


class Rendezvous:
    """Where functions report with their pid and wait to be let go on: the test decides what happens in between."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(30)
        self.port = self.listener.getsockname()[1]
        self.connections = []  # held, so that nobody who waits is let go by a garbage collector

    def arrival(self):
        """The next function that reports: (its pid, how to let it go on)."""
        connection, _ = self.listener.accept()
        connection.settimeout(60)
        self.connections.append(connection)
        pid, namespace = connection.makefile().readline().split()

        def let_go():
            connection.sendall(b"go\n")
            connection.close()

        on_host = pid_on_host(int(pid), namespace)
        assert on_host, (pid, namespace)
        return on_host, let_go


def meet(x, port):
    """A function that reports, waits, and answers its argument plus one."""
    import os
    import socket

    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        connection.sendall(f"{os.getpid()} {os.readlink('/proc/self/ns/pid')}\n".encode())
        if connection.recv(3) != b"go\n":
            raise RuntimeError("nobody let me go on")
    return x + 1


@pytest.fixture
def rendezvous():
    return Rendezvous()


def waiting_dag(c, sq, rendezvous):
    """A DAG whose first function waits at the rendezvous: (x + 1) squared."""
    met = c.register(meet, "meet")
    dag = c.dag("waiting", [met, sq], [("meet", "square")])
    return lambda x, **options: dag(x, rendezvous.port, **options)


def test_a_call_is_a_future(inc):
    assert inc(2).get() == 3
    assert inc(2, direct=False).get(timeout=60) == 3


@pytest.mark.parametrize("options", [{}, {"consistency": "causal"}, {"direct": False}])
def test_results_go_from_function_to_function(compose, options):
    assert compose(3, **options).get() == 16


def test_values_of_any_kind_travel(c):
    class Point:
        def __init__(self, x, y):
            self.x, self.y = x, y

    mirror = c.register(lambda p: Point(p.y, p.x), "mirror")
    both = c.dag("mirror-both", [mirror, c.register(lambda p: {"point": p, "set": {p.x}}, "describe")],
                 [("mirror", "describe")])
    found = both(Point(1, (2, b"\0"))).get()
    assert (found["point"].x, found["point"].y, found["set"]) == ((2, b"\0"), 1, {(2, b"\0")})
    echo = c.register(lambda *values: list(values), "echo")
    sent = [None, True, -1, 1.5, float("inf"), "ü", b"bytes", {"a": [1]}, (1, 2), {3}, 2**80]
    assert echo(*sent).get() == sent
    assert echo(lambda x: x + 1).get()[0](1) == 2


def test_many_sources_meet_in_one_sink(c):
    functions = [c.register(lambda x: x + 1, "left"), c.register(lambda x: x * 10, "right"),
                 c.register(lambda own, a, b: (own, a, b), "join")]
    dag = c.dag("diamond", functions, [("right", "join"), ("left", "join")])
    assert dag(args={"left": [1], "right": [2], "join": ["own"]}).get() == ("own", 20, 2)
    with pytest.raises(Refused, match="several sources, left, right"):
        dag(1).get()


def test_a_class_keeps_its_object_from_call_to_call(c):
    class Counter:
        def __init__(self, start):
            self.count = start

        def run(self, by):
            self.count += by
            return self.count

    counter = c.register((Counter, (40,)), "counter")
    assert [counter(1).get(), counter(1).get()] == [41, 42]


def test_registering_again_updates(c):
    name = fresh_name("again")
    first = c.register(lambda: "old", name)
    assert first().get() == "old"
    second = c.register(lambda: "new", name, memory=512)
    assert second().get() == first().get() == "new"
    assert c.function(name)().get() == "new"
    assert name in c.functions("again-")


def test_a_future_is_an_argument(inc, sq):
    assert sq(inc(2, direct=False)).get() == 9
    assert sq(inc(2)).get() == 9
    assert sq(inc(2, direct=False), direct=False).get() == 9


def test_a_result_is_there_for_another_client(server, inc):
    future = inc(41, direct=False)
    assert connected(server).future(future.id).get(timeout=60) == 42
    with pytest.raises(Refused, match="is not known") as refused:
        connected(server).future("00000000-0000-4000-8000-000000000000").get()
    assert refused.value.status == 404


@pytest.mark.parametrize("direct", [True, False])
def test_a_users_error_reaches_the_caller(c, inc, direct):
    def broken(x):
        raise ZeroDivisionError("no \"luck\" today")

    dag = c.dag("breaks", [inc, c.register(broken, "broken")], [("increment", "broken")])
    with pytest.raises(ZeroDivisionError) as raised:
        dag(1, direct=direct).get()
    error = raised.value
    assert isinstance(error, FunctionError)
    assert (error.kind, error.message, error.function) == ("ZeroDivisionError", 'no "luck" today', "broken")
    assert any("in broken" in line for line in error.trace), error.trace
    assert inc(1).get() == 2, "the instance lives on"


def test_bad_dags_are_refused_in_words(c, inc, sq):
    def check(functions, edges, words):
        with pytest.raises(Refused, match=words) as refused:
            c.dag("bad", functions, edges)
        assert refused.value.status == 400
        assert "bad" not in c.dags()

    check([inc, sq], [("increment", "square"), ("square", "increment")], "the DAG has a cycle: ")
    check([inc, sq], [], "the DAG has 2 sinks, `increment`, `square`")
    check([inc, "ghost"], [("increment", "ghost")], "there is no function `ghost`")
    check([inc], [("increment", "square")], "`square`, which is not a function of the DAG")
    check([], [], "at least one function")


def test_bad_calls_are_refused_in_words(c, compose):
    with pytest.raises(Refused, match="`eventual` is not a level of consistency"):
        compose(1, consistency="eventual").get()
    with pytest.raises(Refused, match="`ghost`, which is not a function of the DAG"):
        compose(args={"ghost": [1]}).get()
    with pytest.raises(Refused, match="there is no DAG `nothing`"):
        c.get_dag("nothing")
    with pytest.raises(Refused, match="between 1 ms and 24 h"):
        compose(1, timeout=100_000).get()
    with pytest.raises(Refused) as refused:
        compose(b"x" * (7 << 20)).get()
    assert refused.value.status in (400, 413)
    with pytest.raises(FunctionError, match="Squall.PayloadTooLarge"):
        compose(b"x" * ((6 << 20) + 1000)).get()


def test_dags_are_listed_and_forgotten(c, inc):
    c.dag("forget-me", [inc])
    assert c.dags("forget") == ["forget-me"]
    assert c.get_dag("forget-me")(1).get() == 2
    c.delete_dag("forget-me")
    assert c.dags("forget") == []


def test_a_cancelled_run_starts_nothing_more(c, sq, rendezvous):
    future = waiting_dag(c, sq, rendezvous)(1, direct=False)
    _, let_go = rendezvous.arrival()
    assert not future.done()
    with pytest.raises(TimeoutError):
        future.get(timeout=0)
    future.cancel()
    let_go()
    with pytest.raises(FunctionError, match="Squall.RunCancelled"):
        future.get()


def test_a_run_ends_when_its_time_is_over(c, sq, rendezvous):
    future = waiting_dag(c, sq, rendezvous)(1, timeout=0.2)
    _, let_go = rendezvous.arrival()
    with pytest.raises(FunctionError, match="took longer than 200 ms"):
        future.get()
    let_go()


@pytest.mark.parametrize("direct", [True, False])
def test_a_run_is_executed_again_when_its_executor_is_killed(c, sq, rendezvous, direct):
    future = waiting_dag(c, sq, rendezvous)(3, direct=direct)
    killed, _ = rendezvous.arrival()
    os.kill(killed, 9)
    another, let_go = rendezvous.arrival()
    assert another != killed
    let_go()
    assert future.get(timeout=60) == 16


def test_many_futures_at_once(compose):
    futures = [compose(x) for x in range(300)]
    assert [future.get() for future in futures] == [(x + 1) ** 2 for x in range(300)]


@pytest.mark.parametrize("direct", [True, False])
def test_the_result_comes_although_the_server_was_killed(workdir, rendezvous, direct):
    with judged(Server(workdir / f"killed-{direct}")) as server:
        server.start()
        server.listen = server.endpoint.removeprefix("http://")
        c = connected(server)
        dag = waiting_dag(c, c.register(lambda x: x * x, "square"), rendezvous)
        future = dag(3, direct=direct)
        rendezvous.arrival()
        results = []
        waiting = threading.Thread(target=lambda: results.append(future.get()))
        waiting.start()
        server.kill9()
        server.start()
        _, let_go = rendezvous.arrival()
        let_go()
        waiting.join(60)
        assert results == [16]
        assert c.dags() == ["waiting"], "the composition is still there"
        if not direct:
            server.restart()
            assert connected(server).future(future.id).get(timeout=60) == 16, "a result is kept"


def read_and_meet(value, port):
    """Answers what was read for it, once the test lets it go on."""
    import os
    import socket

    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        connection.sendall(f"{os.getpid()} {os.readlink('/proc/self/ns/pid')}\n".encode())
        if connection.recv(3) != b"go\n":
            raise RuntimeError("nobody let me go on")
    return value


def read_again(seen):
    import squall

    return [seen, squall.bucket("shared").get("key")]


def test_a_run_is_executed_again_when_a_cache_dies_with_what_it_has_read(workdir, rendezvous):
    with judged(Server(workdir / "caches", ["--state-caches", "3"])) as server:
        server.start()
        c = connected(server)
        c.create_bucket("shared")
        functions = [c.register(function, name, buckets=["shared"])
                     for function, name in ((read_and_meet, "read"), (read_again, "read-again"))]
        dag = c.dag("reads", functions, [("read", "read-again")])

        def between(happens):
            """A run at the level of repeatable reads, with what happens between its two reads."""
            c.put("shared", "key", "old")
            future = dag(args={"read": [Ref("shared", "key"), rendezvous.port]}, consistency="repeatable-read")
            _, let_go = rendezvous.arrival()
            c.put("shared", "key", "new")
            happens()
            let_go()
            return future

        assert between(lambda: None).get(timeout=60) == ["old", "old"], "the version of its first read was kept"

        def every_cache_dies():
            for cache in range(3):
                server.squall("state", "cache", "drop", str(cache))

        future = between(every_cache_dies)
        _, let_go = rendezvous.arrival()
        let_go()
        assert future.get(timeout=60) == ["new", "new"], "executed again, from its first read"
        held = json.loads(server.squall("state", "cache", "ls", "--output", "json").stdout)["caches"]
        assert [one["cache"] for one in held] == [0, 1, 2] and sum(one["keys"] for one in held) > 0
        missing = server.squall("state", "cache", "drop", "3", check=False)
        assert missing.returncode == 1 and "cache" in missing.stderr, missing


DOUBLE = "def handler(event, context):\n    return event * 2\n"
SUM = "def handler(event, context):\n    return sum(event)\n"


def test_functions_of_other_clients_compose_by_json(server, client):
    double = create(client, DOUBLE)
    total = create(client, SUM)
    name = fresh_name("json")
    server.squall("dag", "create", name, f"a={double}", f"b={double}", f"total={total}",
                  "--edge", "a:total", "--edge", "b:total")
    assert server.squall("dag", "call", name, "--data", '{"a": [1], "b": [20]}').stdout.strip() == "42"
    run = server.squall("dag", "call", name, "--data", '{"a": [1], "b": [2]}', "--async").stdout.strip()
    assert server.squall("dag", "result", run).stdout.strip() == "6"
    assert name in server.squall("dag", "ls").stdout
    failed = server.squall("dag", "call", name, "--data", '{"a": [1], "b": ["x"]}', check=False)
    assert failed.returncode == 1 and "`total` failed: TypeError" in failed.stderr, failed
    server.squall("dag", "rm", name)
    assert name not in server.squall("dag", "ls", "--output", "json").stdout
    assert connected(server).dag(fresh_name("json"), [double])(21).get() == 42
