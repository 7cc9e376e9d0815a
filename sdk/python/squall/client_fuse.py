"""Makes one function of a composition's functions: it runs them one after the other in its one process."""

import graphlib
import re

from .client_future import Refused
from .client_package import FUSED_HANDLER, HANDLER, fused_package

INPUTS = "inputs"
# Lambda's limits.
_MEMORY_MAX, _TIMEOUT_MAX = 10240, 900
_NAME = re.compile("[A-Za-z0-9_-]{1,64}")
_SAME = ("Runtime", "Role", "EphemeralStorage")
# Functions that somebody changes meanwhile are fused again as they are then.
_ATTEMPTS = 5


def holder(client, name, mark):
    """Whether there is a function that holds those of the composition `name`. False where the caller may not look."""
    if not _NAME.fullmatch(name):
        return False
    try:
        there = client._lambda("GET", name, "configuration", expect_absent=True)
    except Refused as error:
        if error.status == 403:
            return False
        raise
    return there is not None and _is_holder(there, mark)


def fuse(client, name, spec, mark):
    """Deploys the function `name`, which holds those of `spec`, and keeps the composition with it.

    `mark` is the environment variable that says what a function takes.
    """
    is_new = _check_name(client, name, mark)
    if not spec["functions"]:
        raise ValueError("a DAG has at least one function")
    by_event = next((node["name"] for node in spec["functions"] if node["takes"] == "event"), None)
    if by_event is not None:
        raise ValueError("`{0}` was given by its name, and so takes a JSON event: give what `register` returned, or "
                         "`client.function({0!r})`".format(by_event))
    alias = next((node["name"] for node in spec["functions"] if _is_alias(node["name"])), None)
    if alias is not None:
        raise ValueError("`{}` is an alias, and so cannot be fused: name the function or its version".format(alias))
    for attempt in range(_ATTEMPTS):
        functions = {node["name"]: client._function_now(node["name"]) for node in spec["functions"]}
        limited = next((one for one, (told, _) in functions.items() if "Concurrency" in told), None)
        if limited is not None:
            raise ValueError("`{}` has reserved concurrency, which a process for several functions would not "
                             "keep".format(limited))
        settings = _settings([one["Configuration"] for one, _ in functions.values()], mark)
        order = _order(spec)
        bucket = lambda one: functions[one][0]["Configuration"]["FunctionName"]
        steps = [{"name": one, "bucket": bucket(one), "upstream": upstream} for one, upstream in order]
        code, sha256 = fused_package(steps, [client._package(functions[one][0]["Code"]["Location"]) for one, _ in order])
        try:
            wanted = _buckets(client, name, {step["bucket"] for step in steps})
            client._deploy(name, settings, code, sha256)
            _bind(client, name, wanted)
            made, revision = client._function_now(name)
            if made["Configuration"]["CodeSha256"] != sha256:
                raise Refused("ResourceConflictException", "somebody else fuses `{}` too".format(name), 409)
            revisions = [before for _, before in functions.values()] + [revision]
            fused = dict(spec, fused={"function": name, "revisions": revisions})
            return client._json("PUT", ("squall", "v1", "dags", name), fused)
        except BaseException as error:
            if getattr(error, "status", None) == 409 and attempt + 1 < _ATTEMPTS:
                continue
            if is_new:
                _take_back(client, name, sha256)
            raise


def _is_alias(name):
    _, _, qualifier = name.partition(":")
    return bool(re.fullmatch(r"[A-Za-z0-9_-]*[A-Za-z_-][A-Za-z0-9_-]*", qualifier))


def _take_back(client, name, sha256):
    """Removes a function that was made in vain, unless somebody else has made it another since."""
    there = client._lambda("GET", name, "configuration", expect_absent=True)
    if there is not None and there["CodeSha256"] == sha256:
        client._lambda("DELETE", name, expect_absent=True)


def _check_name(client, name, mark):
    """Whether the function that holds the others is still to be made."""
    if not _NAME.fullmatch(name):
        raise ValueError("`{}` is no name for a fused composition, which is a function's name too: use 1 to 64 of "
                         "letters, digits, `-` and `_`".format(name))
    there = client._lambda("GET", name, "configuration", expect_absent=True)
    if there is not None and not _is_holder(there, mark):
        raise ValueError("there is a function `{}`: what a composition is fused to has its name, so give this "
                         "composition another".format(name))
    return there is None


