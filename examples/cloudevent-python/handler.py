"""Takes an order as a CloudEvent and answers with a receipt, a CloudEvent too."""


def handler(event, context):
    order = event["data"]
    return {
        "specversion": "1.0",
        "id": f"receipt-{event['id']}",
        "source": "/receipts",
        "type": "receipt.written",
        "data": {"for": event["source"], "total": sum(item["price"] for item in order["items"])},
    }
