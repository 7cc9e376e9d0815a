"""Greets, and prints a line to the log."""


def handler(event, context):
    name = event["name"]
    print(f"greeting {name}")
    return {"greeting": f"Hello, {name}!", "request_id": context.aws_request_id}
