"""Packages of registered functions: pickles, the handler, cloudpickle, and what else their owners include."""

import base64
import contextlib
import hashlib
import io
import json
import os
import pathlib
import sys
import sysconfig
import zipfile

HANDLER = "squall_registered.handler"
FUSED_HANDLER = "squall_fused.handler"
_PICKLE = "function.pickle"
_OWN = ("squall_registered.py", "squall_arguments.py")


def package(function, include=()):
    """(zip as base64 text, its CodeSha256). `function` is a callable, or a class and the arguments of its object."""
    cloudpickle = _cloudpickle()
    if isinstance(function, tuple):
        made, arguments = function
        record = ("class", made, tuple(arguments))
    elif callable(function):
        made, record = function, ("function", function, ())
    else:
        raise TypeError("register a callable, or a class and a tuple of arguments, not {!r}".format(function))
    with _by_value(cloudpickle, made):
        # Protocol 4 is read by every Python that runs functions.
        files = {_PICKLE: cloudpickle.dumps(record, protocol=4)}
    files.update(_handler("squall_registered.py", "client_handler.py"))
    for path in include:
        path = pathlib.Path(path)
        files.update(_folder(path) if path.is_dir() else {path.name: path.read_bytes()})
    return _packed(files)


def fused_package(steps, packages):
    """(zip as base64 text, its CodeSha256) of functions that run in one process.

    `steps` are what the handler reads of them, in the order in which they run; `packages` are the bytes of their zips.
    """
    files = _handler("squall_fused.py", "client_fused_handler.py")
    files["squall_fused.json"] = json.dumps(steps).encode()
    owners = {}
    for number, (step, data) in enumerate(zip(steps, packages)):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name in archive.namelist():
                # The handlers that packages bring are of the client that made them.
                if name in _OWN or name.startswith("cloudpickle/"):
                    continue
                content = archive.read(name)
                name = "squall_fused/{}.pickle".format(number) if name == _PICKLE else name
                if files.setdefault(name, content) != content:
                    raise ValueError("`{}` and `{}` have different files `{}`: functions that are fused share one "
                                     "folder".format(owners.get(name, "squall"), step["name"], name))
                owners.setdefault(name, step["name"])
    return _packed(files)


def _cloudpickle():
    try:
        import cloudpickle
    except ImportError:
        raise ImportError("registering a function needs cloudpickle: pip install 'squall[client]'") from None
    return cloudpickle


def _handler(name, source):
    """The files of a handler and of what it imports."""
    here = pathlib.Path(__file__).parent
    files = {name: (here / source).read_bytes(), "squall_arguments.py": (here / "client_arguments.py").read_bytes()}
    files.update(_folder(pathlib.Path(_cloudpickle().__file__).parent))
    return files


def _packed(files):
    data = _zip(files)
    return base64.b64encode(data).decode(), base64.b64encode(hashlib.sha256(data).digest()).decode()


@contextlib.contextmanager
def _by_value(cloudpickle, function):
    """A module of the user's own does not exist where the function runs: what the function uses of it goes along."""
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    path = getattr(module, "__file__", None)
    installed = [sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    if not path or module.__name__ == "__main__" or any(path.startswith(folder + os.sep) for folder in installed):
        yield
        return
    cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        cloudpickle.unregister_pickle_by_value(module)


def _folder(folder):
    """The files of a package, under its own name."""
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            files[os.path.join(folder.name, str(path.relative_to(folder)))] = path.read_bytes()
    return files


def _zip(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(files.items()):
            # The same code is the same package, whenever it is made.
            info = zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0))
            info.external_attr = 0o100644 << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return buffer.getvalue()
