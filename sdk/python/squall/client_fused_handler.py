"""The handler of a composition that runs in one process. It is put into a package, beside the functions' pickles.

`squall_fused.json` has them in an order in which each comes after those whose results it gets.
"""

import json
import os

import squall
import squall_arguments as arguments
from squall import buckets, values


class _Step:
    """One function of the composition."""

    def __init__(self, number, name, bucket, upstream):
        self.name, self.bucket, self.upstream = name, bucket, upstream
        self.consumers = 0
        buckets.act_for(bucket)
        self.function = arguments.load("squall_fused", "{}.pickle".format(number))

    def run(self, given, results, finish):
        """What it returns, as `finish` makes it of that."""
        buckets.act_for(self.bucket)
        try:
            own = arguments.resolve(given.get(self.name, []))
            return finish(self.function(*own, *[result.take() for result in map(results.get, self.upstream)]))
        except Exception as error:
            # The caller is told whose error it is, as where each function has a process of its own. The exception's
            # class has no say in it.
            object.__getattribute__(error, "__dict__")["__squall_function__"] = self.name
            raise

    def result(self, value):
        return _Result(value, self.consumers)


class _Result:
    """What a function returned, for those that come after it."""

    def __init__(self, value, consumers):
        self._value = value
        # Several must not see what one of them does to it; between two it goes as it is.
        self._copied = arguments.encode(value) if consumers > 1 else None

    def take(self):
        return self._value if self._copied is None else values.decode(*self._copied)


def _load():
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "squall_fused.json")) as file:
        steps = {step["name"]: _Step(number, **step) for number, step in enumerate(json.load(file))}
    for step in steps.values():
        for name in step.upstream:
            steps[name].consumers += 1
    return list(steps.values())


_steps = _load()


def handler(event, context):
    is_run = type(event) is squall.Payload
    # Lambda's Invoke: the event is the one argument of the first.
    given = arguments.read_inputs(event.data) if is_run else {_steps[0].name: [event]}
    results = {}
    for step in _steps[:-1]:
        results[step.name] = step.run(given, results, step.result)
    return _steps[-1].run(given, results, arguments.answer if is_run else lambda value: value)
