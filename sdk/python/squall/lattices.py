"""Values that merge: what many do to them at the same time is never lost. `squall.Bucket` makes them."""

import base64

from . import values


class _Lattice:
    __slots__ = ("_bucket", "_key")

    def __init__(self, bucket, key):
        self._bucket, self._key = bucket, key

    def __repr__(self):
        return "{}({!r}, {!r})".format(type(self).__name__, self._bucket, self._key)

    def _do(self, method, **arguments):
        return self._bucket._change(self._key, method, **arguments)


class Counter(_Lattice):
    """A number that many add to at the same time."""

    __slots__ = ()

    def add(self, amount=1):
        """Adds, or takes away where `amount` is negative. Returns the sum that this function sees then."""
        return self._do("counter.add", by=amount)

    def get(self):
        """The sum; 0 where nobody has added."""
        return self._do("counter.get") or 0


class Set(_Lattice):
    """A set of str, numbers, bools, None, and tuples of them. An addition wins over a removal at the same time."""

    __slots__ = ()

    def add(self, *elements):
        """Adds elements."""
        self._do("set.add", elements=_elements(elements))

    def remove(self, *elements):
        """Removes elements; those that are not there are no error."""
        self._do("set.remove", elements=_elements(elements))

    def get(self):
        """All of it, as a set."""
        return {_frozen(element) for element in self._do("set.get") or ()}

    def __contains__(self, element):
        return element in self.get()


class OrderedSet(_Lattice):
    """Elements with scores, in the order of the scores. The latest score of an element counts."""

    __slots__ = ()

    def add(self, element, score):
        """Adds an element, or gives it another score."""
        self._do("ordered.add", elements=_elements([element]), scores=[score])

    def remove(self, *elements):
        """Removes elements."""
        self._do("ordered.remove", elements=_elements(elements))

    def get(self):
        """All of it: a list of (element, score), least score first."""
        return [(_frozen(element), score) for element, score in self._do("ordered.get") or ()]


class Map(_Lattice):
    """Fields with values, each written for itself: two who write different fields both find theirs."""

    __slots__ = ()

    def put(self, field, value):
        """Writes a field."""
        encoding, body = values.encode(value)
        self._bucket._change(self._key, "map.put", encoding, body, field=field)

    def remove(self, *fields):
        """Removes fields."""
        self._do("map.remove", fields=list(fields))

    def get(self, field=None, default=None):
        """One field, or all of them as a dict."""
        fields = {} if field is None else {"field": field}
        found = self._do("map.get", **fields) or {}
        found = {name: _field(value) for name, value in found.items()}
        return found if field is None else found.get(field, default)


class Max(_Lattice):
    """The greatest number that anybody has offered."""

    __slots__ = ()

    def put(self, number):
        """Offers a number."""
        self._do("max.put", number=number)

    def get(self):
        """The greatest; None where nobody has offered any."""
        return self._do("max.get")


class Min(_Lattice):
    """The least number that anybody has offered."""

    __slots__ = ()

    def put(self, number):
        """Offers a number."""
        self._do("min.put", number=number)

    def get(self):
        """The least; None where nobody has offered any."""
        return self._do("min.get")


class Flag(_Lattice):
    """A bool that is False until somebody raises it."""

    __slots__ = ()

    def set(self):
        """Raises it."""
        self._do("flag.set")

    def get(self):
        """Whether anybody has raised it."""
        return bool(self._do("flag.get"))


def siblings(bucket, key):
    """All values of a register that were written at the same time."""
    return [_field(value) for value in bucket._change(key, "siblings.get") or ()]


def _elements(elements):
    for element in elements:
        if not isinstance(element, (str, int, float, bool, tuple, list, type(None))):
            raise TypeError(
                "an element is a str, a number, a bool, None or a tuple of them, not {}".format(type(element).__name__)
            )
    return list(elements)


def _frozen(element):
    return tuple(_frozen(item) for item in element) if type(element) is list else element


def _field(written):
    encoding = values.NAMES.index(written["encoding"])
    if encoding == values.JSON:
        return written["value"]
    return values.decode(encoding, base64.b64decode(written["base64"]))
