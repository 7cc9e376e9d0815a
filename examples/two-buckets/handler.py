"""Reads an object of each of two buckets, and says what came of it: its role allows one of them."""

import boto3
from botocore.exceptions import ClientError

s3 = boto3.client("s3")


def handler(event, context):
    return {bucket: read(bucket, event["key"]) for bucket in event["buckets"]}


def read(bucket, key):
    try:
        return s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode()
    except ClientError as error:
        return f"{error.response['Error']['Code']}: {error.response['Error']['Message']}"
