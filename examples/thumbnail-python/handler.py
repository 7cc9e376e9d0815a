"""Makes a thumbnail: `{"image": base64, "size": 128}` in, `{"image": base64, "width", "height"}` out."""

import base64
import io

from PIL import Image


def handler(event, context):
    size = int(event.get("size", 128))
    image = Image.open(io.BytesIO(base64.b64decode(event["image"])))
    before = image.size
    image.thumbnail((size, size))
    out = io.BytesIO()
    image.save(out, "PNG")
    print(f"{before[0]}x{before[1]} to {image.width}x{image.height}")
    return {
        "image": base64.b64encode(out.getvalue()).decode(),
        "width": image.width,
        "height": image.height,
    }
