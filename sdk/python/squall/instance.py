"""The way from a function to its platform: calls over the instance's own socket.

The runtime brings `squall_host`, which knows the protocol; outside of a managed function it is not there.
"""

import sys

from .errors import NotAvailable, refused

_host = sys.modules.get("squall_host")

_OUTSIDE = (
    "this program does not run in a managed function of Squall: deploy it as one, "
    "or use `squall.Client()` from outside"
)
_NOT_NOW = (
    "state and messages can be reached only while an event is handled: not while the module is imported, "
    "and not after the handler has returned"
)


def host():
    """The runtime's module."""
    if _host is None:
        raise NotAvailable(_OUTSIDE)
    return _host


def failure(error):
    """What a function gets for an error of the runtime's."""
    if _host is not None and isinstance(error, _host.Refused):
        return refused(error.kind, error.message, error.is_retryable)
    if type(error).__name__ == "EventOver":
        return NotAvailable(_NOT_NOW)
    return error


def ask(operation, *arguments, **named):
    """One call, by the name of its operation: (status, encoding, version, content)."""
    runtime = host()
    try:
        return runtime.ask(getattr(runtime, operation), *arguments, **named)
    except Exception as error:
        raise failure(error) from None
