"""What issue 4 lists of functions that mean harm, each deployed and invoked as any other: it is stopped, and a neighbour
answers on. All have no network but the door to the platform.

Everything runs twice where the tester is root: with the server as root, and as an ordinary user who was handed control
groups. `test_walls.py` has more of each kind.
"""

import contextlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import threading

import pytest

from conftest import judged
from functions import ECHO, PYTHON, ROLE, create, fresh_name, zipped
from squall_server import Server, binary, wait_until
from test_walls import ENDED, OUTLIVE, RUNNER, children_named, run

NOBODY = 65534
IS_ROOT = os.getuid() == 0
NO_NETWORK = {"Variables": {"SQUALL_NETWORK": "none"}}

# Moves the shell into the control groups that it is given, then becomes an ordinary user and the program.
AS_NOBODY = f"""
while [ "$1" != -- ]; do echo $$ > "$1/cgroup.procs"; shift; done; shift
exec setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups "$@"
"""


class Groups:
    """Control groups that an ordinary user may divide: one of version 2, or one of each controller of version 1."""

    def __init__(self):
        top = pathlib.Path("/sys/fs/cgroup")
        tops = [top] if (top / "cgroup.controllers").exists() else [top / name for name in ("memory", "pids", "cpu")]
        self.folders = [folder / fresh_name("squall-tests") for folder in tops]

    def __enter__(self):
        for folder in self.folders:
            folder.mkdir()
            for path in [folder, *folder.glob("cgroup.*")]:
                os.chown(path, NOBODY, NOBODY)
        return self.folders

    def __exit__(self, *_):
        for folder in self.folders:
            # What the server has made is empty; the deepest first.
            for inner in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
                inner.rmdir()
            folder.rmdir()


@pytest.fixture(scope="module", params=["the tester", "nobody"] if IS_ROOT else ["the tester"])
def server(request):
    handed_down = Groups() if request.param == "nobody" else contextlib.nullcontext([])
    with tempfile.TemporaryDirectory(prefix="squall-e2e-") as folder, handed_down as groups:
        folder = pathlib.Path(folder)
        started = Server(folder / "data", ["--walls", "full"], share=False)
        if request.param == "nobody":
            os.chown(folder, NOBODY, NOBODY)
            program = shutil.copy(binary(), folder / "squall")
            started.program = ["sh", "-c", AS_NOBODY, "sh", *groups, "--", program]
            # What root alone sees is no interpreter of theirs.
            started.extra_env["PATH"] = "/usr/local/bin:/usr/bin:/bin"
            started.extra_env["HOME"] = str(folder)
        started.expected += ["an instance broke the protocol", "could not prepare the function's code"]
        with judged(started):
            started.start()
            yield started


@pytest.fixture(scope="module")
def client(server):
    return server.client()


@pytest.fixture(scope="module")
def neighbour(client):
    return create(client, ECHO, Environment=NO_NETWORK)


@pytest.fixture(autouse=True)
def the_neighbour_answers(client, neighbour):
    yield
    assert json.loads(client.invoke(FunctionName=neighbour, Payload=b"1")["Payload"].read()) == 1


@pytest.fixture(scope="module")
def stranger(client):
    return create(client, RUNNER, MemorySize=256, Timeout=30, Environment=NO_NETWORK)


def ends(client, code, how=ENDED, **settings):
    """A function of its own whose instance is ended while it runs this; its next event has a new one."""
    settings = {"MemorySize": 128, "Timeout": 60, "Environment": NO_NETWORK} | settings
    name = create(client, RUNNER, **settings)
    reply = client.invoke(FunctionName=name, Payload=json.dumps({"code": code}))
    body = json.loads(reply["Payload"].read())
    assert reply.get("FunctionError") and body["errorType"] in how, body
    assert run(client, name, "answer = 1") == 1
    return name


# Using up what all share.

