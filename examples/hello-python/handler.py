"""Greets, and prints a line to the log. Takes {"name": …} as its event, or as the body of a request to its URL."""

import json


def handler(event, context):
    if "requestContext" in event:
        event = json.loads(event.get("body") or "{}")
    name = event.get("name", "world")
    print(f"greeting {name}")
    return {"greeting": f"Hello, {name}!", "request_id": context.aws_request_id}
