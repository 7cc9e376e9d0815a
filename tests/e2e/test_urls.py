"""Function URLs: payload format 2.0 in, inferred answers out, NONE and AWS_IAM, CORS, both forms of the address."""

import base64
import json
import re
import urllib.parse

import pytest

import wire
from functions import ECHO, create

# The event itself says what to answer with.
ANSWER = """
import json
def handler(event, context):
    if event.get("rawPath") == "/echo":
        return {"statusCode": 200, "headers": {"content-type": "application/json"}, "body": json.dumps(event)}
    if event.get("rawPath") == "/raise":
        raise ValueError("hidden")
    return json.loads(event["body"])
"""
OTHER = "https://a.example"


@pytest.fixture(scope="module")
def url(client):
    """(host form, Host header, path form) of a URL that is open to everybody."""
    return opened(client, create(client, ANSWER))


def opened(client, name, **settings):
    settings.setdefault("AuthType", "NONE")
    made = client.create_function_url_config(FunctionName=name, **settings)["FunctionUrl"]
    return Url(client.meta.endpoint_url, made, name)


class Url:
    """A function's URL, called through either of its addresses."""

    def __init__(self, endpoint, made, name):
        self.endpoint, self.made, self.name = endpoint, made, name
        self.host = urllib.parse.urlsplit(made).netloc

    def by_host(self, path="/", method="GET", headers=None, body=b""):
        return wire.send(self.endpoint + path, method, headers, body, host=self.host)

    def by_path(self, path="/", method="GET", headers=None, body=b""):
        return wire.send(f"{self.endpoint}/lambda-url/{self.name}{path}", method, headers, body)

    def answering(self, value):
        return self.by_host("/", "POST", {"Content-Type": "application/json"}, json.dumps(value).encode())


def test_a_url_names_this_server(url, server):
    port = server.endpoint.rpartition(":")[2]
    assert re.fullmatch(rf"http://[a-z0-9]+\.lambda-url\.us-east-1\.localhost:{port}/", url.made), url.made


def test_the_event_has_payload_format_2(url):
    answer = url.by_host(
        "/echo?a=1&a=2&b=x%20y&c=", "POST",
        {"Content-Type": "text/plain", "X-Two": "p", "Cookie": "k1=v1; k2=v2", "User-Agent": "me/1"}, b"hello",
    )
    assert answer.status == 200, answer
    event = answer.json()
    assert (event["version"], event["routeKey"], event["rawPath"]) == ("2.0", "$default", "/echo")
    assert event["rawQueryString"] == "a=1&a=2&b=x%20y&c="
    assert event["queryStringParameters"] == {"a": "1,2", "b": "x y", "c": ""}
    assert event["cookies"] == ["k1=v1", "k2=v2"] and "cookie" not in event["headers"]
    assert (event["body"], event["isBase64Encoded"]) == ("hello", False)
    assert event["headers"]["x-two"] == "p" and event["headers"]["content-type"] == "text/plain"
    assert event["headers"]["host"] == url.host
    assert event["headers"]["x-forwarded-for"] == "127.0.0.1" and event["headers"]["x-amzn-trace-id"]
    context = event["requestContext"]
    prefix = url.host.partition(".")[0]
    assert context["accountId"] == "anonymous" and context["stage"] == "$default"
    assert (context["apiId"], context["domainPrefix"]) == (prefix, prefix)
    assert context["domainName"] == url.host.partition(":")[0] or context["domainName"] == url.host
    assert context["http"] == {"method": "POST", "path": "/echo", "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1",
                               "userAgent": "me/1"}
    assert re.fullmatch(r"\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000", context["time"])
    assert isinstance(context["timeEpoch"], int) and "authorizer" not in context
    assert context["requestId"] == answer.headers.get("x-amzn-requestid", context["requestId"])


def test_what_is_absent_is_left_out_of_the_event(url):
    event = url.by_host("/echo").json()
    assert not {"body", "queryStringParameters", "cookies"} & set(event), event
    assert (event["rawQueryString"], event["isBase64Encoded"]) == ("", False)


def test_a_binary_body_arrives_in_base64(url):
    content = bytes(range(256))
    for kind in ("application/octet-stream", "image/png", "multipart/form-data; boundary=x"):
        event = url.by_host("/echo", "POST", {"Content-Type": kind}, content).json()
        assert event["isBase64Encoded"] is True and base64.b64decode(event["body"]) == content
    for kind in ("application/json", "application/xml", "text/html; charset=utf-8", "application/javascript"):
        event = url.by_host("/echo", "POST", {"Content-Type": kind}, "ü".encode()).json()
        assert (event["isBase64Encoded"], event["body"]) == (False, "ü"), kind


@pytest.mark.parametrize("value, status, kind, body", [
    ({"a": 1}, 200, "application/json", b'{"a":1}'),
    ([1, 2], 200, "application/json", b"[1,2]"),
    ("bare", 200, "application/json", b"bare"),
    (7, 200, "application/json", b"7"),
    ({"statusCode": 201, "body": "made"}, 201, "application/json", b"made"),
    ({"statusCode": 404, "headers": {"Content-Type": "text/html"}, "body": "<p>"}, 404, "text/html", b"<p>"),
    ({"statusCode": 200, "body": base64.b64encode(b"\0\xff").decode(), "isBase64Encoded": True,
      "headers": {"content-type": "image/png"}}, 200, "image/png", b"\0\xff"),
    ({"statusCode": 200, "body": {"k": "v"}}, 200, "application/json", b'{"k":"v"}'),
    ({"statusCode": 204}, 204, None, b""),
])
def test_the_answer_is_inferred(url, value, status, kind, body):
    answer = url.answering(value)
    got = answer.body
    if body.startswith((b"{", b"[")):
        got = json.dumps(json.loads(got), separators=(",", ":")).encode()
    assert (answer.status, got) == (status, body), answer
    if kind:
        assert answer.headers["content-type"] == kind


