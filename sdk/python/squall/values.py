"""Values as bytes: JSON where that says all of it, bytes as they are, numpy arrays by their elements, else pickle.

numpy is never imported here: a value is an array only where somebody has imported numpy already.
"""

import json
import pickle
import sys

JSON, BYTES, PICKLE, NDARRAY = range(4)
NAMES = ("json", "bytes", "pickle", "ndarray")

_HEADER_ALIGN = 64
# Of integers this far from 0 or nearer the digits are JSON.
_SMALL = 1 << 63
_SCALARS = frozenset((str, int, float, bool, type(None)))
_dumps = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode
# Without the search of `json.loads` for the encoding: ours is UTF-8.
_loads = json.JSONDecoder().decode

_host = sys.modules.get("squall_host")
if _host is not None:
    Payload = _host.Payload
else:

    class Payload:
        """An event or an answer that is not JSON: its encoding (`bytes`, `pickle`, `ndarray`) and its bytes."""

        __slots__ = ("data", "encoding")

        def __init__(self, data, encoding="bytes"):
            self.data, self.encoding = data, encoding


def encode(value):
    """(encoding, content): the content is bytes, or a list of buffers that belong together."""
    kind = type(value)
    if kind is bytes:
        return BYTES, value
    if kind is int and -_SMALL < value < _SMALL:
        return JSON, b"%d" % value
    if kind in (bytearray, memoryview):
        return BYTES, bytes(value)
    numpy = sys.modules.get("numpy")
    if numpy is not None and kind is numpy.ndarray and not value.dtype.hasobject and value.dtype.names is None:
        return NDARRAY, _array_parts(numpy, value)
    if _is_json(value, 0):
        try:
            return JSON, _dumps(value).encode()
        except (ValueError, UnicodeEncodeError):
            # Not a number, or half of a surrogate pair: pickle keeps them.
            pass
    return PICKLE, pickle.dumps(value, protocol=4)


def decode(encoding, content, kept=None):
    """The value. `kept` is where the value of a mapped file may stay for the next time."""
    if encoding == JSON:
        return _loads(str(content, "utf-8"))
    if encoding == NDARRAY:
        if kept is None:
            return _array(content)
        if kept.value is None:
            kept.value = _array(content)
        # A view: whoever gets it may not change what the next one gets.
        return kept.value.view()
    if encoding == BYTES:
        if kept is None:
            return bytes(content)
        if kept.value is None:
            kept.value = bytes(content)
        return kept.value
    return pickle.loads(content)


def as_text(key, what="key"):
    """A key as it travels."""
    if type(key) is not str:
        raise TypeError("a {} is a str, not {}".format(what, type(key).__name__))
    return key.encode()


def _is_json(value, depth):
    """Whether JSON gives the same back: no tuples, no keys but strings, nothing of another class."""
    kind = type(value)
    if kind in _SCALARS:
        return True
    if depth > 100:
        return False
    if kind is dict:
        return all(type(key) is str and _is_json(item, depth + 1) for key, item in value.items())
    if kind is list:
        return all(_is_json(item, depth + 1) for item in value)
    return False


def _array_parts(numpy, array):
    head = _dumps({"dtype": array.dtype.str, "shape": list(array.shape)}).encode()
    padding = -(len(head) + 1) % _HEADER_ALIGN
    contiguous = numpy.ascontiguousarray(array)
    return [head + b" " * padding + b"\n", contiguous.reshape(-1).view(numpy.uint8)]


def _array(content):
    import numpy

    view = memoryview(content)
    end = bytes(view[:4096]).index(b"\n") + 1
    head = _loads(str(view[:end], "utf-8"))
    array = numpy.frombuffer(content, dtype=numpy.dtype(head["dtype"]), offset=end)
    return array.reshape(head["shape"])
