"""Where the steps of learning-rate schedulers are seen."""

from __future__ import annotations

from typing import Any

from gradaudit_recorder import state
from gradaudit_recorder.listen import listener, replace


def wrap(module: Any) -> None:
    """What their `step` calls, once each time, and not `step`: torch names its caller's file in
    warnings, and programs choose by that which they see. One frame of ours between, and it is us.
    """

    def make_enter(original: Any) -> Any:
        def enter(self: Any) -> Any:
            if not getattr(self.o, "_is_initial", False):  # a scheduler's own first call
                _scheduler_stepped(self.o)
            return original(self)

        return enter

    def make(original: Any) -> Any:
        def called(self: Any, *words: Any, **named: Any) -> Any:
            if not getattr(self, "_is_initial", False):
                _scheduler_stepped(self)
            return original(self, *words, **named)

        return called

    if hasattr(module, "_enable_get_lr_call"):
        replace(module._enable_get_lr_call, "__enter__", make_enter)
    else:  # another torch than 2.11 to 2.15
        replace(module.LRScheduler, "step", make)
    plateau = module.ReduceLROnPlateau
    names = [name for name in ("_is_better", "is_better") if hasattr(plateau, name)]
    replace(plateau, names[0] if names else "step", make)


@listener
def _scheduler_stepped(scheduler: Any) -> None:
    state.current.happened("L", getattr(scheduler, "optimizer", None))
