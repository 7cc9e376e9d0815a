"""Messages between functions that run: an id for each invocation, an inbox behind each id.

A message to an id whose function has not asked yet waits in the inbox.
"""

from . import instance, values


def my_id():
    """The id under which this invocation receives messages: give it to others, through a key for one."""
    _, _, _, content = instance.ask("MY_ID")
    return content.decode()


def send(id, message):
    """Sends a value to an id. Returns once the message is in the inbox."""
    encoding, body = values.encode(message)
    instance.ask("SEND", b"", values.as_text(id, "id"), encoding=encoding, body=body)


def recv(timeout=None):
    """The next message, in the order of arrival; None where none came within `timeout` seconds.

    Without a timeout it waits until the function's own time is over.
    """
    arguments = b"" if timeout is None else b'{"timeout_ms":%d}' % max(0, int(timeout * 1000))
    status, encoding, _, content = instance.ask("RECEIVE", arguments=arguments)
    if status != instance.host().VALUE:
        return None
    return values.decode(encoding, content)