# Twelve times over: should no wall stop it, it stops by itself at 4096, which a machine bears.
FORK_BOMB = """
for _ in range(12):
    try:
        os.fork()
    except OSError:
        time.sleep(0.1)
time.sleep(60)
"""


def test_a_fork_bomb(client, server):
    most, ended = [0], threading.Event()

    def count():
        while not ended.wait(0.5):
            most[0] = max(most[0], len(server.descendants()))

    counting = threading.Thread(target=count)
    counting.start()
    try:
        name = ends(client, FORK_BOMB, MemorySize=512, Timeout=8)
    finally:
        ended.set()
        counting.join()
    assert 20 < most[0] < 1200, most
    client.delete_function(FunctionName=name)
    wait_until("the bomb is gone", lambda: len(server.descendants()) < 40, 60)


def test_a_memory_bomb(client):
    code = """
import mmap
held = mmap.mmap(-1, 1500 << 20)
block = bytes(1 << 20)
for _ in range(1500):
    held.write(block)
"""
    ends(client, code, ["Runtime.OutOfMemory"])


def test_a_filler_of_the_private_folder(client, stranger):
    code = """
written = 0
try:
    with open("/tmp/fill", "wb") as file:
        for _ in range(2000):
            written += file.write(bytes(1 << 20))
            file.flush()
    answer = "no end"
except OSError as error:
    answer = [errno.errorcode[error.errno], written >> 20]
os.unlink("/tmp/fill")
"""
    signal_of_size = "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    what, mib = run(client, stranger, signal_of_size + code)
    assert what in ("ENOSPC", "EFBIG") and mib <= 512


def test_a_hoarder_of_descriptors(client, stranger):
    code = """
held = []
try:
    while len(held) < 100_000:
        held.append(os.dup(1))
    answer = "no end"
except OSError as error:
    answer = errno.errorcode[error.errno]
for fd in held:
    os.close(fd)
"""
    assert run(client, stranger, code) == "EMFILE"


def test_a_spin_on_all_processors(client, server):
    mark = fresh_name("spins")
    code = f"""
for _ in range(2 * os.cpu_count()):
    if os.fork() == 0:
        os.execv(sys.executable, [sys.executable, "-c", "while True: pass", {mark!r}])
while True:
    pass
"""
    ends(client, code, ["Sandbox.Timedout"], Timeout=2)
    wait_until("its children are gone", lambda: not children_named(server, mark), 60)


def test_a_flood_of_lines(client, stranger):
    code = """
line = "y" * 1023 + "\\n"
for _ in range(20_000):
    sys.stdout.write(line)
answer = "flooded"
"""
    assert run(client, stranger, code) == "flooded"
    reply = client.invoke(FunctionName=stranger, Payload=b'{"code": "print(\'said\')"}', LogType="Tail")
    assert reply["ResponseMetadata"]["HTTPStatusCode"] == 200 and "FunctionError" not in reply


# Reading and writing what is not its own.

NOT_ITS_OWN = {
    "the password hashes": "open('/etc/shadow').read()",
    "the data folder": "os.listdir(data)",
    "the server's key": "open(data + '/credentials.json').read()",
    "the code of others": "os.listdir(data + '/functions')",
    "the code of others that run": "os.listdir(data + '/run')",
    "the server's memory": "open(f'/proc/{server}/mem', 'rb').read(1)",
    "the server's environment": "open(f'/proc/{server}/environ').read()",
    "the server's files": "os.listdir(f'/proc/{server}/root')",
    "the root of its first process": "open('/proc/1/root/etc/shadow').read()",
    "the kernel's memory": "open('/proc/kcore', 'rb').read(1)",
    "settings of the kernel": "open('/proc/sys/kernel/core_pattern', 'w')",
    "its own code": "open('/var/task/app.py', 'a')",
    "its runtime": "open('/var/runtime/squall_serve.py', 'a')",
    "programs": "open('/usr/bin/env', 'ab')",
}


