"""Functions that strangers might send: each is stopped, and a neighbour answers on.

One function runs what an event holds, so every hostile act is a few lines of Python beside its test.
"""

import concurrent.futures
import json
import os
import pathlib

import pytest

from functions import ECHO, create
from squall_server import descendants_of, wait_until

pytestmark = [pytest.mark.server_args("--walls", "full"), pytest.mark.shares_nothing]

# Runs the event's code; what that leaves in `answer` is the answer.
RUNNER = """
import ctypes, errno, json, os, signal, socket, struct, subprocess, sys, time
libc = ctypes.CDLL(None, use_errno=True)

def call(number, *arguments):
    '''The name of the error of a system call, or its result.'''
    result = libc.syscall(number, *arguments)
    return errno.errorcode[ctypes.get_errno()] if result < 0 else result

def attempt(what, *arguments):
    '''The name of the error of a function, or what it returns.'''
    try:
        return what(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]

def handler(event, context):
    names = dict(globals(), **event.get("names", {}))
    exec(event["code"], names)
    return names.get("answer")
"""


@pytest.fixture(scope="module")
def neighbour(client):
    return create(client, ECHO)


@pytest.fixture(scope="module")
def stranger(client):
    return create(client, RUNNER, MemorySize=256, Timeout=20)


@pytest.fixture(autouse=True)
def the_neighbour_answers(client, neighbour):
    yield
    assert json.loads(client.invoke(FunctionName=neighbour, Payload=b"1")["Payload"].read()) == 1


def run(client, name, code, **names):
    """What the code left in `answer`; an error of the function fails the test."""
    reply = client.invoke(FunctionName=name, Payload=json.dumps({"code": code, "names": names}))
    body = json.loads(reply["Payload"].read())
    assert "FunctionError" not in reply, body
    return body


# What needs privileges that nobody within the walls has, by its number on x86-64 and its arguments.
REFUSED_CALLS = {
    "ptrace": "call(101, 16, os.getppid(), 0, 0)",
    "process_vm_readv": "call(310, os.getppid(), 0, 0, 0, 0, 0)",
    "pidfd_getfd": "call(438, os.pidfd_open(os.getppid()), 3, 0)",
    "mount": "call(165, b'none', b'/tmp', b'tmpfs', 0, None)",
    "umount": "call(166, b'/proc', 2)",
    "pivot_root": "call(155, b'/tmp', b'/tmp')",
    "chroot": "call(161, b'/tmp')",
    "move_mount": "call(429, -1, b'', -1, b'/tmp', 4)",
    "open_tree": "call(428, -100, b'/', 1)",
    "fsopen": "call(430, b'tmpfs', 0)",
    "setns": "call(308, os.open('/proc/self/ns/mnt', os.O_RDONLY), 0)",
    "unshare a user namespace": "call(272, 0x10000000)",
    "unshare a mount namespace": "call(272, 0x00020000)",
    "clone into a user namespace": "call(56, 0x10000000 | 17, 0, 0, 0, 0)",
    "keyctl": "call(250, 0, -3, 0)",
    "add_key": "call(248, b'user', b'a', b'b', 1, -3)",
    "bpf": "call(321, 0, 0, 0)",
    "perf_event_open": "call(298, 0, 0, -1, -1, 0)",
    "userfaultfd": "call(323, 0)",
    "io_uring": "call(425, 8, bytes(120))",
    "a raw socket": "attempt(socket.socket, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)",
    "a packet socket": "attempt(socket.socket, socket.AF_PACKET, socket.SOCK_RAW, 0)",
    "a netfilter socket": "attempt(socket.socket, socket.AF_NETLINK, socket.SOCK_RAW, 12)",
    "kexec": "call(246, 0, 0, 0, 0)",
    "a kernel module": "call(313, -1, b'', 0)",
    "reboot": "call(169, 0xfee1dead, 672274793, 0, 0)",
    "the clock": "call(227, 0, struct.pack('qq', 0, 0))",
    "the host's name": "call(170, b'mine', 4)",
    "the kernel's log": "call(103, 3, 0, 0)",
    "open_by_handle_at": "call(304, -100, 0, 0)",
    "personality": "call(135, 0x0040000)",
    "turns before its neighbours": "call(314, 0, struct.pack('IIQiIQQQ', 48, 0, 0, 0, 0, 100_000, 0, 0), 0)",
}


@pytest.mark.parametrize("what", REFUSED_CALLS)
def test_a_call_that_reaches_out_is_refused(client, stranger, what):
    assert run(client, stranger, f"answer = {REFUSED_CALLS[what]}") == "EPERM"


