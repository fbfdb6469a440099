"""Values of the command line, read without pydantic.

typer (0.29 does) turns each argument into its type with pydantic, whose import takes as long as
a quarter of a search. Our types are few, so each parameter is given a reader of our own; a typer
that has no place for one reads values itself, with the same outcome.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_origin

import typer


def read_plainly(parameters: Iterable[Any]) -> None:
    """Give the parameters of a command a reader of their own, where typer has room for one."""
    for parameter in parameters:
        descriptor = getattr(parameter, "type_descriptor", None)
        if descriptor is None or getattr(parameter, "_runtime_param", 0) is not None:
            continue
        kind = descriptor.annotation
        is_list = get_origin(kind) is list
        one = get_args(kind)[0] if is_list else kind
        if isinstance(one, type) and issubclass(one, str | int | float | Path | Enum):
            info = descriptor.parameter_info
            parameter._runtime_param = _Reader(one, is_list, info.min, info.max)


class _Reader:
    """What typer asks for the value of one parameter."""

    def __init__(self, kind: type, is_list: bool, least: float | None, most: float | None) -> None:
        self._kind, self._is_list = kind, is_list
        self._least, self._most = least, most

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return a value of the command line, or a default, in its type."""
        if self._is_list or param.multiple or param.nargs == -1:
            return [self._one(item, param, ctx) for item in value or ()]
        return None if value is None else self._one(value, param, ctx)

    def _one(self, value: Any, param: Any, ctx: Any) -> Any:
        read: Any = value
        if not isinstance(value, self._kind):
            try:
                read = self._kind(value)
            except ValueError as error:
                raise typer.BadParameter(self._wanted(value), ctx=ctx, param=param) from error
        if self._least is not None and read < self._least:
            raise typer.BadParameter(f"{value!r} is below {self._least}.", ctx=ctx, param=param)
        if self._most is not None and read > self._most:
            raise typer.BadParameter(f"{value!r} is above {self._most}.", ctx=ctx, param=param)
        return read

    def _wanted(self, value: Any) -> str:
        if issubclass(self._kind, Enum):
            choices = ", ".join(repr(str(choice.value)) for choice in self._kind)
            return f"{value!r} is not one of {choices}."
        name = {int: "a whole number", float: "a number"}.get(self._kind, self._kind.__name__)
        return f"{value!r} is not {name}."
