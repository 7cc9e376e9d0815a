"""Compositions that run in one process: what they compute is what the functions compute by themselves."""

import dataclasses
import json
import os
import threading

import pytest

from conftest import judged
from functions import create, fresh_name, zipped
from squall_server import Server
from test_dags import Rendezvous, connected, meet

from squall import Ref
from squall.client import Function, FunctionError, Refused

pytestmark = pytest.mark.expected_log("a fused DAG runs its functions by themselves")


@pytest.fixture(scope="module")
def c(server):
    return connected(server)


def kept(c, name):
    """What the server says of a composition."""
    return c._json("GET", ("squall", "v1", "dags", name))


def chain(c, *functions, fused=True, **settings):
    """A composition of functions, one after the other, under a fresh name; they are registered under fresh names too."""
    registered = [c.register(function, fresh_name("step"), **settings) for function in functions]
    names = [one.name for one in registered]
    return c.dag(fresh_name("chain"), registered, list(zip(names, names[1:])), fused=fused)


@pytest.mark.parametrize("options", [{}, {"consistency": "causal"}, {"consistency": "atomic"}, {"direct": False}])
def test_the_result_is_that_of_the_functions(c, options):
    dag = chain(c, lambda x: x + 1, lambda x: x * x)
    assert dag(3, **options).get(timeout=60) == 16
    assert kept(c, dag.name)["fused"] == {"function": dag.name, "current": True}


def test_all_run_in_one_process_and_a_result_goes_on_as_it_is(c):
    class Opaque:
        def __reduce__(self):
            raise RuntimeError("nobody copies me")

    def first():
        import os

        opaque = Opaque()
        return opaque, id(opaque), os.getpid()

    def second(made):
        import os

        opaque, was, pid = made
        return id(opaque) == was, os.getpid() == pid

    assert chain(c, first, second)().get() == (True, True)


def test_branches_get_results_of_their_own_and_the_order_of_edges_holds(c):
    def source(numbers):
        return numbers

    def greedy(own, numbers):
        numbers.clear()
        return own

    def sink(own, *results):
        return [own, *results]

    names = {part: fresh_name(part) for part in ("source", "greedy", "honest", "sink")}
    functions = [c.register(function, names[part]) for part, function in
                 [("sink", sink), ("source", source), ("greedy", greedy), ("honest", lambda numbers: sum(numbers))]]
    edges = [("source", "greedy"), ("source", "honest"), ("honest", "sink"), ("source", "sink"), ("greedy", "sink")]
    edges = [(names[a], names[b]) for a, b in edges]
    args = {names["source"]: [[1, 2]], names["greedy"]: ["g"], names["sink"]: ["own"]}
    apart = c.dag(fresh_name("apart"), functions, edges)(args=args).get()
    together = c.dag(fresh_name("together"), functions, edges, fused=True)(args=args).get()
    assert apart == together == ["own", 3, [1, 2], "g"]


def test_references_are_read_when_their_function_runs(c):
    c.create_bucket("fused-refs")

    def write(value):
        import squall

        squall.bucket("fused-refs").put("key", value)

    functions = [c.register(write, "fused-write", buckets=["fused-refs"]),
                 c.register(lambda found, _: found, "fused-read", buckets=["fused-refs"])]
    dag = c.dag("fused-write-read", functions, [("fused-write", "fused-read")], fused=True)
    assert dag(args={"fused-write": ["new"], "fused-read": [Ref("fused-refs", "key")]}).get() == "new"
    missing = dag(args={"fused-write": ["new"], "fused-read": [Ref("fused-refs", "other")]})
    with pytest.raises(KeyError, match="there is no such key") as raised:
        missing.get()
    assert raised.value.function == "fused-read"


def test_each_function_has_its_own_bucket_and_nobody_elses(c):
    def count():
        import squall

        return squall.bucket().counter("runs").add(1)

    def look(runs):
        import squall

        return runs, squall.bucket().get("runs")

    counting, looking = c.register(count, fresh_name("count")), c.register(look, fresh_name("look"))
    dag = c.dag(fresh_name("counts"), [counting, looking], [(counting.name, looking.name)], fused=True)
    assert dag().get() == (1, None)
    assert counting().get() == 2, "by itself it goes on from there"
    assert dag().get() == (3, None)
    c.create_bucket("fused-secret")

    def peek():
        import squall

        return squall.bucket("fused-secret").get("key")

    with pytest.raises(FunctionError, match="fused-secret") as raised:
        chain(c, peek, lambda x: x)().get()
    assert raised.value.kind == "NotBound"


