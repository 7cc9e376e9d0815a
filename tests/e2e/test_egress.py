"""Functions that reach what their list names and nothing else (`SQUALL_NETWORK=egress`).

What stands for the outside is a server of the loopback, which only a list opens. Everything runs twice where the tester
is root, as in test_hostile_functions, whose server this is.
"""

import contextlib
import http.server
import json
import socket
import subprocess
import threading

import pytest

from functions import PYTHON, ROLE, create, fresh_name, node_runtime, zipped
from squall_server import wait_until
from test_hostile_functions import BOOTSTRAP, SIGNED, client, server  # noqa: F401: the fixtures
from test_walls import RUNNER, run

# What a function finds of an address: "open", or the name of the error. A reset shows when it is read.
REACH = """
def reach(host, port):
    def all_the_way():
        try:
            it = socket.create_connection((host, port), 20)
        except socket.gaierror as error:
            return str(error.args[0])
        with it:
            it.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
            return "open" if it.recv(1) else "closed"
    return attempt(all_the_way)
"""
NO_SUCH_NAME = str(socket.EAI_NONAME)


def listed(*places):
    variables = {"SQUALL_NETWORK": "egress"}
    return {"Variables": variables | ({"SQUALL_EGRESS": ",".join(places)} if places else {})}


def function(client, *places, **settings):
    return create(client, RUNNER, MemorySize=256, Timeout=60, Environment=listed(*places), **settings)


def reached(client, name, *at):
    """What it finds of each host and port."""
    return run(client, name, REACH + "answer = [reach(host, port) for host, port in at]", at=at)


class Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"hello, {self.headers['host']}".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def outside():
    """The port of a server of the loopback that greets."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hello) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield serving.server_port
        serving.shutdown()
        thread.join()


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(60)
        yield listening


def port_of(listening):
    return listening.getsockname()[1]


def test_what_is_listed_is_reached_and_nothing_else(client, server, outside, listener):
    name = function(client, f"127.0.0.1:{outside}")
    own = int(server.endpoint.rpartition(":")[2])
    found = reached(client, name, ("127.0.0.1", outside), ("localhost", outside), ("127.0.0.2", outside),
                    ("127.0.0.1", port_of(listener)), ("127.0.0.2", own), ("169.254.169.254", 80), ("192.0.2.1", outside))
    assert found == ["open", "open", "ECONNRESET", "ECONNREFUSED", "ECONNREFUSED", "ECONNREFUSED", "ECONNRESET"]


def test_without_a_list_it_is_the_web_and_nothing_of_the_host(client, server, outside):
    name = function(client)
    own = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=True).stdout.split()
    hosts = ["127.0.0.1", "127.0.0.2", "169.254.169.254", "10.0.0.1", "100.100.100.200", "0.0.0.0"]
    found = reached(client, name, *[(host, port) for host in hosts + [at for at in own if "." in at] for port in (80, 443)])
    assert set(found) == {"ECONNRESET"}, found
    assert reached(client, name, ("127.0.0.1", outside)) == ["ECONNREFUSED"]


def test_the_servers_port_is_reached_by_its_door_alone(client, server):
    """Also where a list opens the port."""
    port = int(server.endpoint.rpartition(":")[2])
    name = function(client, f"*:{port}", f"127.0.0.0/8:{port}")
    own = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=True).stdout.split()
    assert set(reached(client, name, *[(host, port) for host in own if "." in host])) <= {"ECONNRESET"}
    server.squall("roles", "put", ROLE.rpartition("/")[2], "--allow", "read-only")
    assert run(client, name, SIGNED + "answer = ask(*own())") == [200, ""]
    # At the door, not at the server that the list would open: the server's own key counts for nothing.
    keys = [server.env["AWS_ACCESS_KEY_ID"], server.env["AWS_SECRET_ACCESS_KEY"], None]
    assert run(client, name, SIGNED + "answer = ask(*keys)", keys=keys)[0] == 403


def test_a_name_is_reached_where_it_is_listed_and_may_lead_there(client, outside):
    host = socket.gethostname()
    at = socket.gethostbyname(host)
    with contextlib.ExitStack() as stack:
        port = outside
        if at != "127.0.0.1":
            serving = stack.enter_context(http.server.ThreadingHTTPServer((at, 0), Hello))
            threading.Thread(target=serving.serve_forever, daemon=True).start()
            stack.callback(serving.shutdown)
            port = serving.server_port
        both = function(client, f"{host}:{port}", f"{at}:{port}")
        assert reached(client, both, (host, port), (host.upper(), port)) == ["open", "open"]
        code = "import urllib.request\nanswer = urllib.request.urlopen(url, timeout=20).read().decode()"
        assert run(client, both, code, url=f"http://{host}:{port}/") == f"hello, {host}:{port}"
        # It leads to an address of the host, which nobody listed.
        by_name = function(client, f"{host}:{port}")
        assert reached(client, by_name, (host, port)) == ["ECONNRESET"]


def test_names_that_are_not_listed_do_not_exist_and_nobody_is_asked(client, outside):
    name = function(client, "a.example:443", "*.b.example:443")
    code = """
def look(host):
    try:
        return sorted({it[4][0] for it in socket.getaddrinfo(host, 443)})
    except socket.gaierror as error:
        return str(error.args[0])
