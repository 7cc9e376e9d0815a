"""Components and rivals of the questions about WebAssembly: built or installed once, below bench/.work."""

import contextlib
import os
import shutil
import socket
import subprocess

import functions
from measure import ROOT, WORK
from squall_server import wait_until

HELLO_C = ROOT / "examples" / "hello-wasm-http-c" / "hello.wasm"
WORKERD = "workerd@1.20261117.1"


def hello_js():
    """The JavaScript example, built with its own build.sh."""
    kept = WORK / "hello-js.wasm"
    if not kept.exists():
        folder = WORK / "hello-wasm-js"
        shutil.copytree(ROOT / "examples" / "hello-wasm-js", folder, dirs_exist_ok=True)
        subprocess.run([folder / "build.sh"], check=True, env=os.environ | {"CACHE": str(WORK)}, stdout=subprocess.DEVNULL)
        (folder / "build" / "hello.wasm").rename(kept)
    return kept


def example(name):
    """A program of crates/runtime-wasm/examples, with the same wasmtime and profile as the server."""
    command = ["cargo", "build", "--release", "--quiet", "--locked", "-p", "squall-runtime-wasm", "--example", name]
    subprocess.run([*command, "--target-dir", WORK / "wasm-rivals"], cwd=ROOT, check=True)
    return WORK / "wasm-rivals" / "release" / "examples" / name


@contextlib.contextmanager
def printing_its_address(command):
    """(address, process) of a server that prints where it answers."""
    with subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().strip(), process
        finally:
            process.kill()


@contextlib.contextmanager
def workerd():
    """(address, process) of workerd with the greeting."""
    folder = WORK / "workerd"
    if not (folder / "node_modules").exists():
        folder.mkdir(exist_ok=True)
        subprocess.run(["npm", "install", "--prefix", folder, "--no-audit", "--no-fund", "--loglevel=error", WORKERD],
                       check=True, stdout=subprocess.DEVNULL)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    shutil.copy(ROOT / "bench" / "functions" / "greet-worker.js", folder / "greet.js")
    (folder / "config.capnp").write_text(
        'using Workerd = import "/workerd/workerd.capnp";\n'
        'const config :Workerd.Config = (\n'
        '  services = [(name = "main", worker = (modules = [(name = "greet", esModule = embed "greet.js")],'
        ' compatibilityDate = "2026-01-01"))],\n'
        f'  sockets = [(name = "http", address = "127.0.0.1:{port}", http = (), service = "main")]);\n')
    program = next((folder / "node_modules" / "@cloudflare").glob("workerd-*/bin/workerd"))
    with subprocess.Popen([program, "serve", folder / "config.capnp"]) as process:
        try:
            wait_until("workerd answers", lambda: answers(port), 20)
            yield f"http://127.0.0.1:{port}", process
        finally:
            process.kill()


def answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


def distinct(wasm, number):
    """The same component with a custom section of its own: compiled, kept and loaded by itself."""
    body = b"\x06number" + number.to_bytes(8, "little")
    return wasm + b"\0" + bytes([len(body)]) + body


def deploy(client, wasm, name=None, **settings):
    """An Active function of these bytes."""
    name = name or functions.fresh_name("bench")
    client.create_function(FunctionName=name, Runtime="wasm", Role=functions.ROLE, Timeout=30,
                           Code={"ZipFile": functions.zipped({"function.wasm": wasm})}, **settings)
    functions.wait_active(client, name, 600)
    return name


def with_url(server, client, name):
    """The function's URL by its path, which needs no name lookup."""
    client.create_function_url_config(FunctionName=name, AuthType="NONE")
    return f"{server.endpoint}/lambda-url/{name}/"


def node():
    """The rival's command."""
    return ["node", ROOT / "bench" / "functions" / "greet.js"]