def test_buckets_that_are_bound_and_taken_away_afterwards(c):
    def look():
        import squall

        return squall.bucket("fused-lent").get("key")

    c.create_bucket("fused-lent")
    c.put("fused-lent", "key", 42)
    dag = chain(c, look, buckets=["fused-lent"])
    (step,) = [one["name"] for one in kept(c, dag.name)["functions"]]
    bound = lambda: c._json("GET", ("squall", "v1", "functions", dag.name, "buckets"))["buckets"]
    assert (dag().get(), bound()) == (42, sorted(["fused-lent", step]))
    binding = ("squall", "v1", "buckets", "fused-lent", "functions", step)
    c._json("DELETE", binding)
    assert kept(c, dag.name)["fused"]["current"] is False
    with pytest.raises(FunctionError, match="NotBound"):
        dag().get()
    c.dag(dag.name, [c.function(step)], fused=True)
    assert bound() == [step]
    c._json("PUT", binding)
    assert dag().get() == 42, "by itself, until it is fused again"


@pytest.mark.parametrize("direct", [True, False])
def test_an_error_is_of_the_function_that_raised_it(c, direct):
    def broken(x):
        raise ZeroDivisionError("no \"luck\" today")

    names = [fresh_name("fine"), fresh_name("broken"), fresh_name("after")]
    functions = [c.register(function, name) for function, name in
                 zip((lambda x: x, broken, lambda x: x), names)]
    dag = c.dag(fresh_name("breaks"), functions, list(zip(names, names[1:])), fused=True)
    with pytest.raises(ZeroDivisionError) as raised:
        dag(1, direct=direct).get(timeout=60)
    error = raised.value
    assert (error.kind, error.message, error.function) == ("ZeroDivisionError", 'no "luck" today', names[1])
    assert any("in broken" in line for line in error.trace), error.trace


def test_exceptions_and_results_that_cannot_travel_are_of_their_function(c):
    @dataclasses.dataclass(frozen=True)
    class Frozen(Exception):
        code: int

    def freeze():
        raise Frozen(7)

    def check(kind, *functions):
        dag = chain(c, *functions)
        names = [one["name"] for one in kept(c, dag.name)["functions"]]
        with pytest.raises(FunctionError) as raised:
            dag().get()
        assert (raised.value.kind, raised.value.function) == (kind, names[-1])

    check("Frozen", lambda: None, lambda _: freeze())
    check("TypeError", lambda: None, lambda _: (x for x in range(3)))
    check("Function.ResponseSizeTooLarge", lambda: None, lambda _: bytes(7_000_000))


def test_what_fits_each_function_and_not_all_runs_by_itself(c):
    size = 4_000_000
    large = c.register(lambda: bytes(4_000_000), fresh_name("large"))
    names = [fresh_name("one"), fresh_name("two"), fresh_name("total")]
    functions = [c.register(len, names[0]), c.register(len, names[1]), c.register(lambda a, b: a + b, names[2])]
    dag = c.dag(fresh_name("sizes"), functions, [(names[0], names[2]), (names[1], names[2])], fused=True)
    args = {name: [large(direct=False)] for name in names[:2]}
    assert dag(args=args).get(timeout=60) == 2 * size


def test_what_took_too_long_is_of_nobody(c):
    def endless():
        while True:
            pass

    dag = chain(c, endless, lambda x: x, timeout=1)
    with pytest.raises(FunctionError, match="timed out after 2.00 seconds") as raised:
        dag().get(timeout=60)
    assert raised.value.function == dag.name


def test_when_a_function_is_updated_the_functions_run_by_themselves(server, c):
    names = [fresh_name("one"), fresh_name("two")]
    pids = lambda by: lambda *before: [*before, by, __import__("os").readlink("/proc/self/ns/pid")]
    functions = [c.register(pids(name), name) for name in names]
    edge = [tuple(names)]
    dag = c.dag(fresh_name("fresh"), functions, edge, fused=True)

    def run():
        (first, one), second, two = dag().get()
        return first, second, one == two

    def told():
        lines = server.log.read_text().splitlines()
        return sum(dag.name in line and "runs its functions by themselves" in line for line in lines)

    assert run() == (*names, True)
    c.register(pids("new"), names[0])
    assert kept(c, dag.name)["fused"]["current"] is False
    assert f"{dag.name} (out of date)" in server.squall("dag", "ls").stdout
    assert [run(), run()] == [("new", names[1], False)] * 2
    assert told() == 1, "the log says so, once"
    c.dag(dag.name, functions, edge, fused=True)
    assert run() == ("new", names[1], True)
    c.register(pids("new"), names[0], environment={"OTHER": "1"})
    assert run() == ("new", names[1], False), "also of a changed configuration"
    assert told() == 2, "and again, since it had run fused between"
    c.dag(dag.name, functions, edge, fused=True)
    c.delete_function(dag.name)
    assert run() == ("new", names[1], False), "also where the function that held them is gone"


