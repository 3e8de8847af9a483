"""Import an app by its name, as servers do."""

from __future__ import annotations

import ast
import importlib
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .findings import Finding

if TYPE_CHECKING:
    from types import ModuleType, TracebackType

__all__ = ["NotLoadedError", "load", "not_loaded", "python_path_has_here", "shown"]


class NotLoadedError(Exception):
    """There is no app with this name. The message gives the reason."""


def load(name: str) -> tuple[ModuleType, Any]:
    """Import an app.

    Args:
        name: `module:app`, `module:factory()`, or `module` for its `application`.

    Returns:
        The module, and the app.

    Raises:
        NotLoadedError: The module has no such app.
        BaseException: The module raised it.
    """
    module_name, _, text = name.partition(":")
    expression = _parse(text or "application")
    if not module_name or module_name.startswith("."):
        raise NotLoadedError(f"{name!r} names no module")
    module = importlib.import_module(module_name)
    app = _evaluate(expression, module, text or "application")
    if not callable(app):
        raise NotLoadedError(f"{name} is {app!r}, which cannot be called")
    return module, app


def _parse(text: str) -> ast.expr:
    try:
        return ast.parse(text, mode="eval").body
    except SyntaxError:
        raise NotLoadedError(f"{text!r} is neither a name nor a call of one") from None


def _evaluate(expression: ast.expr, module: ModuleType, text: str) -> Any:
    """The value of a name, an attribute, or a call of one with literals."""
    if isinstance(expression, ast.Name):
        if not hasattr(module, expression.id):
            raise NotLoadedError(f"the module {module.__name__} has no {expression.id!r}")
        return getattr(module, expression.id)
    if isinstance(expression, ast.Attribute):
        return getattr(_evaluate(expression.value, module, text), expression.attr)
    if isinstance(expression, ast.Call):
        function = _evaluate(expression.func, module, text)
        args, kwargs = _arguments(expression, text)
        return function(*args, **kwargs)
    raise NotLoadedError(f"{text!r} is neither a name nor a call of one")


def _arguments(call: ast.Call, text: str) -> tuple[list[Any], dict[str, Any]]:
    try:
        args = [ast.literal_eval(each) for each in call.args]
        return args, {str(each.arg): ast.literal_eval(each.value) for each in call.keywords}
    except ValueError:
        raise NotLoadedError(f"the arguments in {text!r} are not all literals") from None


def not_loaded(name: str, error: BaseException) -> Finding:
    """The finding for an app that could not be imported."""
    remedy = "Start the doctor as your server is started: in its folder, with its environment."
    if isinstance(error, NotLoadedError):
        reason, remedy = str(error), "Name the app as `module:app` or `module:factory()`."
    elif isinstance(error, SystemExit):
        reason = f"it exits with {error.code!r}"
    else:
        reason = traceback.format_exception_only(error)[-1].strip()
    return Finding(
        code="not-imported",
        severity="error",
        state=f"{name} cannot be imported: {reason.rstrip('.')}.",
        remedy=remedy,
        page="docs/doctor.md#name-the-app",
        where=_where(error),
    )


def _where(error: BaseException) -> str | None:
    """The line of the app's own code that raised the error."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{shown(error.filename)}:{error.lineno}"
    return _innermost(error.__traceback__)


def _innermost(trace: TracebackType | None) -> str | None:
    found = [
        f"{shown(frame.filename)}:{frame.lineno}"
        for frame in traceback.extract_tb(trace)
        if Path(frame.filename).is_relative_to(Path.cwd()) and "site-packages" not in frame.filename
    ]
    return found[-1] if found and not found[-1].startswith(shown(__file__)) else None


def shown(filename: str) -> str:
    """A file's path for the report: relative to the current folder, if the file is below it."""
    path = Path(filename)
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def python_path_has_here() -> None:
    """Put the current folder on the import path, as servers do."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
