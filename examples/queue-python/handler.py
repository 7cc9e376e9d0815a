"""Takes orders from a queue. One that cannot be read goes to the dead-letter queue, and the others do not wait for it."""

import json


def handler(event, context):
    failures = []
    for record in event["Records"]:
        try:
            order = json.loads(record["body"])
            print(f"order {order['id']}: {order['quantity']} x {order['item']}")
        except (ValueError, KeyError, TypeError) as error:
            print(f"could not read message {record['messageId']}: {error!r}")
            failures.append({"itemIdentifier": record["messageId"]})
    # Only these are received again; all others are deleted from the queue.
    return {"batchItemFailures": failures}