@pytest.mark.parametrize("what", NOT_ITS_OWN)
def test_reaching_for_what_is_not_its_own(client, server, stranger, what):
    code = f"answer = attempt(lambda: len(str({NOT_ITS_OWN[what]})))"
    found = run(client, stranger, code, data=str(server.data_dir), server=server.process.pid)
    assert found in ("ENOENT", "EACCES", "EPERM", "EROFS"), found


def test_a_look_at_all_processes(client, server, stranger):
    code = """
found = {pid: open(f"/proc/{pid}/cmdline").read().split("\\0") for pid in os.listdir("/proc") if pid.isdigit()}
environments = [attempt(lambda: open(f"/proc/{pid}/environ").read()) for pid in found]
answer = [list(found.values()), environments]
"""
    commands, environments = run(client, stranger, code)
    assert len(commands) < 10 and not [words for words in commands if "up" in words], commands
    assert str(server.data_dir) not in str(environments)


# System calls, by their numbers on x86-64.
CALLS = {
    "ptrace": "call(101, 16, os.getppid(), 0, 0)",
    "mount": "call(165, b'none', b'/tmp', b'tmpfs', 0, None)",
    "setns": "call(308, os.open('/proc/self/ns/net', os.O_RDONLY), 0)",
    "unshare": "call(272, 0x10000000)",
    "keyctl": "call(250, 0, -3, 0)",
    "bpf": "call(321, 0, 0, 0)",
    "io_uring": "call(425, 8, bytes(120))",
    "a raw socket": "attempt(socket.socket, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)",
    "a packet socket": "attempt(socket.socket, socket.AF_PACKET, socket.SOCK_RAW, 0)",
    "raising its own interface's address": "attempt(socket.socket, socket.AF_NETLINK, socket.SOCK_RAW, 12)",
}


@pytest.mark.parametrize("what", CALLS)
def test_a_call_that_reaches_out(client, stranger, what):
    assert run(client, stranger, f"answer = {CALLS[what]}") == "EPERM"


def test_a_kill_of_foreign_processes(client, server, stranger, neighbour):
    own = [server.process.pid, os.getpid(), *server.descendants()]
    code = "answer = [attempt(os.kill, pid, 9) for pid in pids if not os.path.exists(f'/proc/{pid}')]"
    found = run(client, stranger, code, pids=own)
    assert found and set(found) == {"ESRCH"}


def test_a_kill_of_all_that_it_can(client, server):
    before = server.process.pid
    ends(client, "os.kill(-1, signal.SIGKILL)\nos.kill(os.getpid(), signal.SIGKILL)")
    assert server.process.poll() is None and server.process.pid == before


def test_a_double_fork_that_would_outlive_its_instance(client, server):
    mark = fresh_name("outlives")
    name = create(client, RUNNER, Timeout=2, Environment=NO_NETWORK)
    assert run(client, name, OUTLIVE, mark=mark) == "left"
    wait_until("the orphan runs", lambda: children_named(server, mark), 60)
    client.invoke(FunctionName=name, Payload=json.dumps({"code": "os._exit(1)"}))
    wait_until("the orphan is gone", lambda: not children_named(server, mark), 60)


# The network, and the door in it.

# Signs as AWS has it, so that it can be done with any credentials.
SIGNED = """
import datetime, hashlib, hmac, urllib.error, urllib.request
def ask(key, secret, token, path="/2015-03-31/functions/", endpoint=None):
    endpoint = endpoint or os.environ["AWS_ENDPOINT_URL"]
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    headers = {"host": endpoint.split("//")[1], "x-amz-date": now} | ({"x-amz-security-token": token} if token else {})
    names = ";".join(sorted(headers))
    lines = "".join(f"{name}:{headers[name]}\\n" for name in sorted(headers))
    empty = hashlib.sha256(b"").hexdigest()
    canonical = f"GET\\n{path}\\n\\n{lines}\\n{names}\\n{empty}"
    scope = f"{now[:8]}/us-east-1/lambda/aws4_request"
    signing = ("AWS4" + secret).encode()
    for word in scope.split("/"):
        signing = hmac.new(signing, word.encode(), "sha256").digest()
    text = f"AWS4-HMAC-SHA256\\n{now}\\n{scope}\\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    signature = hmac.new(signing, text.encode(), "sha256").hexdigest()
    headers["authorization"] = f"AWS4-HMAC-SHA256 Credential={key}/{scope}, SignedHeaders={names}, Signature={signature}"
    return answer_of(urllib.request.Request(endpoint + path, headers=headers))

def answer_of(request):
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return [answer.status, ""]
    except urllib.error.HTTPError as error:
        return [error.code, error.read().decode()]

def own():
    return [os.environ[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")]
"""


