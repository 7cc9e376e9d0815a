"""Greets, and prints a line to the log. Takes {"name": …} as its event, or as the body of a request to its URL."""

import base64
import json


def handler(event, context):
    if "requestContext" in event:
        event = json.loads(body_of(event) or "{}")
    name = event.get("name", "world")
    print(f"greeting {name}")
    return {"greeting": f"Hello, {name}!", "request_id": context.aws_request_id}


def body_of(request):
    """A request's body; what does not call itself text (a form, as curl sends it) comes in base64."""
    body = request.get("body", "")
    return base64.b64decode(body) if request.get("isBase64Encoded") else body
