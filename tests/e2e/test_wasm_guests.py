"""Components as their toolchains make them: C, Rust, JavaScript and Python, deployed unmodified, called both ways.

Their imports mix WASI 0.2.0 (C, Python), 0.2.6, 0.2.9 (Python), 0.2.10 (JavaScript) and 0.2.12 (JavaScript, Rust).
"""

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys

import pytest

import wire
from functions import EXAMPLES, ROLE, create, fresh_name, wait_active, zipped

C = EXAMPLES / "hello-wasm-http-c" / "hello.wasm"
RUST = EXAMPLES / "hello-wasm-rust" / "hello.wasm"
# A large component is compiled for half a minute of CPU, on a machine that does other things too.
COMPILED_SECONDS = 280
VERSIONS = {
    "hello-wasm-js": {"wasi:http/types@0.2.10", "wasi:cli/stderr@0.2.12"},
    "hello-wasm-python": {"wasi:http/types@0.2.6", "wasi:filesystem/types@0.2.0"},
    "hello-wasm-rust": {"wasi:http/types@0.2.12"},
}


@pytest.fixture(scope="module")
def built(cache):
    """Builds an example's component with its build.sh, once for each state of its sources, and returns its bytes."""

    def build(example):
        sources = sorted(path for path in (EXAMPLES / example).iterdir() if path.is_file())
        digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
        kept = cache / f"{example}-{digest}.wasm"
        if not kept.exists():
            folder = cache / fresh_name(example)
            shutil.copytree(EXAMPLES / example, folder, ignore=shutil.ignore_patterns("build"))
            env = os.environ | {"PYTHON": sys.executable, "CACHE": str(cache / "examples")}
            subprocess.run([folder / "build.sh"], check=True, env=env, timeout=COMPILED_SECONDS)
            (wasm,) = (folder / "build").glob("*.wasm")
            wasm.rename(kept)
            shutil.rmtree(folder)
        return kept.read_bytes()

    return build


def begin(client, wasm, **settings):
    """Creates a function without waiting for it; it is Pending at first."""
    name = fresh_name()
    made = client.create_function(FunctionName=name, Runtime="wasm", Role=ROLE, MemorySize=256, Timeout=30,
                                  Code={"ZipFile": zipped({"hello.wasm": wasm})}, **settings)
    assert made["State"] == "Pending", made
    return name


def check_greeting(client, server, name):
    """The greeting comes through Invoke, with its log line, and through a function URL as plain HTTP."""
    reply = client.invoke(FunctionName=name, Payload=json.dumps({"name": "Ada"}), LogType="Tail")
    body = json.loads(reply["Payload"].read())
    assert "FunctionError" not in reply and body["greeting"] == "Hello, Ada!" and body["path"] == "/", body
    assert "greeting Ada" in base64.b64decode(reply["LogResult"]).decode().splitlines()
    client.create_function_url_config(FunctionName=name, AuthType="NONE")
    for round_ in range(3):
        sent = json.dumps({"name": f"Grace {round_}"}).encode()
        answer = wire.send(f"{server.endpoint}/lambda-url/{name}/greet/me", "POST", {}, sent)
        assert answer.status == 200, answer
        body = json.loads(answer.body)
        assert (body["greeting"], body["path"]) == (f"Hello, Grace {round_}!", "/greet/me"), body


def check_versions(example, wasm):
    """It imports what the docstring says: a new toolchain is a change to look at."""
    imported = {found.decode() for found in re.findall(rb"wasi:[a-z]+/[a-z-]+@0\.2\.\d+", wasm)}
    assert VERSIONS[example] <= imported, imported


@pytest.mark.skipif(shutil.which("npm") is None, reason="componentize-js needs npm")
@pytest.mark.timeout(900)
def test_large_components_are_pending_while_others_are_deployed_and_answer(client, server, built):
    guests = {example: built(example) for example in ("hello-wasm-js", "hello-wasm-python")}
    names = [begin(client, wasm) for wasm in guests.values()]
    # Large ones are compiled one after the other, and do not hold up a small one.
    small = create(client, zipped({"hello.wasm": C.read_bytes()}), runtime="wasm", handler="")
    assert json.loads(client.invoke(FunctionName=small, Payload=b"[1]")["Payload"].read()) == {"you": [1]}
    states = {name: client.get_function_configuration(FunctionName=name)["State"] for name in names}
    assert "Pending" in states.values(), states
    for (example, wasm), name in zip(guests.items(), names):
        check_versions(example, wasm)
        wait_active(client, name, COMPILED_SECONDS)
        check_greeting(client, server, name)


def test_rust_answers(client, server):
    wasm = RUST.read_bytes()
    check_versions("hello-wasm-rust", wasm)
    name = begin(client, wasm)
    wait_active(client, name)
    check_greeting(client, server, name)


def test_a_file_and_a_folder_are_deployed_as_the_readme_says(server, workdir):
    folder = workdir / "build"
    folder.mkdir()
    shutil.copy(RUST, folder / "hello.wasm")
    for path in (RUST, folder):
        name = fresh_name("rust")
        server.squall("deploy", path, "--name", name)
        answer = server.squall("invoke", name, "--data", '{"name": "Ada"}')
        assert json.loads(answer.stdout)["greeting"] == "Hello, Ada!", answer.stdout
