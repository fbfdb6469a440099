"""Docstrings of one Python module, from its source or from the interpreter."""

from __future__ import annotations

import ast
import importlib
import inspect
import logging
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

log = logging.getLogger(__name__)

#: The longest signature in a title, in characters.
_SIGNATURE = 160
_Function = ast.FunctionDef | ast.AsyncFunctionDef


def from_source(path: Path, module: str, package: str, file: str) -> Iterator[dict[str, Any]]:
    """Yield one record for each documented public name that a source file defines.

    The file is parsed, never run. One that does not parse gives nothing.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(path.read_bytes(), str(path))
    except (SyntaxError, ValueError, RecursionError, OSError) as error:
        log.info("%s is left out: %s", path, error)
        return
    place = {"package": package, "module": module, "file": file}
    if text := _clean(tree):
        yield _record(module, module, text, kind="module", line=1, **place)
    yield from _definitions(tree.body, module, "function", place)
    if package == "stdlib":
        for source, name, shown in _borrowed(tree.body):
            yield from _members_of(source, name, shown, module, package)


def from_extension(module: str, package: str) -> Iterator[dict[str, Any]]:
    """Yield one record for each documented public name of a module that has no source.

    The module is imported, so it must be one of the standard library.
    """
    found = _imported(module)
    if found is None:
        return
    if text := _text(found):
        place = {"package": package, "module": module, "kind": "module"}
        yield _record(module, module, text, **place)
    yield from _members_of(module, "*", "*", module, package)


def _imported(module: str) -> ModuleType | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(module)
    except ImportError as error:
        log.info("module %s is left out: %s", module, error)
        return None


def _borrowed(body: list[ast.stmt]) -> Iterator[tuple[str, str, str]]:
    """Yield (private module, name there, name here) for what a public module takes from it.

    `from _struct import *` is how the standard library shows what is written in C.
    """
    for node in body:
        if isinstance(node, ast.If | ast.Try):
            for branch in _branches(node):
                yield from _borrowed(branch)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            source = node.module or ""
            if source.startswith("_") and source in sys.stdlib_module_names:
                yield from ((source, each.name, each.asname or each.name) for each in node.names)


def _members_of(
    source: str, name: str, shown: str, module: str, package: str
) -> Iterator[dict[str, Any]]:
    found = _imported(source)
    if found is None:
        return
    names = sorted(vars(found)) if name == "*" else [name]
    for each in names:
        thing = getattr(found, each, None)
        public = each if name == "*" else shown
        if not public.startswith("_") and callable(thing):
            yield from _members(thing, public, module, package)


def _definitions(
    body: list[ast.stmt], owner: str, kind: str, place: dict[str, str]
) -> Iterator[dict[str, Any]]:
    for node in body:
        if isinstance(node, ast.If | ast.Try):
            # Definitions under a condition (platform, version) are documented all the same.
            for branch in _branches(node):
                yield from _definitions(branch, owner, kind, place)
        elif isinstance(node, _Function | ast.ClassDef) and not node.name.startswith("_"):
            name = f"{owner}.{node.name}"
            text = _clean(node)
            if isinstance(node, ast.ClassDef):
                if text:
                    title = f"class {name}{_class_signature(node)}"
                    yield _record(name, title, text, kind="class", line=node.lineno, **place)
                yield from _definitions(node.body, name, "method", place)
            elif text:
                bound = kind == "method" and not _is_static(node)
                title = name + _signature(node.args, skip_first=bound)
                yield _record(name, title, text, kind=kind, line=node.lineno, **place)


def _branches(node: ast.If | ast.Try) -> list[list[ast.stmt]]:
    if isinstance(node, ast.If):
        return [node.body, node.orelse]
    handlers = [handler.body for handler in node.handlers]
    return [node.body, node.orelse, *handlers, node.finalbody]


def _clean(node: ast.Module | ast.ClassDef | _Function) -> str:
    return (ast.get_docstring(node, clean=True) or "").strip()


def _is_static(node: _Function) -> bool:
    return any(
        isinstance(decorator, ast.Name) and decorator.id == "staticmethod"
        for decorator in node.decorator_list
    )


def _class_signature(node: ast.ClassDef) -> str:
    for child in node.body:
        if isinstance(child, ast.FunctionDef) and child.name == "__init__":
            return _signature(child.args, skip_first=True)
    return ""


def _signature(arguments: ast.arguments, *, skip_first: bool) -> str:
    """Return the parameters as a reader writes them: with defaults, without annotations."""
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults))
    shown = [
        _parameter(argument.arg, default)
        for argument, default in zip(positional, [*defaults, *arguments.defaults], strict=True)
    ]
    if arguments.posonlyargs:
        shown.insert(len(arguments.posonlyargs), "/")
    if skip_first and shown:
        shown = shown[1:] if shown[1:2] != ["/"] else shown[2:]
    if arguments.vararg is not None:
        shown.append(f"*{arguments.vararg.arg}")
    elif arguments.kwonlyargs:
        shown.append("*")
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        shown.append(_parameter(argument.arg, default))
    if arguments.kwarg is not None:
        shown.append(f"**{arguments.kwarg.arg}")
    return _shortened(f"({', '.join(shown)})")


def _parameter(name: str, default: ast.expr | None) -> str:
    return name if default is None else f"{name}={ast.unparse(default)}"


def _shortened(signature: str) -> str:
    if len(signature) <= _SIGNATURE:
        return signature
    cut = signature.rfind(", ", 0, _SIGNATURE)
    return signature[: cut if cut > 0 else _SIGNATURE] + ", …)"


def _members(thing: Any, name: str, module: str, package: str) -> Iterator[dict[str, Any]]:
    full = f"{module}.{name}"
    place = {"package": package, "module": module}
    is_class = isinstance(thing, type)
    if text := _text(thing):
        title = f"class {full}" if is_class else full
        kind = "class" if is_class else "function"
        yield _record(full, title + _live_signature(thing), text, kind=kind, **place)
    if not is_class:
        return
    for member in sorted(vars(thing)):
        method = getattr(thing, member, None)
        if member.startswith("_") or isinstance(method, type) or not (text := _text(method)):
            continue
        # A plain attribute shows the docstring of its type; that says nothing about it.
        if _text(type(method)) != text:
            title = f"{full}.{member}{_live_signature(method)}"
            yield _record(f"{full}.{member}", title, text, kind="method", **place)


def _text(thing: Any) -> str:
    text = getattr(thing, "__doc__", None)
    return inspect.cleandoc(text).strip() if isinstance(text, str) else ""


def _live_signature(thing: Any) -> str:
    if not callable(thing):
        return ""
    try:
        parameters = list(inspect.signature(thing).parameters.values())
    except (ValueError, TypeError, AttributeError, NameError):
        return ""  # the text of a signature in C need not be one that Python can read
    if parameters and parameters[0].name == "self":
        parameters = parameters[1:]
    bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in parameters]
    return _shortened(str(inspect.Signature(bare)))


def _record(identity: str, title: str, text: str, **fields: Any) -> dict[str, Any]:
    return {"_id": identity, "title": title, "text": text, **fields}
