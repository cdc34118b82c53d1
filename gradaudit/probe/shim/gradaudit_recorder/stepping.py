"""An optimizer's step, as the hooks that torch offers tell of it."""

from __future__ import annotations

import functools
import weakref
from typing import Any

from gradaudit_recorder import engines, graphs, state, steps
from gradaudit_recorder.listen import STEP, captured, hidden_by_fullgraph, listener
from gradaudit_recorder.state import Pieces


def before_step(optimizer: Any, args: Any, kwargs: Any) -> Any:
    if captured():
        graphs.step_captured(optimizer)
        return None
    return None if _step_is_hidden(optimizer) else _step_begins(optimizer, args, kwargs)


def after_step(optimizer: Any, args: Any, kwargs: Any) -> None:
    if not _step_is_hidden(optimizer):
        _step_ends(optimizer)


def _step_is_hidden(optimizer: Any) -> bool:
    """Torch's own optimizers leave the graph by themselves: no program has them in one graph."""
    own = not type(optimizer).__module__.startswith("torch.optim")
    if own and hidden_by_fullgraph(STEP):
        return True
    return engines.is_other_piece(optimizer)


@listener
def _step_begins(optimizer: Any, args: Any, kwargs: Any) -> Any:
    now = state.current
    if now.stepping and (now.stepping[0]() is None or now.stepping[0]() is optimizer):
        # A step raised, and was caught: of this one, or of one that is gone (a loop that begins
        # anew with a smaller batch after memory ran out).
        now.stepping.clear()
    now.stepping.append(weakref.ref(optimizer))
    if len(now.stepping) > 1:  # an optimizer inside of another: the outer one is recorded
        return None
    watched = now.watch(optimizer)
    if watched.pieces is not None:
        steps.measure_piece(optimizer, watched)
        return None
    place = 1 if len(args) > 1 and callable(args[1]) else None
    closure = args[1] if place else kwargs.get("closure")
    if closure is None:
        steps.measure(optimizer, watched)
        return None

    @functools.wraps(closure)
    def counted(*words: Any, **named: Any) -> Any:
        now = state.current
        now.closures += 1
        try:
            result = closure(*words, **named)
        finally:
            now.closures -= 1
        _closure_ran(optimizer)
        return result

    if place:
        return (args[0], counted, *args[2:]), kwargs
    return args, {**kwargs, "closure": counted}


@listener
def _closure_ran(optimizer: Any) -> None:
    watched = state.current.watch(optimizer)
    watched.closure_calls += 1
    steps.measure(optimizer, watched)


@listener
def _step_ends(optimizer: Any) -> None:
    now = state.current
    if now.stepping:
        now.stepping.pop()
    if now.stepping:
        return
    watched = now.watch(optimizer)
    if watched.pieces is None:
        steps.record(optimizer, watched, skipped=False)
    else:
        steps.piece_done(optimizer, watched)


@listener
def pieces_begin(optimizer: Any) -> None:
    watched = state.current.watch(optimizer)
    watched.pieces = Pieces()
    watched.measured = watched.weights = None  # of a step that raised, and was caught
    watched.held = set()


@listener
def pieces_end(optimizer: Any) -> None:
    """Nothing was stepped where the wrapper found inf or nan."""
    watched = state.current.watch(optimizer)
    if watched.pieces is not None and watched.pieces.groups:
        steps.record(optimizer, watched, skipped=False)
    watched.pieces = None
