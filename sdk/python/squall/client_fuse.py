"""Makes one function of a composition's functions: it runs them one after the other in its one process."""

import graphlib

from .client_future import Refused
from .client_package import FUSED_HANDLER, HANDLER, fused_package

INPUTS = "inputs"
# Lambda's limits.
_MEMORY_MAX, _TIMEOUT_MAX = 10240, 900
_SAME = ("Runtime", "Role", "EphemeralStorage")
# A function that somebody updates meanwhile is fused again as it is then.
_ATTEMPTS = 5


def fuse(client, name, spec, mark):
    """Deploys the function `name`, which holds those of `spec`, and keeps the composition with it.

    `mark` is the environment variable that says what a function takes.
    """
    names = [node["name"] for node in spec["functions"]]
    _check_name(client, name, mark)
    for _ in range(_ATTEMPTS):
        functions = [client._lambda("GET", one) for one in names]
        configurations = [one["Configuration"] for one in functions]
        settings = _settings(configurations, mark)
        by_name = dict(zip(names, functions))
        order = _order(spec)
        steps = [{"name": one, "bucket": by_name[one]["Configuration"]["FunctionName"], "upstream": upstream}
                 for one, upstream in order]
        packages = [client._package(by_name[one]["Code"]["Location"]) for one, _ in order]
        client._deploy(name, settings, *fused_package(steps, packages))
        _bind(client, name, {step["bucket"] for step in steps})
        client._json("PUT", ("squall", "v1", "dags", name), dict(spec, fused={"function": name}))
        now = [client._lambda("GET", one, "configuration")["RevisionId"] for one in names]
        if now == [one["RevisionId"] for one in configurations]:
            return
    raise Refused("ResourceConflictException", "the functions of `{}` kept changing while they were fused".format(name), 409)


def _check_name(client, name, mark):
    there = client._lambda("GET", name, "configuration", expect_absent=True)
    if there is not None and _variables(there).get(mark) != INPUTS:
        raise ValueError("there is a function `{0}`: what a composition is fused to has its name, so give this "
                         "composition another".format(name))


def _variables(configuration):
    return configuration.get("Environment", {}).get("Variables", {})


def _settings(configurations, mark):
    """Those of the function that holds them: they must agree in what one process has one of; limits are added up."""
    first, variables, owners = configurations[0], {}, {}
    for one in configurations:
        if one.get("Handler") != HANDLER:
            raise ValueError("`{}` was not deployed by `register`: only such functions can be fused".format(
                one["FunctionName"]))
        for key in _SAME:
            if one.get(key) != first.get(key):
                raise ValueError("`{}` and `{}` differ in {} ({} and {}): functions that are fused share it".format(
                    first["FunctionName"], one["FunctionName"], key, first.get(key), one.get(key)))
        for variable, value in _variables(one).items():
            if variables.setdefault(variable, value) != value:
                raise ValueError("`{}` and `{}` have different values of the environment variable {}: functions that "
                                 "are fused share it".format(owners[variable], one["FunctionName"], variable))
            owners.setdefault(variable, one["FunctionName"])
    total = lambda key, most: min(most, sum(one[key] for one in configurations))
    return dict(
        {key: first[key] for key in _SAME if key in first},
        Handler=FUSED_HANDLER, MemorySize=total("MemorySize", _MEMORY_MAX), Timeout=total("Timeout", _TIMEOUT_MAX),
        Environment={"Variables": dict(variables, **{mark: INPUTS})},
    )


def _order(spec):
    """[(name, those whose results it gets)], each after those."""
    upstream = {node["name"]: [] for node in spec["functions"]}
    for source, target in spec["edges"]:
        upstream[target].append(source)
    return [(name, upstream[name]) for name in graphlib.TopologicalSorter(upstream).static_order()]


def _bind(client, name, functions):
    """It sees what they see: their own buckets and those bound to them, and nothing else."""
    bound = lambda function: set(client._json("GET", ("squall", "v1", "functions", function, "buckets"))["buckets"])
    wanted = set(functions)
    for function in functions:
        client.create_bucket(function)
        wanted |= bound(function)
    there = bound(name)
    path = lambda bucket: ("squall", "v1", "buckets", bucket, "functions", name)
    for bucket in sorted(wanted - there):
        client._json("PUT", path(bucket))
    for bucket in sorted(there - wanted):
        client._json("DELETE", path(bucket))
