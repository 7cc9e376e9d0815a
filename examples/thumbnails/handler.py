"""Makes a thumbnail of every image that is uploaded: read from one bucket, written to another."""

import io
import os
import urllib.parse

import boto3
from PIL import Image

s3 = boto3.client("s3")
SIZE = int(os.environ.get("SIZE", "128"))


def handler(event, context):
    for record in event["Records"]:
        bucket = record["s3"]["bucket"]["name"]
        key = urllib.parse.unquote_plus(record["s3"]["object"]["key"])
        image = Image.open(s3.get_object(Bucket=bucket, Key=key)["Body"])
        before = image.size
        image.thumbnail((SIZE, SIZE))
        out = io.BytesIO()
        image.save(out, "PNG")
        name = key.rpartition("/")[2].rpartition(".")[0] + ".png"
        s3.put_object(Bucket=os.environ["THUMBNAILS"], Key=name, Body=out.getvalue(), ContentType="image/png")
        print(f"{bucket}/{key}: {before[0]}x{before[1]} to {image.width}x{image.height}")
