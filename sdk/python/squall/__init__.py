"""Squall for functions: shared state beside them, sessions, messages.

Inside of a managed function there is nothing to install and nothing to connect:

    import squall

    def handler(event, context):
        shop = squall.bucket("shop")
        shop.put("last", event)
        return {"hits": shop.counter("hits").add(1)}

Outside, `squall.Client` talks to a server whose address and keys are in the environment (`squall env`).
"""

from .buckets import Bucket, bucket, session
from .errors import (
    Aborted,
    BadRequest,
    BucketExists,
    Full,
    NotAvailable,
    NotBound,
    OtherLattice,
    SquallError,
    TooLarge,
    UnknownBucket,
)
from .messages import my_id, recv, send
from .values import Payload

__all__ = [
    "Aborted",
    "BadRequest",
    "Bucket",
    "BucketExists",
    "Client",
    "Full",
    "NotAvailable",
    "NotBound",
    "OtherLattice",
    "Payload",
    "Ref",
    "SquallError",
    "TooLarge",
    "UnknownBucket",
    "bucket",
    "my_id",
    "recv",
    "send",
    "session",
]


def __getattr__(name):
    # The client is for programs outside: a function does not pay for importing it.
    if name in ("Client", "Ref"):
        from . import client

        return getattr(client, name)
    raise AttributeError("module 'squall' has no attribute '{}'".format(name))