@pytest.fixture(scope="module")
def role(server):
    server.squall("roles", "put", ROLE.rpartition("/")[2], "--allow", "read-only")


def test_its_own_credentials_work_at_its_door(client, stranger, role):
    assert run(client, stranger, SIGNED + "answer = ask(*own())") == [200, ""]


def test_credentials_of_another_function_at_its_door(client, stranger, role):
    other = create(client, RUNNER, Environment=NO_NETWORK)
    theirs = run(client, other, SIGNED + "answer = own()")
    assert run(client, other, SIGNED + "answer = ask(*keys)", keys=theirs)[0] == 200
    status, message = run(client, stranger, SIGNED + "answer = ask(*keys)", keys=theirs)
    assert status == 403 and "security token" in message, message


def test_the_servers_own_key_at_its_door(client, server, stranger):
    keys = [server.env["AWS_ACCESS_KEY_ID"], server.env["AWS_SECRET_ACCESS_KEY"], None]
    status, message = run(client, stranger, SIGNED + "answer = ask(*keys)", keys=keys)
    assert status == 403 and "security token" in message, message


def test_no_credentials_at_its_door(client, stranger, neighbour):
    url = client.create_function_url_config(FunctionName=neighbour, AuthType="NONE")["FunctionUrl"]
    host = url.split("//")[1].strip("/")
    code = SIGNED + """
request = urllib.request.Request(os.environ["AWS_ENDPOINT_URL"] + path, headers=headers)
answer = answer_of(request)
"""
    for path, headers in [("/2015-03-31/functions/", {}), ("/", {"host": host}), ("/lambda-url/x/", {})]:
        status, message = run(client, stranger, code, path=path, headers=headers)
        assert status == 403, (path, message)


@pytest.mark.parametrize("rule", ["", "all"])
def test_a_rule_that_is_none(client, rule):
    name = fresh_name()
    client.create_function(FunctionName=name, Runtime=PYTHON, Role=ROLE, Handler="app.handler",
                           Code={"ZipFile": zipped({"app.py": ECHO})}, Environment={"Variables": {"SQUALL_NETWORK": rule}})
    failed = lambda: (made := client.get_function_configuration(FunctionName=name))["State"] == "Failed" and made
    assert f"SQUALL_NETWORK={rule}" in wait_until("it is Failed", failed, 60)["StateReason"]


def test_the_servers_port_other_than_by_its_door(client, server, stranger):
    port = int(server.endpoint.rpartition(":")[2])
    code = """
def reach(host):
    with socket.socket() as s:
        s.settimeout(10)
        return attempt(s.connect, (host, port))
answer = [reach(host) for host in hosts]
"""
    addresses = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=True).stdout.split()
    hosts = [address for address in addresses if "." in address] + ["192.0.2.1"]
    assert set(run(client, stranger, code, port=port, hosts=hosts)) == {"ENETUNREACH"}