def test_output_is_in_the_log_of_the_composition(server, c):
    dag = chain(c, lambda: print("from the first"), lambda _: print("from the second"))
    dag().get()
    lines = server.squall("logs", dag.name).stdout
    assert lines.index("from the first") < lines.index("from the second")
    assert lines.count("REPORT RequestId") == 1


def test_limits_are_added_up_and_lambda_invokes_the_composition(client, c):
    one = c.register(lambda x: x["a"], fresh_name("one"), memory=512, timeout=2, environment={"AA": "1"})
    two = c.register(lambda x: x + 1, fresh_name("two"), memory=256, timeout=3, environment={"BB": "2"})
    dag = c.dag(fresh_name("sums"), [two, one], [(one.name, two.name)], fused=True)
    made = client.get_function_configuration(FunctionName=dag.name)
    assert (made["MemorySize"], made["Timeout"]) == (768, 5)
    assert {"AA": "1", "BB": "2"}.items() <= made["Environment"]["Variables"].items()
    answer = client.invoke(FunctionName=dag.name, Payload=b'{"a": 41}')
    assert json.loads(answer["Payload"].read()) == 42


def test_a_run_is_executed_again_when_its_process_is_killed(c):
    rendezvous = Rendezvous()
    dag = chain(c, meet, lambda x: x * x)
    future = dag(3, rendezvous.port)
    killed, _ = rendezvous.arrival()
    os.kill(killed, 9)
    _, let_go = rendezvous.arrival()
    let_go()
    assert future.get(timeout=60) == 16


def test_it_is_still_fused_after_kill_9(workdir):
    with judged(Server(workdir / "fused-killed")) as server:
        server.start()
        dag = chain(connected(server), lambda x: x + 1, lambda x: x * x)
        server.kill9()
        server.start()
        again = connected(server)
        assert again.get_dag(dag.name)(3).get() == 16
        assert kept(again, dag.name)["fused"]["current"] is True


def test_runs_that_wait_get_what_they_were_started_with(c, client):
    rendezvous = Rendezvous()
    names = [fresh_name("meet"), fresh_name("square")]
    functions = [c.register(meet, names[0]), c.register(lambda x: x * x, names[1])]
    dag = c.dag(fresh_name("waits"), functions, [tuple(names)], fused=True)
    client.put_function_concurrency(FunctionName=dag.name, ReservedConcurrentExecutions=1)
    running = dag(1, rendezvous.port)
    _, first = rendezvous.arrival()
    waiting = [dag(2, rendezvous.port), dag(3, rendezvous.port, direct=False)]
    c.delete_dag(dag.name)
    first()
    for _ in waiting:
        rendezvous.arrival()[1]()
    assert [one.get(timeout=60) for one in (running, *waiting)] == [4, 9, 16]


def test_the_function_goes_with_the_composition(c):
    dag = chain(c, lambda x: x + 1)
    (step,) = [one["name"] for one in kept(c, dag.name)["functions"]]
    assert c.functions(dag.name) == [dag.name]
    c.dag(dag.name, [c.function(step)])
    assert "fused" not in kept(c, dag.name) and c.functions(dag.name) == []
    c.dag(dag.name, [c.function(step)], fused=True)
    c.delete_dag(dag.name)
    assert c.functions(dag.name) == [] and c.functions(step) == [step]


def test_nobody_elses_function_goes_with_a_composition(server, c):
    mine = c.register(lambda x: x, fresh_name("mine"))
    name = fresh_name("trap")
    revision = c._function_now(mine.name)[1]
    c._json("PUT", ("squall", "v1", "dags", name), {
        "functions": [{"name": mine.name, "takes": "arguments"}],
        "fused": {"function": mine.name, "revisions": [revision, revision]},
    })
    c.delete_dag(name)
    assert mine(1).get() == 1
    dag = chain(c, lambda x: x + 1)
    with pytest.raises(ValueError, match="holds those of the composition"):
        c.register(lambda x: x, dag.name)
    c.delete_function(dag.name)
    c.delete_dag(dag.name)
    assert dag.name not in c.dags()
    dag = chain(c, lambda x: x + 1)
    told = server.squall("dag", "rm", dag.name)
    assert f"squall rm {dag.name}" in told.stderr, told
    assert c.functions(dag.name) == [dag.name]
    c.dag(dag.name, [mine])
    assert c.functions(dag.name) == [], "keeping it again without finds it"


def test_a_limit_of_one_function_is_kept(c, client):
    dag = chain(c, lambda x: x + 1, lambda x: x * x)
    step = kept(c, dag.name)["functions"][0]["name"]
    client.put_function_concurrency(FunctionName=step, ReservedConcurrentExecutions=0)
    with pytest.raises(FunctionError, match="took longer than 300 ms"):
        dag(1, timeout=0.3).get()
    client.delete_function_concurrency(FunctionName=step)
    assert dag(1).get() == 4 and kept(c, dag.name)["fused"]["current"] is True


