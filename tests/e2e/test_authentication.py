"""Who may call: signatures as botocore makes them, and everything that is not one."""

import datetime
import http.client

import botocore.auth
import botocore.awsrequest
import botocore.exceptions
import pytest

import wire
from functions import ECHO, create

LIST = "/2015-03-31/functions"


@pytest.fixture(scope="module")
def name(client):
    return create(client, ECHO)


def skewed(minutes):
    """A signer whose clock is wrong by so many minutes."""

    class Skewed(botocore.auth.SigV4Auth):
        def add_auth(self, request):
            when = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=minutes)
            real = botocore.auth.get_current_datetime
            botocore.auth.get_current_datetime = lambda *_: when.replace(tzinfo=None)
            try:
                super().add_auth(request)
            finally:
                botocore.auth.get_current_datetime = real

    return Skewed


def test_a_good_signature_is_let_in(server):
    answer = wire.send_signed(server, LIST)
    assert answer.status == 200 and "Functions" in answer.json()


@pytest.mark.parametrize("path, method, body", [
    (LIST, "GET", b""), (LIST, "POST", b"{}"), ("/2016-08-19/account-settings", "GET", b""),
    ("/2015-03-31/functions/any/invocations", "POST", b"{}"), ("/2015-03-31/functions/any", "DELETE", b""),
    ("/squall/v1/logs/any", "GET", b""), ("/no/such/path", "GET", b""),
])
def test_nothing_answers_the_unsigned(server, path, method, body):
    answer = wire.send(server.endpoint + path, method, body=body)
    assert answer.status == 403, answer
    assert answer.headers["x-amzn-errortype"] == "MissingAuthenticationTokenException", answer


@pytest.mark.parametrize("signing, error", [
    ({"secret": "x" * 40}, "InvalidSignatureException"),
    ({"key": "AKIAUNKNOWNUNKNOWN00"}, "UnrecognizedClientException"),
    ({"signer": skewed(10)}, "InvalidSignatureException"),
    ({"signer": skewed(-10)}, "InvalidSignatureException"),
])
def test_a_wrong_signature_is_refused(server, signing, error):
    answer = wire.send_signed(server, LIST, **signing)
    assert (answer.status, answer.headers["x-amzn-errortype"]) == (403, error), answer
    assert answer.json().get("message") or answer.json().get("Message")


@pytest.mark.parametrize("minutes", [-4, 4])
def test_a_clock_may_be_off_by_some_minutes(server, minutes):
    assert wire.send_signed(server, LIST, signer=skewed(minutes)).status == 200


def test_a_tampered_request_is_refused(server, name):
    path = f"/2015-03-31/functions/{name}/invocations"
    url = server.endpoint + path
    headers = wire.sign(server, url, "POST", {"X-Amz-Log-Type": "None"}, b'{"a":1}')
    assert wire.send(url, "POST", headers, b'{"a":1}').status == 200
    for what, answer in {
        "body": wire.send(url, "POST", headers, b'{"a":2}'),
        "query": wire.send(url + "?Qualifier=1", "POST", headers, b'{"a":1}'),
        "method": wire.send(url, "PUT", headers, b'{"a":1}'),
        "path": wire.send(server.endpoint + "/2015-03-31/functions/other/invocations", "POST", headers, b'{"a":1}'),
        "signed header": wire.send(url, "POST", headers | {"X-Amz-Log-Type": "Tail"}, b'{"a":1}'),
        "host": wire.send(url, "POST", headers, b'{"a":1}', host="elsewhere:1"),
    }.items():
        assert answer.status == 403, (what, answer)
        assert answer.headers["x-amzn-errortype"] == "InvalidSignatureException", (what, answer)


@pytest.mark.parametrize("authorization", [
    "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256 Credential=", "Basic dTpw", "Bearer x", "AWS4-HMAC-SHA256 Credential=a/b/c",
    "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/lambda/aws4_request, SignedHeaders=host, Signature=",
    "AWS4-HMAC-SHA256 " + "x" * 7000,
])
def test_a_malformed_signature_is_refused(server, authorization):
    answer = wire.send(server.endpoint + LIST, headers={"Authorization": authorization})
    assert answer.status in (400, 403), answer
    assert answer.headers.get("x-amzn-errortype"), answer


def test_a_body_hash_that_is_not_the_bodys_is_refused(server, name):
    url = f"{server.endpoint}/2015-03-31/functions/{name}/invocations"
    headers = wire.sign(server, url, "POST", {"X-Amz-Content-SHA256": "0" * 64}, b"{}")
    assert wire.send(url, "POST", headers, b"{}").status in (400, 403)


def test_another_region_or_service_in_the_scope_is_refused(server):
    for region, service in (("eu-west-1", "lambda"), ("us-east-1", "s3")):
        session = server.session()
        request = botocore.awsrequest.AWSRequest("GET", server.endpoint + LIST)
        botocore.auth.SigV4Auth(session.get_credentials(), service, region).add_auth(request)
        answer = wire.send(server.endpoint + LIST, headers=dict(request.headers.items()))
        assert answer.status >= 400, (region, service, answer)


def test_boto3_sees_the_refusal_by_name(server):
    client = server.client(aws_access_key_id="AKIAUNKNOWNUNKNOWN00", aws_secret_access_key="x")
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        client.list_functions()
    assert caught.value.response["Error"]["Code"] == "UnrecognizedClientException"


def test_health_answers_everybody(server):
    assert wire.send(server.endpoint + "/squall/v1/health").status == 200


def test_the_keys_are_their_owners_alone_and_outlive_a_restart(server):
    before = (server.env["AWS_ACCESS_KEY_ID"], server.env["AWS_SECRET_ACCESS_KEY"])
    secret = before[1].encode()
    holders = [path for path in server.data_dir.iterdir() if path.is_file() and secret in path.read_bytes()]
    assert holders and all(path.stat().st_mode & 0o077 == 0 for path in holders)
    assert secret not in server.log.read_bytes()
    server.restart()
    assert (server.env["AWS_ACCESS_KEY_ID"], server.env["AWS_SECRET_ACCESS_KEY"]) == before


def test_a_request_that_is_no_http_gets_an_answer_or_an_end(server):
    host, port = server.endpoint.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    connection.connect()
    connection.sock.sendall(b"\x16\x03\x01 not http at all\r\n\r\n")
    assert connection.sock.recv(1000)[:12] in (b"", b"HTTP/1.1 400")
    connection.close()
    assert wire.send(server.endpoint + "/squall/v1/health").status == 200
