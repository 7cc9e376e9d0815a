"""What can go wrong, as exceptions: each says what was wrong and what to do."""


class SquallError(Exception):
    """The platform refused. `kind` is its one word for the reason; `retryable` says whether the same may work later."""

    kind = "SquallError"
    retryable = False


class UnknownBucket(SquallError):
    """There is no such bucket."""


class NotBound(SquallError):
    """The function may not see the bucket."""


class BucketExists(SquallError):
    """A bucket of that name exists with other settings."""


class BadRequest(SquallError):
    """A key, a name or an argument that cannot be."""


class TooLarge(SquallError):
    """A value, a message or a transaction is over its limit."""


class OtherLattice(SquallError):
    """The key holds a value of another kind: a counter, say, where a set was asked for."""


class Full(SquallError):
    """A bound was reached: of a bucket in memory, of an inbox, of calls that wait."""


class Aborted(SquallError):
    """The session cannot go on: run the function, or the whole dag, again."""


class NotAvailable(SquallError):
    """Nobody answers: the code does not run in a managed function, or not while it handles an event."""


_BY_KIND = {
    "UnknownBucket": UnknownBucket,
    "BucketNotBound": NotBound,
    "BucketExists": BucketExists,
    "InvalidRequest": BadRequest,
    "TooLarge": TooLarge,
    "OtherLattice": OtherLattice,
    "Full": Full,
    "InboxFull": Full,
    "TooManyCalls": Full,
    "SnapshotLost": Aborted,
    "NoConsistentVersion": Aborted,
    "RunExpired": Aborted,
    "SessionOver": Aborted,
    "Conflict": Aborted,
    "NotAvailable": NotAvailable,
}


def refused(kind, message, retryable):
    """The exception of a refusal."""
    error = _BY_KIND.get(kind, SquallError)(message)
    error.kind, error.retryable = kind, retryable
    return error
