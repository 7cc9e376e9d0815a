"""Runs for each change of the keys that it is mapped to, in the order in which they were made."""


def handler(event, context):
    for record in event["Records"]:
        print(f"{record['eventName'].lower()}: {record['key']}")
