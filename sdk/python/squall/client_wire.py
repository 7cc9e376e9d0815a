"""Arguments of calls as bytes, in the form that the server hands on without looking into it.

A version, then per function its name and its arguments; an argument is a kind, a length and its content; big-endian.
"""

import json
import struct

from . import values
from .client_arguments import encode

ARGUMENTS = "application/vnd.squall.arguments"
REFERENCE, RUN = 16, 17
_VERSION = 1
_HEAD = struct.Struct(">BI")
_COUNT = struct.Struct(">H")
_ENCODINGS = {
    "application/json": values.JSON,
    "application/octet-stream": values.BYTES,
    "application/x-python-pickle": values.PICKLE,
    "application/vnd.squall.ndarray": values.NDARRAY,
}


class Ref:
    """A key of the shared state as an argument: read beside the function, when it runs."""

    __slots__ = ("bucket", "key")

    def __init__(self, bucket, key):
        if type(bucket) is not str or type(key) is not str:
            raise TypeError("a Ref takes the names of a bucket and of a key, both str")
        self.bucket, self.key = bucket, key

    def __repr__(self):
        return "Ref({!r}, {!r})".format(self.bucket, self.key)


class Raw:
    """A value that is encoded already."""

    __slots__ = ("encoding", "content")

    def __init__(self, encoding, content):
        self.encoding, self.content = encoding, content


def write(inputs):
    """Bytes of [(function's name or "", arguments)]."""
    out = [bytes((_VERSION,)), _COUNT.pack(len(inputs))]
    for name, arguments in inputs:
        name = name.encode()
        out += (_COUNT.pack(len(name)), name, _COUNT.pack(len(arguments)))
        for argument in arguments:
            kind, content = _argument(argument)
            out += (_HEAD.pack(kind, len(content)), content)
    return b"".join(out)


def read_result(answer):
    """The value that an answer carries."""
    return values.decode(encoding_of(answer), answer.body)


def encoding_of(answer):
    return _ENCODINGS.get(answer.headers.get("content-type"), values.BYTES)


def media_type(encoding):
    return next(name for name, known in _ENCODINGS.items() if known == encoding)


def _argument(argument):
    if type(argument) is Ref:
        return REFERENCE, json.dumps({"bucket": argument.bucket, "key": argument.key}).encode()
    as_argument = getattr(argument, "_as_argument", None)
    if as_argument is not None:
        argument = as_argument()
        if type(argument) is bytes:
            return RUN, argument
    if type(argument) is Raw:
        return argument.encoding, argument.content
    return encode(argument)