def test_clone3_does_not_exist_so_that_threads_are_made_by_clone(client, stranger):
    if os.uname().machine == "x86_64":
        assert run(client, stranger, "answer = call(435, bytes(88), 88)") == "ENOSYS"
    code = """
import threading
found = []
threads = [threading.Thread(target=found.append, args=(n,)) for n in range(8)]
[t.start() for t in threads]; [t.join() for t in threads]
answer = sorted(found)
"""
    assert run(client, stranger, code) == list(range(8))


def test_nobody_within_has_a_capability_or_gains_one(client, stranger):
    code = """
status = {line.split(":")[0]: line.split(":")[1].strip() for line in open("/proc/self/status")}
answer = {name: status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")}
"""
    found = run(client, stranger, code)
    none = "0" * 16
    assert found == {"CapInh": none, "CapPrm": none, "CapEff": none, "CapBnd": none, "CapAmb": none,
                     "NoNewPrivs": "1", "Seccomp": "2"}


def test_an_ordinary_program_runs(client, stranger):
    code = """
import tempfile
with tempfile.NamedTemporaryFile() as file:
    file.write(b"x" * 100000); file.flush()
    size = subprocess.run(["wc", "-c", file.name], capture_output=True, text=True, check=True).stdout.split()[0]
a, b = socket.socketpair()
a.send(b"hello")
answer = [size, b.recv(9).decode(), subprocess.run("exit 3", shell=True).returncode]
"""
    assert run(client, stranger, code) == ["100000", "hello", 3]


# What is not the function's own, and what it finds instead.
FOREIGN = {
    "password hashes": "open('/etc/shadow').read()",
    "the root's home": "open('/root/.bashrc').read()",
    "the data folder": "os.listdir(data)",
    "the server's keys": "open(data + '/credentials.json').read()",
    "what services of the host keep": "os.listdir('/var/lib')",
    "devices": "open('/dev/mem', 'rb').read(1)",
    "disks": "open('/dev/vda', 'rb').read(1)",
    "the kernel's memory": "open('/proc/kcore', 'rb').read(1)",
    "settings of the kernel": "open('/proc/sys/kernel/core_pattern', 'w')",
    "the machine's switches": "open('/proc/sysrq-trigger', 'w')",
    "control groups": "os.listdir('/sys/fs/cgroup')",
    "its own code": "open('/var/task/app.py', 'a')",
    "a new file beside its code": "open('/var/task/new.py', 'w')",
    "its runtime": "open('/var/runtime/new.py', 'w')",
    "programs": "open('/usr/bin/new', 'w')",
    "the root": "open('/new', 'w')",
}


@pytest.mark.parametrize("what", FOREIGN)
def test_what_is_not_the_functions_own_is_out_of_reach(client, server, stranger, what):
    code = f"answer = attempt(lambda: len(str({FOREIGN[what]})))"
    found = run(client, stranger, code, data=str(server.data_dir))
    assert found in ("ENOENT", "EACCES", "EPERM", "EROFS"), found


def test_a_function_sees_its_own_processes_only(client, server, stranger):
    code = """
seen = [int(name) for name in os.listdir("/proc") if name.isdigit()]
words = [open(f"/proc/{pid}/cmdline").read() for pid in seen]
answer = [sorted(seen), words, attempt(os.kill, server, 0), [attempt(os.kill, pid, 0) for pid in seen]]
"""
    pids, words, server_says, own = run(client, stranger, code, server=server.process.pid)
    assert pids[:2] == [1, 2] and max(pids) < 1000, pids
    assert not [line for line in words if "squall\0up" in line.replace("/", "\0") or str(server.data_dir) in line], words
    assert server_says == "ESRCH" and set(own) == {None}


def test_the_environment_of_others_is_out_of_reach(client, stranger):
    code = """
answer = {}
for pid in os.listdir("/proc"):
    if pid.isdigit():
        answer[pid] = attempt(lambda: len(open(f"/proc/{pid}/environ").read()))
"""
    found = run(client, stranger, code)
    # The first process has none; the zygote has that of its function, which is this one.
    assert found["1"] == 0, found


def test_the_functions_user_is_nobody_of_the_host_and_not_another_functions(client, neighbour, stranger):
    other = create(client, RUNNER)
    mine, yours = (run(client, name, "answer = [os.getuid(), os.getgid(), os.getgroups()]") for name in (stranger, other))
    if os.getuid() == 0:
        assert mine[0] != yours[0] and min(mine[0], yours[0]) >= 0x70000000
    assert mine[2] == [] or os.getuid() != 0, mine


