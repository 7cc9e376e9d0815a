"""One `squall up` as a user starts it: its own data directory, a free port, only the environment of `squall env`.

Every test module has one (see conftest.py). It is judged at its end: an unexpected WARN, ERROR or panic in what it
wrote, or a process of it that is left, fails the module.
"""

import os
import pathlib
import re
import select
import shlex
import subprocess
import time

import boto3
import botocore.config

from shapes import check_response

START_SECONDS = 30
STOP_SECONDS = 40
POLL_SECONDS = 0.01

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_COMPLAINT = re.compile(r"^\S+\s+(WARN|ERROR)\s|panicked at|^thread '.*' panicked")


def binary():
    """The squall to test: SQUALL_BIN, else the release build."""
    if "SQUALL_BIN" in os.environ:
        return pathlib.Path(os.environ["SQUALL_BIN"]).resolve()
    root = pathlib.Path(__file__).resolve().parents[2]
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", root / "target"))
    return (root / target / "release" / "squall").resolve()


def wait_until(what, ready, seconds=10, interval=POLL_SECONDS):
    """Asks `ready()` until it answers something true, and returns that; fails by name when the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        answer = ready()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"waited {seconds} s in vain: {what}"
        time.sleep(interval)


class Server:
    """A server that can be started again on the same data directory, and killed."""

    def __init__(self, data_dir, args=(), env=None, share=True):
        self.data_dir = pathlib.Path(data_dir)
        self.args = list(args)
        if share:
            # The folder in which tests meet their functions, which run as other users.
            self.data_dir.parent.chmod(0o777)
            self.args += ["--share", self.data_dir.parent]
        # What is run, with what stands before it.
        self.program = [binary()]
        # A free port, unless a test wants the same one again.
        self.listen = "127.0.0.1:0"
        self.extra_env = dict(env or {})
        self.expected = []
        self.process = None
        self.starts = 0
        self.log = self.data_dir.parent / f"{self.data_dir.name}.log"

    # Life.

    def start(self):
        """Starts it and returns when it answers."""
        self.starts += 1
        # A killed server leaves its endpoint behind; waiting must see the new one.
        (self.data_dir / "endpoint").unlink(missing_ok=True)
        command = [*self.program, "up", "--listen", self.listen, "--data-dir", self.data_dir, *self.args]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._clean_env() | self.extra_env
            )
        endpoint = self.data_dir / "endpoint"

        def announced():
            assert self.process.poll() is None, f"squall up ended with {self.process.returncode}:\n{self.text()}"
            return endpoint.exists() and endpoint.read_text().strip()

        try:
            self.endpoint = wait_until(f"{endpoint} is written", announced, START_SECONDS)
        except AssertionError as error:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"{error}\n{self.text()}") from None
        self.env = self._read_env()
        return self

    def kill9(self):
        """Ends it as a power failure would, as far as processes can."""
        self.process.kill()
        self.process.wait(STOP_SECONDS)

    def terminate(self):
        """Asks it to end in order, and returns its exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"did not end {STOP_SECONDS} s after SIGTERM:\n{self.text()}") from None

    def restart(self):
        """Ends it in order and starts it on the same data."""
        assert self.terminate() == 0, self.text()
        return self.start()

    # What it says.

    def text(self, lines=60):
        """The end of what it wrote, for a message."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def complaints(self):
        """Every WARN, ERROR and panic that no test has declared."""
        expected = [re.compile(pattern) for pattern in self.expected]
        found = []
        for line in self.log.read_text(errors="replace").splitlines():
            line = _ANSI.sub("", line)
            if _COMPLAINT.search(line) and not any(pattern.search(line) for pattern in expected):
                found.append(line)
        return found

    # Its processes.

    def descendants(self):
        """The processes that it started, and theirs: pid -> command line."""
        return descendants_of(self.process.pid)

    def wait_for_no_descendants(self, seconds=30):
        """Returns when none of its processes is left; waits on each one's end, not on a clock."""
        wait_for_end(self.descendants, seconds)

    def stragglers(self):
        """Processes that hold on to the data directory: pid -> command line. For after its end."""
        found = {}
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            links = [entry / "cwd", entry / "exe", entry / "root"]
            try:
                links += list((entry / "fd").iterdir())
            except OSError:
                continue
            if any(_points_into(link, self.data_dir) for link in links):
                found[int(entry.name)] = command_line(int(entry.name))
        return found

    # How it is spoken to.

    def client(self, service="lambda", config=None, check=True, **kwargs):
        """A boto3 client that knows only what `squall env` printed. Every answer is checked against botocore's model.

        It tries once: a test must see what the server said first.
        """
        session = self.session()
        once = botocore.config.Config(
            retries={"total_max_attempts": 1}, read_timeout=120, connect_timeout=10, max_pool_connections=80
        )
        kwargs.setdefault("endpoint_url", self.env["AWS_ENDPOINT_URL"])
        client = session.client(service, config=once.merge(config) if config else once, **kwargs)
        if check and service == "lambda":
            client.meta.events.register("before-parse.lambda", check_response)
        return client

    def session(self):
        """A boto3 session with the keys of `squall env`."""
        return boto3.Session(
            aws_access_key_id=self.env["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.env["AWS_SECRET_ACCESS_KEY"],
            region_name=self.env["AWS_REGION"],
        )

    def run(self, *command, check=True, seconds=120, **kwargs):
        """Runs a client program with the environment of `squall env`, and nothing of the tester's AWS settings."""
        kwargs.setdefault("cwd", self.data_dir.parent)
        extra = kwargs.pop("env", {})
        result = subprocess.run(
            [str(part) for part in command],
            env=self._clean_env() | self.env | {"AWS_PAGER": ""} | extra,
            capture_output=True,
            text=True,
            timeout=seconds,
            **kwargs,
        )
        if check:
            assert result.returncode == 0, f"{command}: {result.returncode}\n{result.stdout}\n{result.stderr}"
        return result

    def squall(self, *args, **kwargs):
        """The squall CLI against this server."""
        return self.run(binary(), *args, **kwargs)

    def _read_env(self):
        printed = subprocess.run(
            [binary(), "env", "--data-dir", self.data_dir],
            env=self._clean_env(), capture_output=True, text=True, timeout=20, check=True,
        ).stdout
        env = {}
        for word in shlex.split(printed.replace(";", "\n")):
            name, equals, value = word.partition("=")
            if equals and name.isidentifier():
                env[name] = value
        for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
            assert env.get(name), f"`squall env` does not set {name}: {printed}"
        return env

    def _clean_env(self):
        """The tester's environment without its AWS and squall settings; no file of the tester's is read either."""
        nothing = {"AWS_CONFIG_FILE": "/nonexistent", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent"}
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "SQUALL_"))}
        return kept | nothing


