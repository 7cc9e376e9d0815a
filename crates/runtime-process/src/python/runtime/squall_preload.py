"""Imports, ahead of any fork, the packages that a handler will import, and none of the function's own modules.

Used by `squall_zygote`. The function's modules are parsed, never run. Their imports are followed through the
function's own modules; what is in the standard library, in site-packages, or vendored beside the handler
(listed by a `*.dist-info`) is imported.
"""

import ast
import importlib
import os
import sys

# Importing these does something that a program would notice.
_NOT_FOR_PRELOAD = {"__main__", "antigravity", "this"}


class OwnModules:
    """Stands first among the finders while packages are imported, and keeps the function's own modules out."""

    def __init__(self, names):
        self.names = names
        self.touched = None

    def find_spec(self, name, path=None, target=None):
        if path is None and name in self.names:
            self.touched = name
            raise ModuleNotFoundError("`{}` is the function's own".format(name), name=name)
        return None


def preload(task_root, handler):
    """Imports what it can. Returns the name of an own module that a package wanted, which spoils the preloading."""
    vendored = _vendored(task_root)
    own = _top_level(task_root) - vendored
    wanted = _wanted(task_root, handler.rpartition(".")[0].replace("/", "."), own)
    guard = OwnModules(own)
    sys.meta_path.insert(0, guard)
    try:
        for name in wanted:
            if name.partition(".")[0] not in _NOT_FOR_PRELOAD:
                _try_import(name)
    finally:
        sys.meta_path.remove(guard)
    return guard.touched


def _try_import(name):
    try:
        importlib.import_module(name)
    except BaseException:
        # The instance imports it again and says what is wrong, in the function's own log.
        pass


def _top_level(task_root):
    names = set()
    for entry in os.scandir(task_root):
        stem, _, rest = entry.name.partition(".")
        if entry.is_dir() or rest == "py" or rest.endswith("so") or rest == "pyc":
            names.add(stem if not entry.is_dir() else entry.name)
    return names


def _vendored(task_root):
    names = set()
    for entry in os.scandir(task_root):
        if entry.name.endswith(".dist-info") and entry.is_dir():
            for line in _lines(os.path.join(entry.path, "top_level.txt")):
                names.add(line.strip())
            for line in _lines(os.path.join(entry.path, "RECORD")):
                first = line.partition(",")[0].partition("/")[0]
                names.add(first.partition(".")[0])
    names.discard("")
    return names


def _lines(path):
    try:
        with open(path, encoding="utf-8") as file:
            return file.readlines()
    except (OSError, UnicodeDecodeError):
        return []


def _wanted(task_root, module, own):
    """Names to import, in the order in which the handler would."""
    wanted, seen, queue = {}, set(), [module]
    while queue:
        name = queue.pop()
        if name in seen:
            continue
        seen.add(name)
        path, package = _source(task_root, name)
        for found in _imports(path, package):
            if found.partition(".")[0] in own:
                parts = found.split(".")
                queue.extend(".".join(parts[:n]) for n in range(len(parts), 0, -1))
            else:
                wanted.setdefault(found)
    return wanted


def _source(task_root, name):
    base = os.path.join(task_root, *name.split("."))
    init = os.path.join(base, "__init__.py")
    if os.path.isfile(init):
        return init, name
    return base + ".py", name.rpartition(".")[0]


def _imports(path, package):
    try:
        with open(path, "rb") as file:
            tree = ast.parse(file.read())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return
    for node in _at_import_time(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, package)
            if base:
                yield base
                for alias in node.names:
                    if alias.name != "*":
                        yield base + "." + alias.name


def _absolute(node, package):
    if not node.level:
        return node.module
    parts = package.split(".") if package else []
    parts = parts[: len(parts) - node.level + 1]
    if node.module:
        parts.append(node.module)
    return ".".join(parts)


def _at_import_time(node):
    """Import statements that run when the module is imported: not those inside functions or `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.Import, ast.ImportFrom)):
            yield child
        elif isinstance(child, (ast.If, ast.Try, ast.With, ast.ClassDef, ast.ExceptHandler, ast.For, ast.While)):
            if not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)):
                yield from _at_import_time(child)