def test_shared_memory_and_names_are_the_functions_own(client, stranger):
    code = "answer = [os.uname().nodename, attempt(lambda: open('/dev/shm/x', 'w')), len(open('/proc/sysvipc/shm').readlines())]"
    assert run(client, stranger, code) == ["function", "ENOENT", 1]


def test_a_private_folder_is_not_another_functions(client, stranger):
    assert run(client, stranger, "answer = open('/tmp/mark', 'w').write('x')") == 1
    other = create(client, RUNNER)
    assert run(client, other, "answer = os.listdir('/tmp')") == []


# A child that leads a session of its own, whose parent has ended: nothing of a process group reaches it.
OUTLIVE = """
import sys
r, w = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.setsid()
        os.closerange(1, 64)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(987654)", mark])
    os._exit(0)
os.wait()
answer = "left"
"""


def children_named(server, name):
    """The processes below the server that have this word in their command line."""
    return {pid: words for pid, words in descendants_of(server.process.pid).items() if name in words.split()}


@pytest.mark.parametrize("how", ["killed by its deadline", "ended by itself", "replaced by new code"])
def test_what_a_function_leaves_behind_ends_with_its_instance(client, server, how):
    name = create(client, RUNNER, Timeout=2)
    mark = f"outlives-{name}"
    assert run(client, name, OUTLIVE, mark=mark) == "left"
    wait_until("the orphan runs", lambda: children_named(server, mark), 30)
    if how == "killed by its deadline":
        reply = client.invoke(FunctionName=name, Payload=json.dumps({"code": "time.sleep(60)"}))
        assert b"timed out" in reply["Payload"].read()
    elif how == "ended by itself":
        reply = client.invoke(FunctionName=name, Payload=json.dumps({"code": "os._exit(1)"}))
        assert b"exit status 1" in reply["Payload"].read()
    else:
        client.update_function_configuration(FunctionName=name, Environment={"Variables": {"NEW": "1"}})
    wait_until("the orphan is gone", lambda: not children_named(server, mark), 60)
    assert not [pid for pid in pathlib.Path("/proc").iterdir() if pid.name.isdigit() and holds(pid, mark)]


