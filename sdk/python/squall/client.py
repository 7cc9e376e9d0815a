"""The client for programs outside: registers functions, composes them, calls them.

    from squall import Client, Ref
    c = Client()                                    # the environment that `squall env` prints
    inc = c.register(lambda x: x + 1, "increment")
    sq = c.register(lambda x: x * x, "square")
    assert inc(2).get() == 3
    dag = c.dag("compose", [inc, sq], [("increment", "square")])
    assert dag(3, consistency="causal").get() == 16
"""

import json
import os
import sys
import time
import uuid
import weakref

from . import client_fuse, client_wire as wire
from .client_future import Future, FunctionError, Refused, refusal
from .client_http import Endpoint
from .client_package import HANDLER, package
from .client_wire import Ref

__all__ = ["Client", "Dag", "Function", "FunctionError", "Future", "Ref", "Refused"]

_ROLE = "arn:aws:iam::000000000000:role/squall"
_MARK = "SQUALL_TAKES"
_LAMBDA = "2015-03-31"
_READY_SECONDS = 120
# Each holds a connection.
_DIRECT_MAX = 256


class Client:
    """A server, as a program outside sees it. For any number of threads."""

    def __init__(self, endpoint=None, access_key_id=None, secret_access_key=None, region=None):
        def setting(given, *names):
            found = given or next((os.environ[name] for name in names if os.environ.get(name)), None)
            if not found:
                raise ValueError("{} is not set: type `eval \"$(squall env)\"` where the server runs".format(names[0]))
            return found

        self._endpoint = Endpoint(
            setting(endpoint, "AWS_ENDPOINT_URL_LAMBDA", "AWS_ENDPOINT_URL"),
            setting(access_key_id, "AWS_ACCESS_KEY_ID"),
            setting(secret_access_key, "AWS_SECRET_ACCESS_KEY"),
            region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1",
        )
        self._direct = {}

    def register(self, function, name, *, memory=256, timeout=60, include=(), environment=None, buckets=()):
        """Deploys a callable, or `(Class, arguments)` whose one object per instance is called (its `run`, if any).

        Registering a name again updates it. `include` are files and folders to put beside it, `buckets` those that
        it may use beside its own. It runs on this program's version of Python.
        """
        code, sha256 = package(function, include)
        if client_fuse.holder(self, name, _MARK):
            raise ValueError("the function `{0}` holds those of the composition `{0}`: register another name, or "
                             "`delete_dag` it first".format(name))
        settings = {
            "Runtime": "python3.{}".format(sys.version_info[1]), "Handler": HANDLER, "Role": _ROLE,
            "MemorySize": memory, "Timeout": timeout,
            "Environment": {"Variables": dict(environment or {}, **{_MARK: "arguments"})},
        }
        self._deploy(name, settings, code, sha256)
        for bucket in buckets:
            self._json("PUT", ("squall", "v1", "buckets", bucket, "functions", name))
        return Function(self, name, True)

    def function(self, name):
        """A function that is deployed already, by whatever client."""
        configuration = self._lambda("GET", name, "configuration")
        variables = configuration.get("Environment", {}).get("Variables", {})
        return Function(self, name, variables.get(_MARK) == "arguments")

    def functions(self, prefix=""):
        """Names of the deployed functions that start with `prefix`."""
        names, marker = [], ""
        while True:
            query = [("Marker", marker)] if marker else []
            page = self._json("GET", (_LAMBDA, "functions"), None, query)
            names += [one["FunctionName"] for one in page["Functions"] if one["FunctionName"].startswith(prefix)]
            marker = page.get("NextMarker")
            if not marker:
                return sorted(names)

    def delete_function(self, name):
        """Removes a function. Compositions that name it fail from then on."""
        self._lambda("DELETE", name)

    def dag(self, name, functions, edges=(), *, fused=False):
        """Keeps a composition: results go along the edges, from function to function, inside the server.

        `functions` are what `register` gave, or names of deployed functions that take JSON events.
        Any number of sources, one sink. Keeping a name again replaces it.

        `fused`: all functions run in one process, one after the other, and a result goes to the next as the object
        that it is. That process is a function of the composition's name: memory and time are the sums of theirs, their
        output is in its logs, and no wall is between them. When one of them is updated, runs have them by themselves
        again until the composition is kept again; docs/state.md has all differences.
        """
        nodes = []
        for function in functions:
            if isinstance(function, Function):
                nodes.append({"name": function.name, "takes": "arguments" if function.takes_arguments else "event"})
            else:
                nodes.append({"name": function, "takes": "event"})
        names = lambda edge: [end.name if isinstance(end, Function) else end for end in edge]
        spec = {"functions": nodes, "edges": [names(edge) for edge in edges]}
        if fused:
            client_fuse.fuse(self, name, spec, _MARK)
        else:
            self._json("PUT", ("squall", "v1", "dags", name), spec)
            self._delete_holder(name)
        return Dag(self, name)

    def get_dag(self, name):
        """A composition that is kept already."""
        self._json("GET", ("squall", "v1", "dags", name))
        return Dag(self, name)

    def dags(self, prefix=""):
        """Names of the compositions that start with `prefix`."""
        found = self._json("GET", ("squall", "v1", "dags"))["dags"]
        return [dag["name"] for dag in found if dag["name"].startswith(prefix)]

    def delete_dag(self, name):
        """Forgets a composition. Its runs go on."""
        self._json("DELETE", ("squall", "v1", "dags", name))
        self._delete_holder(name)

    def create_bucket(self, name, durability=None):
        """Makes a bucket of the shared state; one that is there already stays. `durability`: "durable", "buffered",
        "memory"."""
        self._json("PUT", ("squall", "v1", "buckets", name), {"durability": durability} if durability else None)

    def put(self, bucket, key, value):
        """Writes a value under a key of the shared state."""
        encoding, content = wire.encode(value)
        path = ("squall", "v1", "state", bucket, key)
        answer = self._endpoint.call(self._endpoint.request("PUT", path, (), content, wire.media_type(encoding)))
        if answer.status >= 300:
            raise refusal(answer)

    def get(self, bucket, key, default=None):
        """The value under a key of the shared state."""
        answer = self._endpoint.call(self._endpoint.request("GET", ("squall", "v1", "state", bucket, key)))
        if answer.headers.get("x-amzn-errortype") == "UnknownKey":
            return default
        if answer.status >= 300:
            raise refusal(answer)
        return wire.read_result(answer)

    def future(self, run_id):
        """The result of a run that was started with `direct=False`, by this program or another."""
        return Future(self._endpoint, str(uuid.UUID(run_id)))

    def _start(self, path, inputs, consistency, direct, output_key, timeout, keep):
        run_id = str(uuid.UUID(bytes=os.urandom(16), version=4))
        query = [("id", run_id)]
        if consistency is not None:
            query.append(("consistency", consistency))
        if not direct:
            query.append(("direct", "false"))
        if output_key is not None:
            query += (("output_bucket", output_key.bucket), ("output_key", output_key.key))
        if timeout is not None:
            query.append(("timeout_ms", str(int(timeout * 1000))))
        if keep is not None:
            query.append(("keep_ms", str(int(keep * 1000))))
        request = self._endpoint.request("POST", path, query, wire.write(inputs), wire.ARGUMENTS)
        if direct:
            return self._direct_future(run_id, request)
        answer = self._endpoint.call(request)
        if answer.status != 202:
            raise refusal(answer)
        return Future(self._endpoint, run_id)

    def _direct_future(self, run_id, request):
        """Each holds a connection until it is read: of too many, the oldest is read first."""
        open_ones = self._direct
        if len(open_ones) >= _DIRECT_MAX:
            for key in list(open_ones):
                future = open_ones.pop(key)()
                if future is not None and future._answer is None:
                    future._finish(None)
                if len(open_ones) < _DIRECT_MAX // 2:
                    break
        future = Future(self._endpoint, run_id, request, self._endpoint.send(request))
        open_ones[run_id] = weakref.ref(future)
        return future

    def _delete_holder(self, dag):
        """Removes the function that holds a composition's, if there is one."""
        if client_fuse.holder(self, dag, _MARK):
            self._lambda("DELETE", dag, expect_absent=True)

    def _function_now(self, name):
        """(what Lambda's GetFunction says, the revision that calls run)."""
        path = (_LAMBDA, "functions", name)
        answer = self._endpoint.call(self._endpoint.request("GET", path))
        if answer.status >= 300:
            raise refusal(answer)
        told = json.loads(answer.body)
        # While an update goes on, or where it failed, calls run what was there before and not what is told.
        is_told = told["Configuration"].get("LastUpdateStatus", "Successful") == "Successful"
        if "squall-revision" not in answer.headers or not is_told:
            raise Refused("ResourceConflictException", "`{}` is being updated, or could not be".format(name), 409)
        return told, answer.headers["squall-revision"]

    def _package(self, location):
        """The bytes of a function's zip."""
        answer = self._endpoint.call(self._endpoint.follow(location))
        if answer.status >= 300:
            raise refusal(answer)
        return answer.body

    def _deploy(self, name, settings, code, sha256):
        """Makes a function, or makes it what is wanted, and waits until it is ready."""
        old = self._lambda("GET", name, "configuration", expect_absent=True)
        if old is None:
            self._json("POST", (_LAMBDA, "functions"), dict(settings, FunctionName=name, Code={"ZipFile": code}))
        else:
            self._update(name, old, settings, code, sha256)
        self._wait_ready(name)

    def _update(self, name, old, settings, code, sha256):
        same = {key: old.get(key) for key in settings} == settings
        if not same:
            self._wait_ready(name)
            self._lambda("PUT", name, "configuration", settings)
        if old.get("CodeSha256") != sha256:
            self._wait_ready(name)
            self._lambda("PUT", name, "code", {"ZipFile": code})

    def _wait_ready(self, name):
        until = time.monotonic() + _READY_SECONDS
        while True:
            now = self._lambda("GET", name, "configuration")
            if now["State"] == "Failed":
                raise Refused("Failed", now.get("StateReason", "the function could not be prepared"), 409)
            if now["State"] == "Active" and now.get("LastUpdateStatus", "Successful") != "InProgress":
                return
            if time.monotonic() > until:
                raise TimeoutError("`{}` did not become ready".format(name))
            time.sleep(0.02)

    def _lambda(self, method, name, *rest, expect_absent=False):
        body = rest[1] if len(rest) > 1 else None
        try:
            return self._json(method, (_LAMBDA, "functions", name, *rest[:1]), body)
        except Refused as error:
            if expect_absent and error.status == 404:
                return None
            raise

    def _json(self, method, path, body=None, query=()):
        content = b"" if body is None else json.dumps(body).encode()
        answer = self._endpoint.call(self._endpoint.request(method, path, query, content))
        if answer.status >= 300:
            raise refusal(answer)
        return json.loads(answer.body) if answer.body else None


