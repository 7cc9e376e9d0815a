"""Results that are not there yet, and the ways in which they fail."""

import builtins
import json
import time
import uuid

from . import client_http as http
from . import client_wire as wire
from .errors import SquallError

# A server that restarts is waited for, so long where `get` has no timeout of its own.
_RESTART_SECONDS = 60
_POLL_MS = 20000


class Refused(SquallError):
    """The server refused: `kind` is the name of its exception, `status` the number of HTTP."""

    def __init__(self, kind, message, status):
        super().__init__(message)
        self.kind, self.status, self.retryable = kind, status, status in (429, 503)


class FunctionError(SquallError):
    """A function failed: `kind` is the type of its exception, `trace` its stack trace, `function` its name.

    It is also an instance of that type where that is one of Python's own: `except ZeroDivisionError` works.
    """

    def __init__(self, kind, message, trace=(), function=""):
        super().__init__("{}: {}".format(kind, message))
        self.kind, self.message, self.trace, self.function = kind, message, list(trace), function

    def __str__(self):
        where = " in `{}`".format(self.function) if self.function else ""
        return "{}: {}{}\n{}".format(self.kind, self.message, where, "".join(self.trace)).rstrip()


_kinds = {}


def _function_error(kind, message, trace, function):
    made = _kinds.get(kind)
    if made is None:
        made, own = FunctionError, getattr(builtins, kind, None)
        if isinstance(own, type) and issubclass(own, Exception):
            try:
                made = type(kind, (FunctionError, own), {"__init__": FunctionError.__init__, "__module__": __name__})
                made(kind, message)
            except TypeError:
                made = FunctionError
        _kinds[kind] = made
    return made(kind, message, trace, function)


def refusal(answer):
    """The exception of an answer that is not 2xx."""
    try:
        fields = json.loads(answer.body)
        message = fields.get("Message") or fields.get("message") or ""
    except ValueError:
        message = answer.body[:500].decode("utf-8", "replace")
    kind = answer.headers.get("x-amzn-errortype", "HTTP {}".format(answer.status)).split(":")[0]
    return Refused(kind, message, answer.status)


class Future:
    """What a call comes to. `id` names its run; a future may be an argument of another call."""

    def __init__(self, endpoint, run_id, request=None, connection=None):
        self.id = run_id
        self._endpoint = endpoint
        # Of a direct run: what to send again where the server dies.
        self._request, self._connection = request, connection
        self._answer = None

    def get(self, timeout=None):
        """The result; raises what the function raised. TimeoutError after `timeout` seconds: get it again later."""
        self._finish(timeout)
        answer = self._answer
        if answer.status != 200:
            raise refusal(answer)
        if "x-amz-function-error" in answer.headers:
            error = json.loads(answer.body)
            raise _function_error(
                error.get("errorType", "Exception"), error.get("errorMessage", ""), error.get("stackTrace") or (),
                answer.headers.get("squall-function", ""),
            )
        return wire.read_result(answer)

    def done(self):
        """Whether the result is there. It does not wait for longer than a question to the server takes."""
        try:
            self._finish(0.001 if self._connection else 0)
        except TimeoutError:
            return False
        return True

    def cancel(self):
        """Ends the run: no further function of it starts. A run that has ended stays as it is."""
        self._endpoint.call(self._endpoint.request("DELETE", ("squall", "v1", "runs", self.id)))

    def _as_argument(self):
        """The run's id, for the server to put its result there; of a direct run, the result as it came."""
        if self._request is None and self._connection is None:
            return uuid.UUID(self.id).bytes
        self._finish(None)
        if self._answer.status != 200 or "x-amz-function-error" in self._answer.headers:
            self.get()
        return wire.Raw(wire.encoding_of(self._answer), self._answer.body)

    def _finish(self, timeout):
        if self._answer is not None:
            return
        deadline = None if timeout is None else time.monotonic() + timeout
        lost_since, pause = None, 0.05
        while self._answer is None:
            try:
                self._answer = self._ask(deadline)
                lost_since = None
            except http.Broken as error:
                now = time.monotonic()
                lost_since = lost_since or now
                if now - lost_since > _RESTART_SECONDS or (deadline is not None and now > deadline):
                    raise ConnectionError("the result of run {} was not there: {}".format(self.id, error)) from None
                time.sleep(pause)
                pause = min(1.0, pause * 2)

    def _ask(self, deadline):
        """The answer; None where the run is still under way."""
        if self._request is None:
            return self._poll(deadline)
        if self._connection is None:
            # The server died: runs are executed at least once, so this one is sent again.
            self._connection = self._endpoint.send(self._request)
        try:
            answer = self._connection.receive(deadline)
        except http.Broken:
            self._connection.close()
            self._connection = None
            raise
        self._endpoint.give_back(self._connection)
        self._connection = None
        if answer.status == 409 and answer.headers.get("x-amzn-errortype") == "ResourceConflictException":
            # Only the connection had died.
            self._request = None
            return None
        if answer.status == 503:
            raise http.Broken("the server is shutting down")
        return answer

    def _poll(self, deadline):
        wait_ms = _POLL_MS
        if deadline is not None:
            wait_ms = max(0, min(wait_ms, int((deadline - time.monotonic()) * 1000)))
        path = ("squall", "v1", "runs", self.id)
        answer = self._endpoint.call(self._endpoint.request("GET", path, [("wait_ms", str(wait_ms))]))
        if answer.status == 503:
            raise http.Broken("the server is shutting down")
        if answer.status != 202:
            return answer
        if deadline is not None and time.monotonic() >= deadline:
            raise TimeoutError("no result yet")
        return None

    def __del__(self):
        if self._connection is not None:
            self._connection.close()
