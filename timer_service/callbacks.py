"""Dotted paths of functions to call when a session closes: checked here, called by RQ."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from timer_service.errors import InvalidInput

Callback = Callable[[dict[str, Any]], object]


def load_callback(path: str) -> Callback:
    """Import ``package.module.function`` (or ``package.module:function``).

    Raises:
        InvalidInput: there is no such function on this process's import path.
    """
    module_name, _, name = path.replace(":", ".").rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise InvalidInput(
            f"no function at {path!r}: expected package.module.function, importable here and by "
            "the workers",
            field="path",
        ) from error
    if not callable(found):
        raise InvalidInput(f"{path!r} is not a function", field="path")
    callback: Callback = found
    return callback