def test_the_internet_the_hosts_loopback_and_names(client, stranger):
    code = """
import socket as s
def reach(family, address):
    with s.socket(family) as it:
        it.settimeout(10)
        return attempt(it.connect, address)
answer = [reach(s.AF_INET, ("1.1.1.1", 443)), reach(s.AF_INET, ("169.254.169.254", 80)),
          reach(s.AF_INET6, ("2606:4700:4700::1111", 443)), reach(s.AF_INET, ("127.0.0.1", listening)),
          reach(s.AF_UNIX, "\\0" + abstract), s.if_nameindex()]
"""
    abstract = fresh_name("squall")
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket(socket.AF_UNIX) as unix:
        unix.bind("\0" + abstract)
        unix.listen()
        found = run(client, stranger, code, listening=listener.getsockname()[1], abstract=abstract)
    assert found[:3] == ["ENETUNREACH"] * 3 and found[3:5] == ["ECONNREFUSED"] * 2
    assert [name for _, name in found[5]] == ["lo"]


# A runtime of its own, which runs what an event holds between its two questions.
BOOTSTRAP = """#!/usr/bin/python3
import json, os, socket, traceback, urllib.error, urllib.request
API = "http://" + os.environ["AWS_LAMBDA_RUNTIME_API"] + "/2018-06-01/runtime/invocation/"

def post(id, what, data):
    try:
        with urllib.request.urlopen(urllib.request.Request(API + id + what, data, method="POST"), timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code

def connect(host, port):
    try:
        socket.create_connection((host, port), 10).close()
        return "open"
    except OSError as error:
        return type(error).__name__

while True:
    with urllib.request.urlopen(API + "next") as event:
        id, code = event.headers["Lambda-Runtime-Aws-Request-Id"], json.load(event)
    names = dict(globals())
    exec(code, names)
    post(id, "/response", json.dumps(names.get("answer")).encode())
"""


def test_a_swap_of_another_invocations_answer(client, neighbour):
    package = {"bootstrap!": BOOTSTRAP}
    def own(**settings):
        return create(client, zipped(package), runtime="provided.al2023", Timeout=30, **settings)

    def ask(name, code):
        reply = client.invoke(FunctionName=name, Payload=json.dumps(code))
        body = json.loads(reply["Payload"].read())
        assert "FunctionError" not in reply, body
        return body

    attacker, victim = own(Environment=NO_NETWORK), own()
    host, port = ask(victim, "answer = os.environ['AWS_LAMBDA_RUNTIME_API']").split(":")
    assert ask(attacker, "answer = os.environ['AWS_LAMBDA_RUNTIME_API']") == "127.0.0.1:9001"
    # The victim's Runtime API is out of reach, and its own knows no other invocation.
    assert ask(attacker, f"answer = connect({host!r}, {port})") == "ConnectionRefusedError"
    foreign = "12345678-1234-4234-8234-123456789abc"
    assert ask(attacker, f"answer = post({foreign!r}, '/response', b'1')") == 400
    assert ask(attacker, f"answer = post({foreign!r}, '/error', b'1')") == 400


def test_a_connection_to_another_instance(client, stranger):
    listens = create(client, RUNNER, Environment=NO_NETWORK)
    code = "it = socket.create_server(('127.0.0.1', 0)); sys.modules['held'] = it; answer = it.getsockname()[1]"
    port = run(client, listens, code)
    assert run(client, listens, "answer = attempt(lambda: socket.create_connection(('127.0.0.1', port), 10).close())",
               port=port) is None
    assert run(client, stranger, "answer = attempt(socket.create_connection, ('127.0.0.1', port), 10)",
               port=port) == "ECONNREFUSED"


@pytest.mark.parametrize("bytes_sent", ["b'\\xff' * 64", "b'\\0' * 64", "struct.pack('<IB', 0xffffffff, 2) + b'x' * 32",
                                        "os.urandom(100_000)"])
def test_corrupt_frames_on_its_socket(client, bytes_sent):
    code = f"""
it = socket.socket(fileno=os.dup(3))
it.settimeout(10)
try:
    it.sendall({bytes_sent})
except OSError:
    pass
time.sleep(60)
"""
    ends(client, code, ["Runtime.InvalidResponse", *ENDED], Timeout=5)
