"""From `--entry pkg.module:build` to a `Training`: imports the user's code, because they asked."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from typing import TYPE_CHECKING, Any

from gradaudit.probe.blame import said, users_fault
from gradaudit.probe.protocol import DryRunError, Training
from gradaudit.probe.signatures import check_fields

if TYPE_CHECKING:
    from collections.abc import Callable

    from gradaudit.probe.protocol import Config

OPTIONAL = (
    "optimizer", "total", "steps_per_epoch", "primary", "move", "scheduler", "scheduler_step",
)  # fmt: skip


def load_entry(text: str) -> Callable[[Config], Any]:
    """The function that `pkg.module:function` or `path/to/file.py:function` names.

    The current directory is looked in first, as `python script.py` and `python -m` do.

    Raises: DryRunError.
    """
    module_name, colon, name = text.rpartition(":")
    if not colon or not module_name or not name:
        raise DryRunError(f"--entry {text}: takes MODULE:FUNCTION, as in train.py:build")
    sys.path.insert(0, os.getcwd())
    is_file = module_name.endswith(".py")
    try:
        module = _from_file(module_name) if is_file else importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            near = module_name.replace(".", os.sep) + ".py"
            hint = f"; there is a file {near} that failed to import" if os.path.exists(near) else ""
            raise DryRunError(
                f"--entry {text}: there is no module `{error.name}` here or on the path{hint}; "
                "run from the directory that holds it, or name the file: path/to/train.py:build"
            ) from error
        raise DryRunError(f"--entry {text}: it imports `{error.name}`, which is missing") from error
    except DryRunError:
        raise
    except SystemExit as error:
        raise DryRunError(
            f"--entry {text}: importing it ended the program ({said(error)}): what runs at "
            'import, such as the reading of arguments, belongs under `if __name__ == "__main__":`'
        ) from error
    except Exception as error:
        raise DryRunError(f"--entry {text}: importing it failed: {said(error)}") from error
    function = getattr(module, name, None)
    if function is None:
        from gradaudit.settings import did_you_mean

        known = tuple(n for n, v in vars(module).items() if callable(v) and not n.startswith("_"))
        raise DryRunError(
            f"--entry {text}: `{module_name}` has no `{name}`{did_you_mean(name, known)}"
        )
    if not callable(function):
        kind = type(function).__name__
        raise DryRunError(f"--entry {text}: `{name}` is a {kind}, not a function")
    return function  # type: ignore[no-any-return]


def _from_file(path: str) -> Any:
    if not os.path.isfile(path):
        raise DryRunError(f"--entry {path}: there is no such file")
    folder, base = os.path.split(os.path.abspath(path))
    sys.path.insert(0, folder)  # what it imports from beside itself
    name = base.removesuffix(".py")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickled workers look for their module there
    spec.loader.exec_module(module)
    return module


def build_training(function: Callable[[Config], Any], config: Config, entry: str) -> Training:
    """Call `build` and look at what it returns.

    Raises: DryRunError.
    """
    try:
        made = function(config)
    except DryRunError:
        raise
    except (Exception, SystemExit) as error:
        hint = ""
        if is_out_of_memory(error):
            hint = "; build a smaller copy of the model, or take fewer samples at once"
        elif isinstance(error, KeyError):
            keys = ", ".join(list(config)[:8])
            hint = f"; the config is the whole file (its keys: {keys}), `config.unit` the section "
            hint += f"`{config.unit_name}`"
        raise DryRunError(f"{entry} failed: {said(error)}{hint}") from error
    if isinstance(made, Training):
        training = made
    else:
        missing = [name for name in ("model", "batches", "losses") if not hasattr(made, name)]
        if missing:
            raise DryRunError(
                f"{entry} returned a {type(made).__name__} without {', '.join(missing)}: it must "
                "return a gradaudit.probe.protocol.Training (model, batches, losses), or an "
                "object with these attributes"
            )
        more = {name: getattr(made, name) for name in OPTIONAL if getattr(made, name, None)}
        training = Training(made.model, made.batches, made.losses, **more)
    _check(training, entry)
    return training


def _check(training: Training, entry: str) -> None:
    import torch

    if not isinstance(training.model, torch.nn.Module):
        kind = type(training.model).__name__
        raise DryRunError(f"{entry}: `model` is a {kind}, not a torch.nn.Module")
    check_fields(training, entry)
    if not hasattr(training.batches, "__iter__"):
        kind = type(training.batches).__name__
        raise DryRunError(f"{entry}: `batches` is a {kind}, which cannot be iterated over")
    if training.optimizer is not None and not isinstance(training.optimizer, torch.optim.Optimizer):
        kind = type(training.optimizer).__name__
        raise DryRunError(f"{entry}: `optimizer` is a {kind}, not a torch.optim.Optimizer")
    if not any(p.requires_grad for p in training.model.parameters()):
        raise DryRunError(f"{entry}: no parameter of the model requires a gradient")
    if training.optimizer is not None:
        own = {id(p) for p in training.model.parameters() if p.requires_grad}
        if not any(id(p) in own for g in training.optimizer.param_groups for p in g["params"]):
            raise DryRunError(
                f"{entry}: `optimizer` holds no trainable parameter of `model`: make it from "
                "`model.parameters()`, of the very model that is returned"
            )
    if training.scheduler is not None:
        _check_scheduler(training, entry)


def _check_scheduler(training: Training, entry: str) -> None:
    from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

    scheduler = training.scheduler
    kind = type(scheduler).__name__
    if not isinstance(scheduler, LRScheduler):
        raise DryRunError(
            f"{entry}: `scheduler` is a {kind}, not a torch.optim.lr_scheduler.LRScheduler; where "
            "it wraps one, pass that"
        )
    if isinstance(scheduler, ReduceLROnPlateau):
        raise DryRunError(
            f"{entry}: `scheduler` is a {kind}, which needs the metric of an evaluation, and a dry "
            "run has none: leave it out, and the first steps have the rate that they have with it"
        )
    if training.optimizer is None or scheduler.optimizer is not training.optimizer:
        raise DryRunError(
            f"{entry}: `scheduler` is of another optimizer: pass the one that it was made with as "
            "`optimizer`"
        )
    if training.scheduler_step not in ("step", "epoch"):
        raise DryRunError(
            f"{entry}: `scheduler_step` is {training.scheduler_step!r}: takes 'step' or 'epoch', "
            "what your loop calls the scheduler after"
        )


LESS_MEMORY = (
    "take smaller batches or a smaller copy of the model in `build`, or a --device with more memory"
)
"""What mends a lack of it."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory is short, of the machine or of a device."""
    kind, said = type(error).__name__, str(error)
    return kind in ("MemoryError", "OutOfMemoryError") or (
        isinstance(error, RuntimeError)
        and ("can't allocate memory" in said or "out of memory" in said)
    )


def said_of(error: BaseException) -> str:
    """What to say of an error that its user can mend; empty for a fault of gradaudit."""
    if isinstance(error, DryRunError):
        return str(error)
    if is_out_of_memory(error):
        return f"memory ran out: {LESS_MEMORY}"
    ended = f"the program was ended ({error})" if isinstance(error, SystemExit) else ""
    return users_fault(error) or ended
