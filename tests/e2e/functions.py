"""Function packages made in memory, and the steps that most tests share."""

import io
import pathlib
import subprocess
import sys
import uuid
import zipfile

from squall_server import wait_until

# The role that is there from the start; it allows nothing.
ROLE = "arn:aws:iam::000000000000:role/squall"
PYTHON = f"python3.{sys.version_info.minor}"
EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"


def node_runtime():
    """The identifier of the Node that is installed here: `nodejs20.x`."""
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    return f"nodejs{version.lstrip('v').partition('.')[0]}.x"


def zipped(files):
    """A zip archive of {path: text or bytes}; a path that ends in `!` is made executable."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            info = zipfile.ZipInfo(path.rstrip("!"), (2026, 1, 1, 0, 0, 0))
            info.external_attr = (0o100755 if path.endswith("!") else 0o100644) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return buffer.getvalue()


def zipped_folder(folder, into=None):
    """A zip archive of a folder, modes kept."""
    files = into or {}
    for path in sorted(pathlib.Path(folder).rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            executable = "!" if path.stat().st_mode & 0o100 else ""
            files[str(path.relative_to(folder)) + executable] = path.read_bytes()
    return zipped(files)


def fresh_name(prefix="fn"):
    """A function name that no other test uses."""
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


def create(client, code, name=None, runtime=PYTHON, handler="app.handler", **settings):
    """Creates a function from source text or a zip, waits until it is Active, and returns its name."""
    name = name or fresh_name()
    package = code if isinstance(code, bytes) else zipped({"app.py": code})
    client.create_function(
        FunctionName=name, Runtime=runtime, Handler=handler, Code={"ZipFile": package}, **{"Role": ROLE} | settings
    )
    wait_active(client, name)
    return name


def wait_active(client, name, seconds=60):
    """Waits as the waiters do, but not by whole seconds."""

    def ready():
        configuration = client.get_function_configuration(FunctionName=name)
        assert configuration["State"] != "Failed", configuration
        settled = configuration.get("LastUpdateStatus") == "Successful"
        return configuration if configuration["State"] == "Active" and settled else None

    return wait_until(f"`{name}` is Active", ready, seconds)


ECHO = """
def handler(event, context):
    return event
"""
