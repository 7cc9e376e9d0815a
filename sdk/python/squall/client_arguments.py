"""What the handlers of registered functions share: pickles, arguments, references, answers. It is put into packages.

The form of arguments is that of `client_wire`.
"""

import concurrent.futures
import json
import os
import pickle
import struct

import squall
from squall import values

_HEAD = struct.Struct(">BI")
_COUNT = struct.Struct(">H")
_REFERENCE = 16


class Reference:
    """A key of the shared state in the place of its value."""

    __slots__ = ("bucket", "key")

    def __init__(self, bucket, key):
        self.bucket, self.key = bucket, key


def load(*path):
    """What is to be called: a function, or the one object of a class, from a pickle beside this file."""
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), *path), "rb") as file:
        kind, function, arguments = pickle.load(file)
    if kind == "function":
        return function
    made = function(*arguments)
    return made.run if hasattr(made, "run") else made


def read(data):
    """The arguments of one function; references are not resolved."""
    return _read(data, 1)[0]


def read_inputs(data):
    """Arguments by the name of their function, of a composition; references are not resolved."""
    (count,) = _COUNT.unpack_from(data, 1)
    inputs, at = {}, 3
    for _ in range(count):
        (length,) = _COUNT.unpack_from(data, at)
        at += _COUNT.size
        name = str(data[at : at + length], "utf-8")
        inputs[name], at = _read(data, at + length)
    return inputs


def _read(data, at):
    (count,) = _COUNT.unpack_from(data, at)
    arguments, at = [], at + _COUNT.size
    for _ in range(count):
        kind, length = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        content = data[at : at + length]
        at += length
        if kind == _REFERENCE:
            arguments.append(Reference(**json.loads(content)))
        else:
            arguments.append(values.decode(kind, content))
    return arguments, at


def resolve(arguments):
    """Puts values in the places of references: all keys of a bucket in one question, several buckets at a time."""
    by_bucket = {}
    for number, argument in enumerate(arguments):
        if type(argument) is Reference:
            by_bucket.setdefault(argument.bucket, []).append((number, argument.key))
    if not by_bucket:
        return arguments
    if len(by_bucket) == 1:
        found = [_get(*next(iter(by_bucket.items())))]
    else:
        with concurrent.futures.ThreadPoolExecutor(min(8, len(by_bucket))) as pool:
            found = list(pool.map(_get, by_bucket.keys(), by_bucket.values()))
    for part in found:
        for number, value in part:
            arguments[number] = value
    return arguments


def _get(bucket, wanted):
    found = squall.bucket(bucket).get_many({key for _, key in wanted})
    for _, key in wanted:
        if key not in found:
            raise KeyError("Ref({!r}, {!r}): there is no such key".format(bucket, key))
    return [(number, found[key]) for number, key in wanted]


def encode(value):
    """(encoding, bytes); what pickle cannot do, cloudpickle may."""
    try:
        encoding, content = values.encode(value)
    except (pickle.PicklingError, AttributeError, TypeError):
        import cloudpickle

        return values.PICKLE, cloudpickle.dumps(value)
    return encoding, b"".join(content) if type(content) is list else content


def answer(value):
    """A result as the handler returns it."""
    encoding, content = encode(value)
    return squall.Payload(content, values.NAMES[encoding])
