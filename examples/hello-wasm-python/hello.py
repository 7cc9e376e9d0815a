"""Greets over HTTP, and prints a line to the log: a component of the wasi:http proxy world."""

import json

from componentize_py_types import Err, Ok
from wit_world import exports
from wit_world.imports.streams import StreamError_Closed
from wit_world.imports.types import Fields, OutgoingBody, OutgoingResponse, ResponseOutparam

READ_BYTES_MAX = 64 * 1024
# What one blocking write takes, by the interface.
WRITE_BYTES_MAX = 4096


class IncomingHandler(exports.IncomingHandler):
    """A call from the Lambda API arrives as `POST /` with the event as its body; the response's body is the answer."""

    def handle(self, request, response_out):
        event = json.loads(read(request))
        print("greeting", event["name"])
        answer = {"greeting": f"Hello, {event['name']}!", "path": request.path_with_query()}
        respond(response_out, json.dumps(answer).encode())


def read(request):
    """The request's whole body."""
    pieces = []
    with request.consume() as body, body.stream() as stream:
        while True:
            try:
                pieces.append(stream.blocking_read(READ_BYTES_MAX))
            except Err as end:
                if isinstance(end.value, StreamError_Closed):
                    return b"".join(pieces)
                raise


def respond(response_out, answer):
    """Status 200 with this body."""
    headers = Fields()
    headers.set("content-type", [b"application/json"])
    response = OutgoingResponse(headers)
    body = response.body()
    ResponseOutparam.set(response_out, Ok(response))
    with body.write() as stream:
        for at in range(0, len(answer), WRITE_BYTES_MAX):
            stream.blocking_write_and_flush(answer[at : at + WRITE_BYTES_MAX])
    OutgoingBody.finish(body, None)