def holds(process, word):
    """Whether that word is on the process's command line; wherever it was adopted to."""
    try:
        return word.encode() in (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


def test_descriptors_are_counted(client, stranger):
    code = """
import resource
held = []
try:
    while len(held) < 100000:
        held.append(os.open("/dev/null", os.O_RDONLY))
    answer = "no end"
except OSError as error:
    answer = [errno.errorcode[error.errno], len(held) <= 1024]
finally:
    for fd in held:
        os.close(fd)
"""
    assert run(client, stranger, code) == ["EMFILE", True]


def test_the_private_folder_ends_at_its_size(client):
    name = create(client, RUNNER, EphemeralStorage={"Size": 512}, MemorySize=256, Timeout=60)
    code = """
import glob
block, written = bytes(8 << 20), 0
try:
    for number in range(200):
        with open(f"/tmp/fill-{number}", "wb") as file:
            written += file.write(block)
    answer = "no end"
except OSError as error:
    answer = [errno.errorcode[error.errno], written >> 20]
finally:
    for path in glob.glob("/tmp/fill-*"):
        os.unlink(path)
"""
    what, mib = run(client, name, code)
    assert what == "ENOSPC" and 400 <= mib <= 512
    assert run(client, name, code)[0] == "ENOSPC", "the instance lives on, and what it removed is free again"


def test_a_fork_bomb_ends_at_the_instances_limit(client, server):
    name = create(client, RUNNER, MemorySize=512, Timeout=10)
    code = """
# Twelve times over: should no wall stop it, it stops by itself at 4096. Those that are made leave others no processor.
for _ in range(12):
    try:
        os.fork()
    except OSError:
        time.sleep(0.1)
while True:
    os.getppid()
"""
    reply = client.invoke(FunctionName=name, Payload=json.dumps({"code": code}))
    body = json.loads(reply["Payload"].read())
    assert reply.get("FunctionError") and body["errorType"] in ENDED, body
    assert len(server.descendants()) < 1200
    assert run(client, name, "answer = 1") == 1, "what is left of the bomb keeps nobody from a new instance"
    client.delete_function(FunctionName=name)
    wait_until("the bomb is gone", lambda: len(server.descendants()) < 40, 60)


# An instance that was ended by its deadline, by the kernel, or because nothing of it was left.
ENDED = ("Sandbox.Timedout", "Runtime.OutOfMemory", "Runtime.ExitError")


def test_one_process_that_wants_more_memory_than_the_function_has_is_refused_it(client):
    name = create(client, RUNNER, MemorySize=128, Timeout=20)
    reply = client.invoke(FunctionName=name, Payload=json.dumps({"code": "answer = len(bytearray(400 << 20))"}))
    assert json.loads(reply["Payload"].read())["errorType"] == "MemoryError"
    assert run(client, name, "answer = 1") == 1


def test_memory_that_no_limit_of_a_process_counts_ends_the_instance_as_on_lambda(client):
    name = create(client, RUNNER, MemorySize=128, EphemeralStorage={"Size": 512}, Timeout=60)
    code = """
import mmap
shared = mmap.mmap(-1, 1400 << 20)
block = bytes(1 << 20)
for _ in range(1400):
    shared.write(block)
"""
    reply = client.invoke(FunctionName=name, Payload=json.dumps({"code": code}), LogType="Tail")
    body = json.loads(reply["Payload"].read())
    assert body["errorType"] == "Runtime.OutOfMemory" and "signal: killed" in body["errorMessage"], body
    assert run(client, name, "answer = 1") == 1


def test_many_processes_share_one_bound_of_memory(client):
    name = create(client, RUNNER, MemorySize=128, EphemeralStorage={"Size": 512}, Timeout=60)
    code = """
children = []
for _ in range(12):
    pid = os.fork()
    if pid == 0:
        held = bytearray(120 << 20)
        time.sleep(60)
    children.append(pid)
killed = 0
while not killed:
    pid, status = os.wait()
    killed += os.WIFSIGNALED(status) and os.WTERMSIG(status) == 9
for pid in children:
    try:
        os.kill(pid, 9)
    except OSError:
        pass
answer = "killed"
"""
    reply = client.invoke(FunctionName=name, Payload=json.dumps({"code": code}))
    body = json.loads(reply["Payload"].read())
    # The kernel takes one of the children, or the instance itself.
    assert body == "killed" or body["errorType"] == "Runtime.OutOfMemory", body


def test_a_flood_of_lines_is_cut_and_the_function_answers(client, stranger):
    code = """
line = "y" * 1023 + "\\n"
for _ in range(20_000):
    sys.stdout.write(line)
answer = "flooded"
"""
    assert run(client, stranger, code) == "flooded"


def test_a_spin_on_all_processors_ends_at_the_deadline(client, server):
    name = create(client, RUNNER, Timeout=2)
    mark = f"spins-{name}"
    code = """
for _ in range(2 * os.cpu_count()):
    if os.fork() == 0:
        os.execv(sys.executable, [sys.executable, "-c", "while True: pass", mark])
while True:
    pass
"""
    reply = client.invoke(FunctionName=name, Payload=json.dumps({"code": code, "names": {"mark": mark}}))
    assert b"timed out" in reply["Payload"].read()
    wait_until("its children are gone", lambda: not children_named(server, mark), 60)


def policies(server):
    """How the server's workers are scheduled, as far as they still run."""
    found = set()
    for task in pathlib.Path(f"/proc/{server.process.pid}/task").iterdir():
        try:
            if (task / "comm").read_text().startswith("tokio-rt-worker"):
                found.add(os.sched_getscheduler(int(task.name)) & ~os.SCHED_RESET_ON_FORK)
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found


def may_have_real_time(server):
    """Whether the server has the capability, and this host real time for it where it is. Tried with its first thread,
    which answers nobody."""
    status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
    capabilities = int(status.split("CapEff:")[1].split()[0], 16)
    cap_sys_nice = 23
    if not capabilities >> cap_sys_nice & 1:
        return False
    try:
        os.sched_setscheduler(server.process.pid, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    except PermissionError:
        return False
    os.sched_setscheduler(server.process.pid, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0))
    return True


def test_who_answers_goes_first_while_a_call_lasts_and_no_longer(client, server):
    first = os.SCHED_RR if may_have_real_time(server) else os.SCHED_OTHER
    wait_until("nobody computes", lambda: policies(server) == {os.SCHED_OTHER}, 60)
    name, seen = create(client, RUNNER, Timeout=5), policies(server)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        lasts = pool.submit(client.invoke, FunctionName=name, Payload=json.dumps({"code": "time.sleep(60)"}))
        while not lasts.done():
            seen |= policies(server)
        assert b"timed out" in lasts.result()["Payload"].read()
    assert seen == {os.SCHED_OTHER, first}
    wait_until("nobody goes first", lambda: policies(server) == {os.SCHED_OTHER}, 60)
