"""Buckets and sessions: `bucket("shop").get("k")`, `with session("atomic"): …`."""

import contextlib
import contextvars
import json

from . import instance, lattices, values
from .values import as_text, decode, encode

# The session that calls of this context belong to; 0 is the event's own.
_session = contextvars.ContextVar("squall_session", default=0)
# The function whose own bucket `bucket()` is; empty for the one that this process was started for.
_own = b""


def act_for(function):
    """From now on a bucket without a name is the own bucket of that function: for a process that runs several."""
    global _own
    _own = as_text(function, "function's name")


def bucket(name=None):
    """A bucket that is bound to this function; without a name, the function's own."""
    return Bucket(name)


@contextlib.contextmanager
def session(level):
    """Reads and writes inside of the block have a level of consistency of their own.

    `lww`, `repeatable-read`, `single-key-causal`, `multi-key-causal`, `causal` or `atomic`.
    At `atomic` the writes become visible together at the end of the block, and none of them where it raises.
    """
    _, _, number, _ = instance.ask("BEGIN", arguments=json.dumps({"level": level}).encode())
    token = _session.set(number)
    try:
        yield
    except BaseException:
        instance.ask("ABORT", session=number)
        raise
    else:
        instance.ask("COMMIT", session=number)
    finally:
        _session.reset(token)


class Bucket:
    """Keys and their values. Making one costs nothing: whether it exists and is bound shows at its first use."""

    __slots__ = ("name", "_bytes")

    def __init__(self, name=None):
        self.name = name
        self._bytes = b"" if name is None else as_text(name, "bucket's name")

    def __repr__(self):
        return "squall.bucket({!r})".format(self.name) if self.name is not None else "squall.bucket()"

    def get(self, key, default=None):
        """The value of a key. Arrays come read-only, and large ones without being copied."""
        try:
            value, is_there = instance.host().get(self._bytes or _own, as_text(key), _session.get(), decode)
        except Exception as error:
            raise instance.failure(error) from None
        return value if is_there else default

    def get_many(self, keys):
        """The values of several keys in one round trip, as a dict without those that are not there."""
        keys = list(keys)
        names = [as_text(key) for key in keys]
        try:
            found = instance.host().get_many(self._bytes or _own, names, _session.get(), decode)
        except Exception as error:
            raise instance.failure(error) from None
        return {key: value for key, (value, is_there) in zip(keys, found) if is_there}

    def put(self, key, value):
        """Writes a value: JSON, bytes, a numpy array, or whatever can be pickled."""
        encoding, body = encode(value)
        self._ask("PUT", key, encoding=encoding, body=body)

    def delete(self, key):
        """Removes a key, whatever it holds. One that is not there is no error."""
        self._ask("DELETE", key)

    def list(self, prefix="", after=None, limit=1000):
        """Keys in order: those that start with `prefix`, come after `after`, and at most `limit` of them."""
        arguments = {"prefix": prefix, "limit": limit}
        if after is not None:
            arguments["after"] = after
        _, _, _, content = instance.ask("LIST", self._bytes or _own, b"", _session.get(), json.dumps(arguments).encode())
        return json.loads(content)

    def keys(self, prefix=""):
        """All keys that start with `prefix`, in order, page by page."""
        after = None
        while True:
            page = self.list(prefix, after)
            yield from page
            if not page:
                return
            after = page[-1]

    def counter(self, key):
        """A number that many add to at the same time."""
        return lattices.Counter(self, key)

    def set(self, key):
        """A set that many add to and remove from at the same time."""
        return lattices.Set(self, key)

    def ordered_set(self, key):
        """Elements in the order of their scores."""
        return lattices.OrderedSet(self, key)

    def map(self, key):
        """Fields, of which many may write different ones at the same time."""
        return lattices.Map(self, key)

    def max(self, key):
        """The greatest number that anybody has offered."""
        return lattices.Max(self, key)

    def min(self, key):
        """The least number that anybody has offered."""
        return lattices.Min(self, key)

    def flag(self, key):
        """A bool that is False until somebody raises it, and True from then on."""
        return lattices.Flag(self, key)

    def siblings(self, key):
        """All values that were written at the same time at a causal level; mostly one."""
        return lattices.siblings(self, key)

    def _ask(self, operation, key, **named):
        return instance.ask(operation, self._bytes or _own, as_text(key), _session.get(), **named)

    def _change(self, key, method, encoding=values.JSON, body=b"", **arguments):
        """Changes a lattice or reads it; what it answers is decoded."""
        arguments = json.dumps(dict(arguments, method=method)).encode()
        status, encoding, _, content = self._ask(
            "LATTICE", key, arguments=arguments, encoding=encoding, body=body
        )
        if status != instance.host().VALUE:
            return None
        return values.decode(encoding, content)
