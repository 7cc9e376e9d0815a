"""`--tls-cert` and `--tls-key`: every client comes by HTTPS, and what is wrong is said before anything starts."""

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request

import botocore.exceptions
import pytest
import trustme

from conftest import judged
from functions import ECHO, EXAMPLES, create, fresh_name, zipped
from squall_server import Server, binary, wait_until

SDK = EXAMPLES.parent / "sdk" / "python"
HALF_MADE = 300
HANDSHAKE_RECORD = b"\x16\x03\x01"
CALL_HOME = """
import boto3, os
def handler(event, context):
    functions = boto3.client("lambda").list_functions()["Functions"]
    return [os.environ["AWS_ENDPOINT_URL"], [f["FunctionName"] for f in functions]]
"""


class Authority:
    """A certificate authority, and the files of the one certificate that the server has from it."""

    def __init__(self, folder):
        self.folder = folder
        self.ca = trustme.CA()
        self.bundle = folder / "ca.pem"
        self.ca.cert_pem.write_to_path(self.bundle)
        self.certificate, self.key = folder / "cert.pem", folder / "key.pem"
        self.issue()

    def issue(self):
        """A new certificate and a new key, in the place of those before."""
        leaf = self.ca.issue_cert("127.0.0.1", "localhost", "*.lambda-url.us-east-1.localhost")
        self.key.touch(mode=0o600)
        leaf.private_key_pem.write_to_path(self.key)
        self.certificate.unlink(missing_ok=True)
        for blob in leaf.cert_chain_pems:
            blob.write_to_path(self.certificate, append=True)


@pytest.fixture(scope="module")
def authority(workdir):
    return Authority(workdir)


@pytest.fixture(scope="module")
def server(workdir, authority):
    env = {"SQUALL_LOG": "info,squall_gateway=debug"}
    started = Server(workdir / "data", ["--tls-cert", authority.certificate, "--tls-key", authority.key], env)
    started.expected.append("the certificate before this stays in use")
    with judged(started):
        yield started.start()


@pytest.fixture(scope="module")
def client(server, authority):
    return server.client(verify=str(authority.bundle))


@pytest.fixture(scope="module")
def echo(client):
    return create(client, ECHO)


def connect(server):
    parts = urllib.parse.urlsplit(server.endpoint)
    return socket.create_connection((parts.hostname, parts.port), timeout=60)


def certificate_of(server, authority):
    """What the server shows, as it is now."""
    context = ssl.create_default_context(cafile=authority.bundle)
    with connect(server) as plain, context.wrap_socket(plain, server_hostname="localhost") as secure:
        assert secure.version() == "TLSv1.3"
        return secure.getpeercert(binary_form=True)


def test_boto3_calls_by_https(server, client, echo):
    assert server.env["AWS_ENDPOINT_URL"].startswith("https://127.0.0.1:")
    assert json.load(client.invoke(FunctionName=echo, Payload=b'{"a": 1}')["Payload"]) == {"a": 1}


