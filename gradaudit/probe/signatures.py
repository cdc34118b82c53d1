"""What a script hands over, held against how it will be called and read: before anything runs."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable
from math import isfinite
from numbers import Real
from typing import TYPE_CHECKING, Any

from gradaudit.probe.blame import own_frames
from gradaudit.probe.protocol import DryRunError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gradaudit.probe.protocol import Training

CALLS = {"losses": ("model", "batch"), "total": ("model", "batch"), "move": ("batch", "device")}
"""What each function of a `Training` is called with."""


def check_fields(training: Training, entry: str) -> None:
    """Raises: DryRunError for the first field that cannot be what the protocol asks for. `primary`
    is a list of names after it."""
    for name in CALLS:
        function = getattr(training, name)
        if function is None and name != "losses":
            continue
        if not callable(function):
            takes = ", ".join(CALLS[name])
            what = "" if name == "losses" else f" but a {type(function).__name__}"
            raise DryRunError(f"{entry}: `{name}` is not a function of ({takes}){what}")
        wrong = _misfit(name, function)
        if wrong:
            raise DryRunError(f"{entry}: {wrong}")
    training.primary = _names(training.primary, entry)
    per_epoch = training.steps_per_epoch
    if per_epoch is not None and not _is_count(per_epoch):
        raise DryRunError(
            f"{entry}: `steps_per_epoch` is {per_epoch!r}: it takes a number above 0, the "
            "optimiser steps of an epoch"
        )


def call(name: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call one of the script's functions.

    Raises: DryRunError where the call itself is refused, which leaves no line of the script's: a
        function written in C tells its arguments only so.
    """
    try:
        return function(*arguments)
    except TypeError as error:
        if own_frames(error) or not _is_of_the_call(error):
            raise
        takes = ", ".join(CALLS[name])
        raise DryRunError(f"`{name}` cannot be called as {name}({takes}): {error}") from error


def _is_of_the_call(error: TypeError) -> bool:
    """Whether no function was entered but gradaudit's own wrappers: this file, and autocast's."""
    here = os.path.dirname(os.path.abspath(__file__))
    place = error.__traceback__
    while place is not None:
        file = place.tb_frame.f_code.co_filename
        if os.path.dirname(file) != here:
            return False
        place = place.tb_next
    return True


def _misfit(name: str, function: Callable[..., Any]) -> str:
    """Why a function cannot be called as it will be; empty where it can, or where that is not
    known."""
    import torch

    called = function.forward if isinstance(function, torch.nn.Module) else function
    try:
        takes = inspect.signature(called)
    except (TypeError, ValueError):  # of C: it does not tell
        return ""
    try:
        takes.bind(*CALLS[name])
    except TypeError as error:
        own = ", ".join(str(_bare(one)) for one in takes.parameters.values())
        return (
            f"`{name}` is called as {name}({', '.join(CALLS[name])}), and yours takes ({own}): "
            f"{error}{_where(called)}"
        )
    return ""


def _bare(parameter: inspect.Parameter) -> inspect.Parameter:
    empty = inspect.Parameter.empty
    return parameter.replace(annotation=empty, default=empty)


def _where(function: Any) -> str:
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None:
        return ""
    return f" ({os.path.relpath(code.co_filename)}:{code.co_firstlineno})"


def _names(primary: Any, entry: str) -> list[str]:
    """Raises: DryRunError where it is not the names of terms."""
    if primary is None:
        return []
    if isinstance(primary, str):  # one name, not its letters
        return [primary]
    names = list(primary) if isinstance(primary, Iterable) else [primary]
    wrong = [name for name in names if not isinstance(name, str)]
    if wrong:
        raise DryRunError(
            f"{entry}: `primary` holds {wrong[0]!r}: it takes the names of the terms that are the "
            "task, as in primary=['mse']"
        )
    return names


def _is_count(value: Any) -> bool:
    return (
        isinstance(value, Real)
        and not isinstance(value, bool)
        and isfinite(value)
        and float(value) > 0
    )
