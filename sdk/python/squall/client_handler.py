"""The handler of a function that a client registered. It is put into the function's package, beside the pickle.

The pickle is a callable, or a class and the arguments to make its one object of, per instance.
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


def _load():
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "function.pickle"), "rb") as file:
        kind, function, arguments = pickle.load(file)
    if kind == "function":
        return function
    made = function(*arguments)
    return made.run if hasattr(made, "run") else made


_function = _load()


def handler(event, context):
    if type(event) is not squall.Payload:
        # Lambda's Invoke: the event is the one argument.
        return _function(event)
    return _answer(_function(*_arguments(event.data)))


def _arguments(data):
    (count,) = _COUNT.unpack_from(data, 1)
    arguments, references, at = [], [], 3
    for number in range(count):
        kind, length = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        content = data[at : at + length]
        at += length
        if kind == _REFERENCE:
            reference = json.loads(content)
            references.append((number, reference["bucket"], reference["key"]))
            arguments.append(None)
        else:
            arguments.append(values.decode(kind, content))
    if references:
        _resolve(references, arguments)
    return arguments


def _resolve(references, arguments):
    """Reads all keys of a bucket in one question, and of several buckets at the same time."""
    by_bucket = {}
    for number, bucket, key in references:
        by_bucket.setdefault(bucket, []).append((number, key))
    if len(by_bucket) == 1:
        found = [_read(*next(iter(by_bucket.items())))]
    else:
        with concurrent.futures.ThreadPoolExecutor(min(8, len(by_bucket))) as pool:
            found = list(pool.map(_read, by_bucket.keys(), by_bucket.values()))
    for part in found:
        for number, value in part:
            arguments[number] = value


def _read(bucket, wanted):
    found = squall.bucket(bucket).get_many({key for _, key in wanted})
    for _, key in wanted:
        if key not in found:
            raise KeyError("Ref({!r}, {!r}): there is no such key".format(bucket, key))
    return [(number, found[key]) for number, key in wanted]


def _answer(value):
    try:
        encoding, content = values.encode(value)
    except (pickle.PicklingError, AttributeError, TypeError):
        import cloudpickle

        encoding, content = values.PICKLE, cloudpickle.dumps(value)
    if type(content) is list:
        content = b"".join(content)
    return squall.Payload(content, values.NAMES[encoding])