def test_a_client_that_does_not_trust_the_certificate_sends_nothing(server, workdir, echo):
    stranger = workdir / "stranger.pem"
    trustme.CA().cert_pem.write_to_path(stranger)
    with pytest.raises(botocore.exceptions.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
        server.client(verify=str(stranger)).invoke(FunctionName=echo)
    refused = server.squall("ls", env={"AWS_CA_BUNDLE": str(stranger)}, check=False)
    assert refused.returncode != 0
    assert "is not trusted: name a file" in refused.stderr and "UnknownIssuer" in refused.stderr, refused.stderr


def test_the_command_lines_call_by_https(server, authority, echo):
    trusting = {"AWS_CA_BUNDLE": str(authority.bundle)}
    aws = [sys.executable, "-m", "awscli", "lambda", "list-functions", "--query", "Functions[].FunctionName"]
    assert echo in json.loads(server.run(*aws, env=trusting).stdout)
    assert echo in server.squall("ls", env=trusting).stdout
    by_system = {"SSL_CERT_FILE": str(authority.bundle)}
    assert json.loads(server.squall("invoke", echo, "--data", "[2]", env=by_system).stdout) == [2]


@pytest.mark.parametrize(
    ("content", "said"),
    [("", "there is none in it"), ("-----BEGIN CERTIFICATE-----\nAAAA\n", "could not read certificates from AWS_CA_BUNDLE")],
)
def test_a_bundle_that_is_none_is_named(server, workdir, content, said):
    bundle = workdir / fresh_name("bundle")
    bundle.write_text(content)
    refused = server.squall("ls", env={"AWS_CA_BUNDLE": str(bundle)}, check=False)
    assert refused.returncode != 0
    assert said in refused.stderr and str(bundle) in refused.stderr, refused.stderr


def test_the_python_client_calls_by_https(server, authority):
    script = "import squall; c = squall.Client(); f = c.register(lambda x: x + 1, 'increment'); print(f(2).get())"
    env = {"AWS_CA_BUNDLE": str(authority.bundle), "PYTHONPATH": str(SDK)}
    assert server.run(sys.executable, "-c", script, env=env).stdout.strip() == "3"


def test_links_in_answers_are_https(server, client, authority, echo):
    context = ssl.create_default_context(cafile=authority.bundle)
    url = client.create_function_url_config(FunctionName=echo, AuthType="NONE")["FunctionUrl"]
    assert url.startswith("https://") and url.endswith(f":{urllib.parse.urlsplit(server.endpoint).port}/")
    client.add_permission(
        FunctionName=echo, StatementId="all", Action="lambda:InvokeFunctionUrl", Principal="*", FunctionUrlAuthType="NONE"
    )
    address = urllib.parse.urlsplit(url)
    request = urllib.request.Request(f"{server.endpoint}/x", b"hello", {"Host": address.netloc, "Content-Type": "text/plain"})
    event = json.load(urllib.request.urlopen(request, context=context, timeout=60))
    assert event["headers"]["x-forwarded-proto"] == "https" and event["body"] == "hello"

    package = client.get_function(FunctionName=echo)["Code"]["Location"]
    assert package.startswith("https://")
    assert urllib.request.urlopen(package, context=context, timeout=60).read() == zipped({"app.py": ECHO})

    sqs = server.client("sqs", verify=str(authority.bundle))
    queue = sqs.create_queue(QueueName=fresh_name("queue"))["QueueUrl"]
    assert queue.startswith("https://")
    sqs.send_message(QueueUrl=queue, MessageBody="m")


@pytest.mark.parametrize("network", ["host", "none"])
def test_a_function_reaches_the_platform_without_a_certificate(client, network):
    name = create(client, CALL_HOME, Environment={"Variables": {"SQUALL_NETWORK": network}}, Timeout=60)
    answer = client.invoke(FunctionName=name)
    said = json.load(answer["Payload"])
    # Its role allows nothing: the platform was reached, and said so.
    assert answer["FunctionError"] == "Unhandled" and "AccessDenied" in said["errorType"] + said["errorMessage"], said


def test_a_client_without_tls_is_told(server):
    with connect(server) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        answer = connection.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 400 ") and b"this port speaks HTTPS" in answer, answer


def test_what_is_no_handshake_is_let_go(server, client, echo):
    with connect(server) as connection:
        connection.sendall(HANDSHAKE_RECORD + b"\x00\x05hello")
        # An alert, and the end.
        assert connection.makefile("rb").read()[:1] in (b"\x15", b"")
    assert client.invoke(FunctionName=echo, Payload=b"1")["StatusCode"] == 200


def test_handshakes_that_never_end_keep_nobody_out(server, client, echo):
    waiting = [connect(server) for _ in range(HALF_MADE)]
    try:
        for connection in waiting[::2]:
            connection.sendall(HANDSHAKE_RECORD)
        assert client.invoke(FunctionName=echo, Payload=b"1")["StatusCode"] == 200
        # Each is let go by itself.
        assert waiting[0].makefile("rb").read()[:1] in (b"\x15", b"")
        assert waiting[1].makefile("rb").read() == b""
    finally:
        for connection in waiting:
            connection.close()


def test_a_hangup_reads_a_renewed_certificate(server, client, authority, echo):
    before = certificate_of(server, authority)
    authority.issue()
    server.process.send_signal(signal.SIGHUP)
    wait_until("the new certificate is shown", lambda: certificate_of(server, authority) != before, 60)

    shown = certificate_of(server, authority)
    authority.certificate.write_text("not PEM")
    server.process.send_signal(signal.SIGHUP)
    complaint = f"could not read a certificate from `{authority.certificate}`"
    wait_until("the bad file is named", lambda: complaint in server.log.read_text(), 60)
    assert certificate_of(server, authority) == shown
    assert client.invoke(FunctionName=echo, Payload=b"1")["StatusCode"] == 200


def test_what_cannot_be_used_is_said_before_anything_starts(workdir):
    folder = workdir / "bad"
    folder.mkdir()
    good, other, empty = Authority(folder), trustme.CA().issue_cert("localhost"), folder / "empty.pem"
    other_key = folder / "other.pem"
    other.private_key_pem.write_to_path(other_key)
    empty.touch()
    absent = folder / "absent.pem"
    for args, said in [
        (["--tls-cert", good.certificate], "--tls-key"),
        (["--tls-key", good.key], "--tls-cert"),
        (["--tls-cert", absent, "--tls-key", good.key], f"could not read a certificate from `{absent}`"),
        (["--tls-cert", empty, "--tls-key", good.key], f"could not read a certificate from `{empty}`"),
        (["--tls-cert", good.certificate, "--tls-key", empty], f"could not read a private key from `{empty}`"),
        (["--tls-cert", good.certificate, "--tls-key", good.certificate], "could not read a private key from"),
        (["--tls-cert", good.certificate, "--tls-key", other_key], f"`{other_key}` is not the key of the certificate"),
        (["--public-url", "localhost:9400"], "write https://HOST:PORT"),
        (["--public-url", "https://localhost/path"], "write https://HOST:PORT"),
    ]:
        started = subprocess.run(
            [binary(), "up", "--listen", "127.0.0.1:0", "--data-dir", folder / "data", *args],
            capture_output=True, text=True, timeout=60,
        )
        assert started.returncode != 0 and said in started.stderr, (args, started.stderr)
        assert not (folder / "data" / "endpoint").exists()


def test_others_are_told_the_public_address(workdir):
    data, public = workdir / "public", "https://squall.invalid"
    command = [binary(), "up", "--listen", "127.0.0.1:0", "--data-dir", data, "--public-url", public]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert f"squall answers on {public}" in server.stdout.readline()
            assert (data / "endpoint").read_text().strip() == public
            refused = subprocess.run([binary(), "env", "--data-dir", data], capture_output=True, text=True, timeout=60)
            assert refused.returncode != 0 and f"does not answer at `{public}`" in refused.stderr, refused.stderr
        finally:
            server.terminate()


def test_a_key_that_everybody_may_read_is_said(workdir):
    folder = workdir / "open"
    folder.mkdir()
    authority = Authority(folder)
    os.chmod(authority.key, 0o644)
    server = Server(folder / "data", ["--tls-cert", authority.certificate, "--tls-key", authority.key])
    server.expected.append("everybody on this host may read the key")
    with judged(server):
        server.start()
        assert "everybody on this host may read the key" in server.text()
