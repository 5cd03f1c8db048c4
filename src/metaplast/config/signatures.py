"""The arguments of a function or a class, read from its source file: nothing is imported, so nothing takes time."""

import ast
import importlib.util
import sys
from pathlib import Path

Parameters = dict[str, str | None]
"""By name, the default as it is written in the source; None where there is no default."""


def parameters(target: str, depth: int = 8) -> Parameters | None:
    """Return what may be passed to `target`, a dotted path, by keyword.

    None where the source does not tell: no Python file, a decorated function, `**kwargs`, or more than `depth`
    re-exports and base classes on the way.

    >>> parameters("fnmatch.translate"), parameters("math.dist"), parameters("no_such_module.f")
    ({'pat': None}, None, None)
    """
    module, _, name = target.rpartition(".")
    path = _file_of(module)
    if path is None or depth == 0:
        return None
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, UnicodeDecodeError, ValueError):
        return None
    for node in reversed(tree.body):
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return None if node.decorator_list else _arguments(node.args, skip=0)
        if isinstance(node, ast.ClassDef) and node.name == name:
            return _of_class(node, module, depth)
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return parameters(f"{_origin(node, module, path)}.{alias.name}", depth - 1)
    return None


def _of_class(node: ast.ClassDef, module: str, depth: int) -> Parameters | None:
    if node.decorator_list or node.keywords:  # a dataclass, or a metaclass, which may do anything
        return None
    methods = {method.name: method for method in node.body if isinstance(method, ast.FunctionDef)}
    if "__new__" in methods:
        return None
    if "__init__" in methods:
        init = methods["__init__"]
        return None if init.decorator_list else _arguments(init.args, skip=1)
    if len(node.bases) == 1 and isinstance(node.bases[0], ast.Name):
        return parameters(f"{module}.{node.bases[0].id}", depth - 1)
    return None


def _arguments(args: ast.arguments, skip: int) -> Parameters | None:
    if args.kwarg is not None:
        return None
    positional = [*args.posonlyargs, *args.args]
    without = len(positional) - len(args.defaults)
    found: Parameters = {
        arg.arg: ast.unparse(args.defaults[i - without]) if i >= without else None
        for i, arg in enumerate(positional)
        if i >= max(skip, len(args.posonlyargs))
    }
    for arg, default in zip(args.kwonlyargs, args.kw_defaults, strict=True):
        found[arg.arg] = None if default is None else ast.unparse(default)
    return found


def _origin(node: ast.ImportFrom, module: str, path: Path) -> str:
    """Return the absolute name of the module that `node`, in `module`, imports from."""
    if not node.level:
        return node.module or ""
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    base = package[: len(package) - node.level + 1]
    return ".".join([*base, *([node.module] if node.module else [])])


def _file_of(module: str) -> Path | None:
    first, *rest = module.split(".")
    if not first or (first in sys.modules and getattr(sys.modules[first], "__spec__", None) is None):
        return None
    try:
        spec = importlib.util.find_spec(first)  # of a top-level name, which imports nothing
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if not rest:
        return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None
    for location in spec.submodule_search_locations or ():
        base = Path(location, *rest)
        for candidate in (base / "__init__.py", base.with_suffix(".py")):
            if candidate.is_file():
                return candidate
    return None
