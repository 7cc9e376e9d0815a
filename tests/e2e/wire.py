"""HTTP as it is on the wire, signed by botocore's own signer: for what boto3 hides."""

import http.client
import json
import urllib.parse

import botocore.auth
import botocore.awsrequest
import botocore.credentials


class Answer:
    """Status, headers (lower-case names) and body of one answer."""

    def __init__(self, response):
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.cookies = [value for name, value in response.getheaders() if name.lower() == "set-cookie"]
        self.body = response.read()

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"{self.status} {self.headers} {self.body[:2000]!r}"


def send(url, method="GET", headers=None, body=b"", host=None, timeout=120):
    """One request to `url` on a connection of its own; `host` replaces the Host header."""
    parts = urllib.parse.urlsplit(url)
    path = parts.path or "/"
    path += f"?{parts.query}" if parts.query else ""
    headers = dict(headers or {})
    if host:
        headers["Host"] = host
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout)
    try:
        connection.request(method, path, body=body or None, headers=headers)
        return Answer(connection.getresponse())
    finally:
        connection.close()


def sign(server, url, method="GET", headers=None, body=b"", secret=None, key=None, signer=None, service="lambda"):
    """The headers that make it a signed request; `signer` may be another class than botocore's SigV4."""
    credentials = botocore.credentials.Credentials(
        key or server.env["AWS_ACCESS_KEY_ID"], secret or server.env["AWS_SECRET_ACCESS_KEY"]
    )
    request = botocore.awsrequest.AWSRequest(method, url, headers=headers or {}, data=body)
    signer = signer or botocore.auth.SigV4Auth
    signer(credentials, service, server.env["AWS_REGION"]).add_auth(request)
    return dict(request.headers.items())


def send_signed(server, path, method="GET", headers=None, body=b"", **signing):
    """One signed request to a path of the server."""
    url = server.endpoint + path
    signed = sign(server, url, method, headers, body, **signing)
    return send(url, method, signed, body)
