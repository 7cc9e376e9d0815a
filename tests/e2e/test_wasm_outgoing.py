"""Requests that WebAssembly components send, under the network of their function, to a server of the loopback."""

import contextlib
import http.server
import json
import ssl
import threading

import pytest
import trustme

import wire
from conftest import judged
from functions import create, wait_active, zipped
from squall_server import Server, wait_until
from test_egress import Hello, listed
from test_streams import STREAM
from test_wasm_guests import COMPILED_SECONDS, begin, built  # noqa: F401: the fixture

DENIED = b"error 15"


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def server(workdir, authority):
    bundle = workdir / "ca.pem"
    authority.cert_pem.write_to_path(bundle)
    started = Server(workdir / "data", env={"SSL_CERT_FILE": str(bundle)})
    with judged(started):
        yield started.start()


@contextlib.contextmanager
def serving(handler, context=None):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        if context:
            serving.socket = context.wrap_socket(serving.socket, server_side=True)
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        try:
            yield serving.server_port
        finally:
            serving.shutdown()
            thread.join()


class Outside(Hello):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0)) or self.chunks()
        self.send_response(201)
        self.send_header("content-type", "text/plain")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[::-1])

    def chunks(self):
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body


@pytest.fixture(scope="module")
def outside():
    with serving(Outside) as port:
        yield port


@pytest.fixture
def fetch(client, server):
    """Deploys the component that fetches, with these variables; asks it for a place."""

    def deploy(variables):
        code = zipped({"function.wasm": STREAM.read_bytes()})
        name = create(client, code, runtime="wasm", handler="", Environment=variables)
        client.create_function_url_config(FunctionName=name, AuthType="NONE", InvokeMode="RESPONSE_STREAM")

        def ask(place):
            return wire.send(f"{server.endpoint}/lambda-url/{name}/fetch/{place}", "GET", {}, b"").body

        return ask, lambda: server.squall("logs", name).stdout

    return deploy


def test_a_component_reaches_what_its_rule_allows(fetch, outside):
    place = f"127.0.0.1:{outside}"
    hello = f"hello, {place}".encode()
    for variables in ({"Variables": {}}, {"Variables": {"SQUALL_NETWORK": "host"}}, listed(place)):
        ask, _ = fetch(variables)
        assert ask(f"{place}/") == hello, variables


def test_a_component_is_denied_the_rest_and_its_log_says_why(fetch, outside):
    place = f"127.0.0.1:{outside}"
    said = f"the function's network rule does not allow `127.0.0.1` on port {outside}"
    for variables, why in [
        (listed(), said), (listed("127.0.0.1:1"), said), (listed(f"*:{outside}"), said),
        ({"Variables": {"SQUALL_NETWORK": "none"}}, "the function's network is `none`"),
    ]:
        ask, log = fetch(variables)
        assert ask(f"{place}/") == DENIED, variables
        wait_until("the log says why", lambda: why in log(), 30)


@pytest.mark.timeout(900)
def test_fetch_in_javascript_speaks_http_and_tls(client, server, built, authority, outside):
    """What it trusts is what the server's system trusts."""
    context, strange = (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) for _ in range(2))
    authority.issue_cert("localhost").configure_cert(context)
    trustme.CA().issue_cert("localhost").configure_cert(strange)
    with serving(Outside, context) as secure, serving(Outside, strange) as untrusted:
        ports = (outside, secure, untrusted)
        name = begin(client, built("fetch-wasm-js"), Environment=listed(*[f"localhost:{port}" for port in ports]))
        wait_active(client, name, COMPILED_SECONDS)

        def ask(url, **event):
            reply = client.invoke(FunctionName=name, Payload=json.dumps({"url": url} | event))
            body = json.loads(reply["Payload"].read())
            assert "FunctionError" not in reply, body
            return body

        for url in (f"http://localhost:{outside}", f"https://localhost:{secure}"):
            assert ask(f"{url}/")["text"] == f"hello, {url.partition('//')[2]}"
            posted = ask(f"{url}/", method="POST", body="backwards")
            assert posted == {"status": 201, "type": "text/plain", "text": "sdrawkcab"}
        # A certificate of somebody else, and a place that nobody listed.
        for url in (f"https://localhost:{untrusted}/", f"http://localhost:{outside ^ 1}/", "https://example.com/"):
            assert "error" in ask(url), url
