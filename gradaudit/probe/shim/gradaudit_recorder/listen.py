"""What every place where torch is listened to shares: the guard, and replacing a method."""

from __future__ import annotations

import contextlib
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
    return _guarded(function, in_capture=False)


def capture_listener(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same of what is called while a CUDA graph is captured, and only then. It must ask nothing
    of a device."""
    return _guarded(function, in_capture=True)


def _guarded(function: Callable[..., Any], *, in_capture: bool) -> Callable[..., Any]:
    @functools.wraps(function)
    def guarded(*words: Any, **named: Any) -> Any:
        now = state.current
        if not now.recording() or captured() is not in_capture:
            return None
        began = time.perf_counter()
        try:
            return function(*words, **named)
        except Exception as error:
            now.active = False
            _say(_fault(function.__name__, error))
            return None
        finally:
            now.seconds += time.perf_counter() - began

    # torch's own optimizers use this; torch.compiler.disable would import the compiler now.
    disable = getattr(torch, "_disable_dynamo", None) or torch.compiler.disable
    return disable(guarded)  # type: ignore[no-any-return]


def _fault(where: str, error: Exception) -> str:
    if isinstance(error, OSError):  # a full disk, a directory that was removed
        return f"the record cannot be written any more: {error}"
    return f"the recorder failed in {where} and stopped listening: {error!r}; please report it"


def _say(fault: str) -> None:
    """Wherever it can be said. What the fault is may keep it from being written: a full disk."""
    with contextlib.suppress(Exception):
        sys.stderr.write(f"gradaudit: {fault}\n")
    with contextlib.suppress(Exception):
        output.note("recorder", fault)
        output.flush()
    output.tell("failed", fault)


def captured() -> bool:
    """Whether what is called now goes into a CUDA graph. What we ask for would be in it, and to
    read a tensor ends the capture with an error in the program."""
    if torch.compiler.is_compiling():  # to ask CUDA would break the program's graph
        return False
    return bool(torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing())


def replace(owner: Any, name: str, make: Callable[[Any], Any]) -> None:
    original = getattr(owner, name)
    setattr(owner, name, functools.wraps(original)(make(original)))


STEP = "the step of an optimizer"


def hidden_by_fullgraph(call: str) -> bool:
    """Whether this call of the program is in a region that it compiles as one graph: there a call
    of ours would be an error."""
    return torch.compiler.is_compiling() and _is_hidden(call)


def _is_hidden(call: str) -> bool:
    """The compiler calls it once while it traces, and takes the result for a constant."""
    hidden = _must_be_one_graph()
    if hidden and state.current.recording():
        state.current.hidden.add(call)
        text = (
            f"{call} is compiled into one graph (fullgraph), which may not be left: it is not seen"
        )
        output.note("fullgraph", text, about=call)
        if call == STEP:
            output.tell("hidden", text)
    return hidden


def _must_be_one_graph() -> bool:
    """Whether what is traced now may not be left: `fullgraph=True`, `torch.export`, or
    `torch._dynamo.error_on_graph_break(True)`."""
    if "torch._dynamo.symbolic_convert" not in sys.modules:
        return True  # another tracer, whose graphs have no breaks
    try:
        from torch._dynamo.symbolic_convert import InstructionTranslator

        tracer = InstructionTranslator.current_tx()
        return bool(tracer.one_graph or getattr(tracer, "error_on_graph_break", False))
    except (AttributeError, ImportError):  # none is at work, or another torch: out of the way
        return True


# As torch._dynamo.assume_constant_result does, which would import the compiler now.
_is_hidden._dynamo_marked_constant = True  # type: ignore[attr-defined]