def _is_holder(configuration, mark):
    return configuration.get("Handler") == FUSED_HANDLER and _variables(configuration).get(mark) == INPUTS


def _variables(configuration):
    return configuration.get("Environment", {}).get("Variables", {})


def _settings(configurations, mark):
    """Those of the function that holds them: they must agree in what one process has one of; limits are added up."""
    first = configurations[0]
    for one in configurations:
        if one.get("Handler") != HANDLER:
            raise ValueError("`{}` was not deployed by `register`, and so cannot be fused".format(one["FunctionName"]))
        for key in _SAME:
            if one.get(key) != first.get(key):
                raise ValueError("`{}` and `{}` differ in {} ({} and {}): functions that are fused share it".format(
                    first["FunctionName"], one["FunctionName"], key, first.get(key), one.get(key)))
    total = lambda key, most: min(most, sum(one[key] for one in configurations))
    return dict(
        {key: first[key] for key in _SAME if key in first},
        Handler=FUSED_HANDLER, MemorySize=total("MemorySize", _MEMORY_MAX), Timeout=total("Timeout", _TIMEOUT_MAX),
        Environment={"Variables": dict(_environment(configurations), **{mark: INPUTS})},
    )


def _environment(configurations):
    """All variables. Those of the platform are settings: one that has none has its default."""
    together, owners = {}, {}
    names = sorted({name for one in configurations for name in _variables(one)})
    for name in names:
        for one in configurations:
            value = _variables(one).get(name)
            if value is None and not name.startswith("SQUALL_"):
                continue
            owner = owners.setdefault(name, one["FunctionName"])
            if together.setdefault(name, value) != value:
                raise ValueError("`{}` and `{}` have different values of the environment variable {} ({} and {}): "
                                 "functions that are fused share it".format(
                                     owner, one["FunctionName"], name, together[name], value))
    return together


def _order(spec):
    """[(name, those whose results it gets)], each after those."""
    upstream = {node["name"]: [] for node in spec["functions"]}
    sinks = [name for name in upstream if name not in {source for source, _ in spec["edges"]}]
    for source, target in spec["edges"]:
        unknown = {source, target} - upstream.keys()
        if unknown:
            raise ValueError("an edge names `{}`, which is not a function of the DAG".format(unknown.pop()))
        upstream[target].append(source)
    if len(sinks) > 1:
        raise ValueError("the DAG has {} sinks, {}: exactly one function's result is the answer".format(
            len(sinks), ", ".join("`{}`".format(name) for name in sinks)))
    try:
        return [(name, upstream[name]) for name in graphlib.TopologicalSorter(upstream).static_order()]
    except graphlib.CycleError as error:
        raise ValueError("the DAG has a cycle: {}".format(" → ".join(error.args[1]))) from None


def _buckets(client, name, functions):
    """The buckets that functions see between them: their own, which are made, and those bound to them."""
    wanted = set(functions)
    for function in functions:
        wanted |= _bound(client, function)
    if name not in wanted and _has_bucket(client, name):
        raise ValueError("there is a bucket `{}`, which the functions do not see and a function of its name does: give "
                         "this composition another name".format(name))
    for function in sorted(functions):
        if not _has_bucket(client, function):
            client.create_bucket(function)
    return wanted - {name}


def _bind(client, name, wanted):
    """Binds to a function exactly the buckets that are wanted."""
    there = _bound(client, name)
    path = lambda bucket: ("squall", "v1", "buckets", bucket, "functions", name)
    for bucket in sorted(wanted - there):
        client._json("PUT", path(bucket))
    for bucket in sorted(there - wanted):
        client._json("DELETE", path(bucket))


def _bound(client, function):
    return set(client._json("GET", ("squall", "v1", "functions", function, "buckets"))["buckets"])


def _has_bucket(client, name):
    try:
        client._json("GET", ("squall", "v1", "buckets", name))
    except Refused as error:
        if error.status == 404:
            return False
        raise
    return True
