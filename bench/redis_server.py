"""A redis-server of the bench's own, and redis-py for functions that talk to it."""

import contextlib
import shutil
import subprocess

from warm import free_port, vendored, wait_for_port

REDIS_PY = "redis==5.2.1"


@contextlib.contextmanager
def redis_server():
    """Its port on loopback. It keeps nothing on disk, as a cache does."""
    if shutil.which("redis-server") is None:
        raise SystemExit("redis-server is not installed (Debian: apt-get install redis-server)")
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        wait_for_port(port)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def redis_package():
    """The folder of redis-py's package, to include in a function's own."""
    return vendored(REDIS_PY) / "redis"