class Function:
    """A deployed function. Calling it gives a future."""

    def __init__(self, client, name, takes_arguments):
        self._client, self.name, self.takes_arguments = client, name, takes_arguments
        self._path = ("squall", "v1", "calls", name)

    def __repr__(self):
        return "<squall function {}>".format(self.name)

    def __call__(self, *arguments, consistency=None, direct=True, output_key=None, timeout=None, keep=None):
        """Calls it; for what can be given, see `Dag`."""
        if self.takes_arguments:
            return self._client._start(self._path, [("", arguments)], consistency, direct, output_key, timeout, keep)
        raise TypeError("`{}` takes a JSON event and not arguments: call it through a dag, or with boto3".format(self.name))


class Dag:
    """A composition. Calling it gives a future of its sink's result."""

    def __init__(self, client, name):
        self._client, self.name = client, name
        self._path = ("squall", "v1", "dags", name, "runs")

    def __repr__(self):
        return "<squall dag {}>".format(self.name)

    def __call__(
        self, *arguments, args=None, consistency=None, direct=True, output_key=None, timeout=None, keep=None
    ):
        """Runs it. `arguments` are the only source's; `args` gives any function its own, by name, before those that
        come along its edges: `dag(args={"a": [1], "b": [Ref("bucket", "key")]})`.

        `consistency`: the level of the whole run, such as "causal" or "atomic".
        `direct`: the result comes back on the connection. With False the run is kept before the call returns: it
        survives this program and the server, and its result is there for `keep` seconds (an hour), by its id.
        `output_key`: a `Ref` under which the result is written too.
        `timeout`: seconds after which the run has failed (15 minutes).
        """
        inputs = [("", arguments)] if arguments or not args else []
        inputs += list((args or {}).items())
        return self._client._start(self._path, inputs, consistency, direct, output_key, timeout, keep)