answer = [look(host) for host in hosts]
"""
    hosts = ["a.example", "x.b.example", "y.x.b.example", "b.example", "secret.evil.example", "metadata.google.internal"]
    found = run(client, name, code, hosts=hosts)
    assert found[:3] == [["198.18.0.1"], ["198.18.0.2"], ["198.18.0.3"]]
    assert found[3:] == [NO_SUCH_NAME] * 3
    assert reached(client, name, ("secret.evil.example", 443)) == [NO_SUCH_NAME]


def test_other_sockets_have_no_way_out(client, outside):
    name = function(client, f"127.0.0.1:{outside}", "192.0.2.1:443")
    code = """
def udp(port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as it:
        it.settimeout(20)
        it.connect(("192.0.2.1", port))
        it.send(b"x")
        return attempt(it.recv, 1)
def six():
    with socket.socket(socket.AF_INET6) as it:
        it.settimeout(20)
        return attempt(it.connect, ("2606:4700:4700::1111", 443))
answer = [udp(443), udp(53), six(), [name for _, name in socket.if_nameindex()]]
"""
    assert run(client, name, code) == ["ECONNREFUSED", "ECONNREFUSED", "ENETUNREACH", ["lo"]]


def test_both_ways_stay_open_until_each_end_closes_its_own(client, listener):
    port = port_of(listener)
    name = function(client, f"127.0.0.1:{port}")
    sent = 8 << 20

    def echo():
        far, _ = listener.accept()
        with far:
            heard = b"".join(iter(lambda: far.recv(65536), b""))
            far.sendall(heard)

    answering = threading.Thread(target=echo)
    answering.start()
    code = """
import hashlib
with socket.create_connection(("127.0.0.1", port), 30) as it:
    text = os.urandom(sent)
    it.sendall(text)
    it.shutdown(socket.SHUT_WR)
    heard = b"".join(iter(lambda: it.recv(65536), b""))
answer = [len(heard), heard == text]
"""
    assert run(client, name, code, port=port, sent=sent) == [sent, True]
    answering.join(60)


def test_connections_end_with_their_process(client, server, listener):
    port = port_of(listener)
    name = function(client, f"127.0.0.1:{port}")
    code = "sys.modules['held'] = it = socket.create_connection(('127.0.0.1', port), 20)\nit.sendall(b'x')"
    run(client, name, code, port=port)
    far, _ = listener.accept()
    with far:
        far.settimeout(60)
        assert far.recv(1) == b"x"
        client.delete_function(FunctionName=name)
        with contextlib.suppress(ConnectionResetError):
            assert far.recv(1) == b""


def test_other_runtimes_have_it_too(client, outside):
    place = f"127.0.0.1:{outside}"
    code = """
const http = require("http");
const reach = (port) => new Promise((found) => {
  const asking = http.get({host: "localhost", family: 4, port}, (answer) => { answer.resume(); found(answer.statusCode); });
  asking.on("error", (error) => found(error.code));
});
exports.handler = async (event) => Promise.all(event.map(reach));
"""
    name = create(client, zipped({"app.js": code}), runtime=node_runtime(), Timeout=60, Environment=listed(place))
    reply = client.invoke(FunctionName=name, Payload=json.dumps([outside, outside ^ 1]))
    assert json.loads(reply["Payload"].read()) == [200, "ECONNREFUSED"]

    name = create(client, zipped({"bootstrap!": BOOTSTRAP}), runtime="provided.al2023", Timeout=60, Environment=listed(place))
    code = f"answer = [connect('127.0.0.1', port) for port in ({outside}, {outside ^ 1})]"
    reply = client.invoke(FunctionName=name, Payload=json.dumps(code))
    assert json.loads(reply["Payload"].read()) == ["open", "ConnectionRefusedError"]


@pytest.mark.parametrize(("variables", "reason"), [
    ({"SQUALL_NETWORK": "egress", "SQUALL_EGRESS": "https://example.com"}, "has no port from 1 to 65535"),
    ({"SQUALL_NETWORK": "egress", "SQUALL_EGRESS": "0.0.0.0/0"}, "write `*` for the internet"),
    ({"SQUALL_EGRESS": "example.com"}, "the rule is `host`"),
])
def test_what_is_no_list_is_refused_with_its_reason(client, variables, reason):
    name = fresh_name()
    client.create_function(FunctionName=name, Runtime=PYTHON, Role=ROLE, Handler="app.handler",
                           Code={"ZipFile": zipped({"app.py": RUNNER})}, Environment={"Variables": variables})
    failed = lambda: (made := client.get_function_configuration(FunctionName=name))["State"] == "Failed" and made
    assert reason in wait_until("it is Failed", failed, 60)["StateReason"]


def test_squall_deploys_with_a_list(client, server, outside, tmp_path):
    (tmp_path / "app.py").write_text(RUNNER)
    name = fresh_name()
    server.squall("deploy", tmp_path, "--name", name, "--handler", "app.handler", "--timeout", "60",
                  "--egress", f"127.0.0.1:{outside},a.example")
    variables = client.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    assert variables == listed(f"127.0.0.1:{outside}", "a.example")["Variables"]
    assert reached(client, name, ("127.0.0.1", outside)) == ["open"]
    refused = server.squall("deploy", tmp_path, "--name", name, "--network", "none", "--egress", "a.example", check=False)
    assert refused.returncode != 0 and "--egress lists what" in refused.stderr