def test_what_cannot_be_fused_is_refused_in_words(client, c, tmp_path):
    def check(words, *functions, name=None, error=ValueError):
        names = [getattr(one, "name", one) for one in functions]
        name = name or fresh_name("bad")
        before = c.functions(name)
        with pytest.raises(error, match=words):
            c.dag(name, functions, list(zip(names, names[1:])), fused=True)
        assert name not in c.dags() and c.functions(name) == before, "nothing is left"

    def including(text):
        (tmp_path / "notes.txt").write_text(text)
        return c.register(lambda x: x, fresh_name("including"), include=[tmp_path / "notes.txt"])

    one = c.register(lambda x: x, fresh_name("one"), environment={"MODE": "a"})
    other = c.register(lambda x: x, fresh_name("other"), environment={"MODE": "b"})
    atomic = c.register(lambda x: x, fresh_name("atomic"), environment={"SQUALL_CONSISTENCY": "atomic"})
    limited = c.register(lambda x: x, fresh_name("limited"))
    client.put_function_concurrency(FunctionName=limited.name, ReservedConcurrentExecutions=1)
    event = create(client, "def handler(event, context):\n    return event\n")
    check("at least one function")
    check("different values of the environment variable MODE", one, other)
    check("different values of the environment variable SQUALL_CONSISTENCY", one, atomic)
    check("have different files `notes.txt`", including("a"), including("b"))
    check("give what `register` returned, or `client.function", one, event)
    check("was not deployed by `register`", one, Function(c, event, True))
    check("there is a function `.*give this composition another", one, name=one.name)
    check("there is a function `.*give this composition another", one, name=event)
    check("is no name for a fused composition", one, name="my.pipeline")
    check("has reserved concurrency", one, limited)
    client.publish_version(FunctionName=one.name)
    client.create_alias(FunctionName=one.name, Name="live", FunctionVersion="1")
    check("`{}:live` is an alias".format(one.name), Function(c, one.name + ":live", True))
    with pytest.raises(ValueError, match="the DAG has 2 sinks"):
        c.dag(fresh_name("bad"), [one, c.register(lambda: 1, fresh_name("two"))], fused=True)
    for edge, words in [((one.name, one.name), "has a cycle: "), ((one.name, "ghost"), "names `ghost`, which is not")]:
        with pytest.raises(ValueError, match=words):
            c.dag(fresh_name("bad"), [one], [edge], fused=True)
    c.create_bucket("fused-namesake")
    check("there is a bucket `fused-namesake`", one, name="fused-namesake")
    assert json.loads(client.invoke(FunctionName=event, Payload=b"1")["Payload"].read()) == 1, "it is as it was"


def test_other_names_and_other_runtimes_are_none_of_its_business(client, c):
    one = c.register(lambda x: x + 1, fresh_name("one"))
    dotted = c.dag(fresh_name("my") + ".pipeline", [one])
    assert dotted(1).get() == 2
    c.delete_dag(dotted.name)
    native = create(client, zipped({"bootstrap!": "#!/bin/sh\n"}), runtime="provided.al2023", handler="")
    c.dag(native, [one])
    c.delete_dag(native)
    with pytest.raises(ValueError, match="there is a function"):
        c.dag(native, [one], fused=True)
    assert c.functions(native) == [native]


def test_a_failed_change_leaves_the_composition_as_it_was(c):
    dag = chain(c, lambda x: x + 1, lambda x: x * x)
    others = [c.register(lambda x: x, fresh_name("env"), environment={"MODE": mode}) for mode in "ab"]
    with pytest.raises(ValueError, match="MODE"):
        c.dag(dag.name, others, [(others[0].name, others[1].name)], fused=True)
    with pytest.raises(ValueError, match="2 sinks"):
        c.dag(dag.name, [others[0], c.register(lambda: 1, fresh_name("two"))], fused=True)
    assert dag(3).get() == 16 and kept(c, dag.name)["fused"]["current"] is True


def test_two_clients_that_fuse_one_name_do_not_mix(c):
    names = [fresh_name("add"), fresh_name("square")]
    functions = [c.register(lambda x: x + 1, names[0]), c.register(lambda x: x * x, names[1])]
    name = fresh_name("raced")
    there, back = [tuple(names)], [tuple(reversed(names))]

    def keep(edges):
        for _ in range(3):
            try:
                c.dag(name, functions, edges, fused=True)
            except Refused as error:
                assert error.status in (409, 404), error

    racing = [threading.Thread(target=keep, args=(edges,)) for edges in (there, back)]
    for one in racing:
        one.start()
    for one in racing:
        one.join()
    edges = [tuple(edge) for edge in kept(c, name)["edges"]]
    assert c.get_dag(name)(3).get() == {str(there): 16, str(back): 10}[str(edges)]