def test_headers_and_cookies_of_the_answer_arrive(url):
    answer = url.answering({"statusCode": 302, "headers": {"Location": "/x", "X-N": "1"},
                            "cookies": ["a=1; Path=/", "b=2"]})
    assert (answer.status, answer.headers["location"], answer.headers["x-n"]) == (302, "/x", "1")
    assert answer.cookies == ["a=1; Path=/", "b=2"]


def test_the_path_form_reaches_the_same_function(url):
    event = url.by_path("/echo?q=1").json()
    assert (event["rawPath"], event["rawQueryString"]) == ("/echo", "q=1")
    assert event["requestContext"]["http"]["path"] == "/echo"


def test_every_method_is_the_functions(url):
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        assert url.by_host("/echo", method).json()["requestContext"]["http"]["method"] == method
    head = url.by_host("/echo", "HEAD")
    assert (head.status, head.body) == (200, b"")


def test_a_function_error_is_a_502_that_tells_nothing(url):
    answer = url.by_host("/raise")
    assert answer.status == 502 and b"hidden" not in answer.body, answer
    assert b"Internal Server Error" in answer.body


def test_an_unknown_url_is_forbidden(server, url):
    unknown = wire.send(server.endpoint + "/", host="nobody." + url.host.partition(".")[2])
    for answer in (unknown, wire.send(server.endpoint + "/lambda-url/nobody/")):
        assert answer.status in (403, 404), answer
        assert answer.headers["x-amzn-errortype"] == "AccessDeniedException" and answer.json() == {"Message": None}


def test_a_url_with_iam_wants_a_signature_and_tells_who_signed(server, client):
    url = opened(client, create(client, ANSWER), AuthType="AWS_IAM")
    for answer in (url.by_host("/echo"), url.by_path("/echo")):
        assert answer.status == 403 and answer.headers["x-amzn-errortype"] == "AccessDeniedException", answer
    at_host = f"http://{url.host}/echo"
    signed = wire.sign(server, at_host, "POST", {"Host": url.host, "Content-Type": "text/plain"}, b"b")
    answer = url.by_host("/echo", "POST", signed, b"b")
    assert answer.status == 200, answer
    iam = answer.json()["requestContext"]["authorizer"]["iam"]
    assert iam["accessKey"] == server.env["AWS_ACCESS_KEY_ID"] and iam["accountId"] == "000000000000"
    assert url.by_host("/echo", "POST", signed, b"c").status == 403
    wrong = wire.sign(server, at_host, "GET", {"Host": url.host}, secret="x" * 40)
    assert url.by_host("/echo", "GET", wrong).status == 403


CORS = {"AllowOrigins": [OTHER], "AllowMethods": ["GET", "PUT"], "AllowHeaders": ["x-a"], "ExposeHeaders": ["x-e"],
        "AllowCredentials": True, "MaxAge": 77}


def test_cors_is_answered_by_the_platform(client):
    url = opened(client, create(client, ANSWER), Cors=CORS)
    preflight = url.by_host("/echo", "OPTIONS", {
        "Origin": OTHER, "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "x-a"})
    assert preflight.status in (200, 204) and preflight.body == b"", preflight
    assert preflight.headers["access-control-allow-origin"] == OTHER
    assert "PUT" in preflight.headers["access-control-allow-methods"]
    assert "x-a" in preflight.headers["access-control-allow-headers"].lower()
    assert preflight.headers["access-control-max-age"] == "77"
    assert preflight.headers["access-control-allow-credentials"] == "true"
    actual = url.by_host("/echo", "GET", {"Origin": OTHER})
    assert actual.json()["rawPath"] == "/echo"
    assert actual.headers["access-control-allow-origin"] == OTHER
    assert actual.headers["access-control-expose-headers"].lower() == "x-e"
    stranger = url.by_host("/echo", "OPTIONS", {"Origin": "https://b.example", "Access-Control-Request-Method": "PUT"})
    assert "access-control-allow-origin" not in stranger.headers
    plain = url.by_host("/echo", "GET", {"Origin": "https://b.example"})
    assert "access-control-allow-origin" not in plain.headers


def test_a_qualified_url_runs_the_alias(client):
    name = create(client, "def handler(e, c):\n    return c.function_version\n", Publish=True)
    client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    made = client.create_function_url_config(FunctionName=name, AuthType="NONE", Qualifier="live")
    url = Url(client.meta.endpoint_url, made["FunctionUrl"], name)
    assert url.by_host("/").body == b"1"
    for wrong in ("1", "$LATEST"):
        with pytest.raises(Exception) as caught:
            client.create_function_url_config(FunctionName=name, AuthType="NONE", Qualifier=wrong)
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400


def test_a_throttled_url_says_429(client):
    name = create(client, ECHO)
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    assert opened(client, name).by_host("/").status == 429


def test_a_removed_url_is_forbidden(client):
    name = create(client, ECHO)
    url = opened(client, name)
    assert url.by_host("/").status == 200
    client.delete_function_url_config(FunctionName=name)
    assert url.by_host("/").status == 403
    assert url.by_path("/").status == 403


def test_a_request_that_is_too_large_is_refused(url):
    answer = url.by_host("/echo", "POST", {"Content-Type": "text/plain"}, b"x" * (6 * 1024 * 1024 + 1))
    assert answer.status == 413, answer
