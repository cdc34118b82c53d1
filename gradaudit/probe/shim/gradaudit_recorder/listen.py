"""What every place where torch is listened to shares: the guard, and replacing a method."""

from __future__ import annotations

import functools
import sys
import time
from typing import TYPE_CHECKING, Any

import torch

from gradaudit_recorder import output, state

if TYPE_CHECKING:
    from collections.abc import Callable


def listener(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of ours that torch calls: timed, never compiled; its faults end only itself."""

    @functools.wraps(function)
    def guarded(*words: Any, **named: Any) -> Any:
        now = state.current
        if not now.recording() or captured():
            return None
        began = time.perf_counter()
        try:
            return function(*words, **named)
        except Exception as error:
            now.active = False
            fault = f"the recorder failed in {function.__name__} and stopped listening: {error!r}"
            sys.stderr.write(f"gradaudit: {fault}; the training goes on\n")
            output.note("recorder", fault)
            output.flush()
            output.tell("failed", fault)
            return None
        finally:
            now.seconds += time.perf_counter() - began

    # torch's own optimizers use this; torch.compiler.disable would import the compiler now.
    disable = getattr(torch, "_disable_dynamo", None) or torch.compiler.disable
    return disable(guarded)  # type: ignore[no-any-return]


def captured() -> bool:
    """Whether what is called now goes into a CUDA graph. What we ask for would be in it, and to
    read a tensor ends the capture with an error in the program."""
    if torch.compiler.is_compiling():  # to ask CUDA would break the program's graph
        return False
    return bool(torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing())


def replace(owner: Any, name: str, make: Callable[[Any], Any]) -> None:
    original = getattr(owner, name)
    setattr(owner, name, functools.wraps(original)(make(original)))


def hidden_by_fullgraph() -> bool:
    """In a region that the program compiles as one graph, a call of ours would be an error."""
    return _fullgraph.used and torch.compiler.is_compiling()


class _Fullgraph:
    used = False


_fullgraph = _Fullgraph()


def wrap_compile() -> None:
    def make(original: Any) -> Any:
        def compile(*words: Any, **named: Any) -> Any:
            if named.get("fullgraph"):
                _fullgraph.used = True
            return original(*words, **named)

        return compile

    replace(torch, "compile", make)
