"""CUDA graphs: what is captured in one runs again at each replay, past Python, with no hook.

Seen in torch 2.13: `torch.cuda.graph`, `make_graphed_callables` and the graphs of `torch.compile`
all capture and replay through methods of `torch.cuda.CUDAGraph`; beside it there is
`torch.accelerator.Graph`. While one is captured nothing is measured, for what we asked for
would be in the graph. What the captured calls were is kept, and done again at each replay: the
order of calls, their number and the threshold of a clip stay true. Norms in a graph are not known.
"""

from __future__ import annotations

import functools
import time
import weakref
from typing import TYPE_CHECKING, Any

import torch

from gradaudit_recorder import forwards, output, state, steps, stop
from gradaudit_recorder.described import called
from gradaudit_recorder.listen import capture_listener, listener, replace

if TYPE_CHECKING:
    from collections.abc import Callable

    from gradaudit_recorder.state import Watched

BLIND = (
    "the optimizer's steps are replayed in a CUDA graph, which no Python sees: run the command "
    "without capturing `optimizer.step()`"
)


class _Graphs:
    """now: the graph that is being captured. acts: by graph, what each of its replays does."""

    def __init__(self) -> None:
        self.now: Any = None
        self.acts: weakref.WeakKeyDictionary[Any, list[Callable[[], None]]]
        self.acts = weakref.WeakKeyDictionary()


_graphs = _Graphs()


def wrap() -> None:
    """The methods of both classes, as far as this torch has them."""
    for owner in (
        getattr(torch.cuda, "CUDAGraph", None),
        getattr(getattr(torch, "accelerator", None), "Graph", None),
    ):
        if all(hasattr(owner, name) for name in ("capture_begin", "capture_end", "replay")):
            replace(owner, "capture_begin", _make_begin)
            replace(owner, "capture_end", _make_end)
            replace(owner, "replay", _make_replay)


def _make_begin(original: Any) -> Any:
    def capture_begin(self: Any, *words: Any, **named: Any) -> Any:
        result = original(self, *words, **named)
        _graphs.now = self
        _graphs.acts.pop(self, None)
        return result

    return capture_begin


def _make_end(original: Any) -> Any:
    def capture_end(self: Any, *words: Any, **named: Any) -> Any:
        _graphs.now = None
        result = original(self, *words, **named)
        if self in _graphs.acts:
            _capture_ended()
        return result

    return capture_end


def _make_replay(original: Any) -> Any:
    def replay(self: Any, *words: Any, **named: Any) -> Any:
        result = original(self, *words, **named)
        if self in _graphs.acts:
            _replayed(self)
        return result

    return replay


def at_each_replay(act: Callable[[], None]) -> bool:
    """What the call that is captured now means for the record, each time that it runs. False where
    that is not seen."""
    if _graphs.now is not None:
        _graphs.acts.setdefault(_graphs.now, []).append(act)
        return True
    output.note(
        "cuda_graph",
        "a CUDA graph is captured by other means than torch's classes: its replays are not seen, "
        "nor the calls in it",
        about="other",
    )
    return False


@capture_listener
def step_captured(optimizer: Any) -> None:
    """Its replays do not come through Python: none of its steps is seen from here on."""
    watched = state.current.watch(optimizer)
    at_each_replay(functools.partial(_step_replayed, watched))
    if watched.blind:
        return
    watched.blind = True
    output.note(
        "cuda_graph",
        f"the steps of {called(optimizer, watched)} are replayed in a CUDA graph, which no Python "
        "sees: none of them has a line. Without capturing its `step()` they would have",
        about=str(id(watched)),
    )
    output.flush()
    if _graphs.now is None and _all_are_blind():  # no end of the capture is seen
        output.tell("blind", BLIND)


def _all_are_blind() -> bool:
    known = list(state.current.optimizers.values())
    return bool(known) and all(watched.blind for watched in known)


@listener
def _capture_ended() -> None:
    if _all_are_blind():
        _end()


@listener
def _replayed(graph: Any) -> None:
    now = state.current
    before = now.stepped
    if now.stepped_since:
        forwards.forget()  # what it replays is not of the forward before
    for act in _graphs.acts[graph]:
        act()
    if now.stepped == before:
        return
    seen = [watched for watched in now.optimizers.values() if watched.step and not watched.blind]
    most = now.most_steps()
    if not seen and most >= now.skip_steps + now.steps_asked:
        _end()  # another optimizer is there, and has not stepped in all this time
    stop.end_where_due()


def _end() -> None:
    """Nothing else is recorded: the run would go on unseen. What was seen before is written."""
    steps.flush()
    output.tell("blind", BLIND)


def _step_replayed(watched: Watched) -> None:
    now = state.current
    now.stepped += 1
    watched.step += 1
    watched.last_of_all = now.stepped
    watched.replayed += 1
    watched.replayed_at = time.perf_counter()
    watched.replayed_from = watched.replayed_from or watched.replayed_at
    watched.look = None  # more than one step lies between
    steps.begin_next(watched)