def wait_for_end(processes, seconds):
    """Waits until `processes()` (pid -> command line) is empty, sleeping only on the end of one of them."""
    deadline = time.monotonic() + seconds
    while left := processes():
        assert time.monotonic() < deadline, f"still there after {seconds} s: {left}"
        try:
            pidfd = os.pidfd_open(next(iter(left)))
        except ProcessLookupError:
            continue
        try:
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            poll.poll(max(0, deadline - time.monotonic()) * 1000)
        finally:
            os.close(pidfd)


def still_running(processes):
    """Those of `processes` (pid -> command line) that still run: a number that was given anew is another process."""
    return {pid: what for pid, what in processes.items() if alive(pid) and command_line(pid) == what}


def alive(pid):
    """Whether there is such a process and it still runs: a zombie does not."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False




def descendants_of(root):
    """The processes below a process, zombies left out: pid -> command line."""
    children = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] not in "ZX":
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, queue = {}, [root]
    while queue:
        for pid in children.get(queue.pop(), []):
            found[pid] = command_line(pid)
            queue.append(pid)
    return found


def pid_on_host(pid, namespace):
    """The number here of the process that has that number in a pid namespace, `pid:[…]` as /proc names it; None when
    it is gone."""
    for entry in pathlib.Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.readlink(entry / "ns" / "pid") == namespace:
                numbers = re.search(r"^NSpid:(.*)", (entry / "status").read_text(), re.M)[1].split()
                if int(numbers[-1]) == pid:
                    return int(entry.name)
        except OSError:
            continue
    return None


def command_line(pid):
    """Its words, separated by blanks; empty for a zombie, `?` when it is gone."""
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return "?"


def _points_into(link, folder):
    try:
        target = os.readlink(link)
    except OSError:
        return False
    return target.removesuffix(" (deleted)").startswith(str(folder) + "/") or target == str(folder)
