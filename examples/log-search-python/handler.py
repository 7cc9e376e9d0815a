"""Serves orders and writes a line of JSON for each, so that its log can be searched by member."""

import json
import time


def handler(event, context):
    began = time.perf_counter()
    total = sum(item["price"] * item.get("quantity", 1) for item in event["items"])
    level = "warning" if total > 1000 else "info"
    ms = round((time.perf_counter() - began) * 1000, 3)
    print(json.dumps({"level": level, "order": event["id"], "total": total, "ms": ms}))
    return {"total": total}
