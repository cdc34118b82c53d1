"""GA2: schedules that Accelerate steps more often than the training's Python source counts."""

from __future__ import annotations

from gradaudit.findings import HIGH, INFO, MEDIUM, WARNING, Finding, Place, Related
from gradaudit.rules import rule
from gradaudit.rules.text import by_hand, number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.plan.model import SourceOfUnit
    from gradaudit.rules import Limits


@rule(
    "GA215",
    "scheduler-stepped-each-process",
    scope="source",
    needs=("source",),
    severities=(WARNING, INFO),
    confidence=MEDIUM,
    references=(
        (
            "https://github.com/huggingface/accelerate/blob/v1.15.0/src/accelerate/scheduler.py "
            "(`for _ in range(num_processes)`)"
        ),
        "https://github.com/huggingface/accelerate/issues/1382 (why it does so)",
        "https://github.com/huggingface/accelerate/issues/2318 (what to set)",
        "https://github.com/huggingface/accelerate/issues/2926",
        "https://github.com/huggingface/transformers/pull/24088 (the trainer had the same fault)",
    ),
)
def scheduler_stepped_each_process(judged: SourceOfUnit, limits: Limits) -> Iterator[Finding]:
    """A schedule counted in optimiser steps goes through `accelerator.prepare`.

    Why:
        A prepared scheduler advances once for each process at every optimiser step, because
        Accelerate expects a length counted in batches of the loader before `prepare` splits it. A
        length in optimiser steps ends after 1 / N of the training on N processes, and the warm-up
        is N times shorter. From there on a linear decay stays at 0 and a cosine rises again. On one
        process nothing is wrong, so it is seen on the large run first.

    Config:
        optimizer: adamw
        learning_rate: 1.0e-4
        world_size: 8

    Bad:
        from accelerate import Accelerator
        from transformers import get_scheduler


        def train(model, optimizer, data, args):
            accelerator = Accelerator()
            schedule = get_scheduler(
                "cosine",
                optimizer,
                num_warmup_steps=args.warmup_steps,
                num_training_steps=args.max_steps,
            )
            model, optimizer, data, schedule = accelerator.prepare(model, optimizer, data, schedule)
            step = 0
            for batch in data:
                accelerator.backward(model(**batch).loss)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
                step += 1
                if step >= args.max_steps:
                    break

    Good:
        from accelerate import Accelerator
        from transformers import get_scheduler


        def train(model, optimizer, data, args):
            accelerator = Accelerator()
            schedule = get_scheduler(
                "cosine",
                optimizer,
                num_warmup_steps=args.warmup_steps * accelerator.num_processes,
                num_training_steps=args.max_steps * accelerator.num_processes,
            )
            model, optimizer, data, schedule = accelerator.prepare(model, optimizer, data, schedule)
            step = 0
            for batch in data:
                accelerator.backward(model(**batch).loss)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
                step += 1
                if step >= args.max_steps:
                    break

    Tell:
        Log `schedule.get_last_lr()` on several processes: the rate reaches its end after 1 / N of
        the steps.

    Symptoms:
        works on one GPU, not on eight
        loss is flat
        slow or wasted training

    Fix:
        None: Python sources are checked, not edited. Multiply the length and the warm-up by
        `accelerator.num_processes`. Or make the accelerator with
        `step_scheduler_with_optimizer=False`; then step the scheduler yourself, once an optimiser
        step (under `accelerator.accumulate` only where `accelerator.sync_gradients`).

    False positives:
        A length from `len(loader)` before `prepare` is what Accelerate expects: not reported, nor
        is one that speaks of processes or accumulation. Reported are the length of a loader that is
        prepared already, and a number that also ends the training; `split_batches=True` and a
        `dataloader_config` that is not seen through silence it. Training that runs on one process
        only: say `--assume world_size=1`.
    """
    unit, code = judged.unit, judged.code
    processes = unit.number("world_size")
    if processes is not None and processes <= 1:
        return
    n = number(processes) if processes else "N"
    for found in code.schedules:
        length = found.length if "+" not in found.length else f"({found.length})"
        counted = "the length of a split loader" if found.measured else "also ends the training"
        prepared = f"steps it {n} times at every step" if processes else "steps it once a process"
        yield Finding(
            Place(code.source, *found.horizon),
            f"`{found.name}` counts optimiser steps, but is stepped once a process: on {n} "
            f"processes it ends after 1/{n} of the training",
            severity=WARNING if processes else INFO,
            confidence=HIGH if processes else MEDIUM,
            label=f"`{found.length}`: in optimiser steps",
            related=[
                Related(Place(code.source, *found.counted), counted),
                Related(Place(code.source, *found.prepared), prepared),
            ],
            why=[
                (
                    f"`{found.accelerate}.prepare` makes the scheduler advance once for each "
                    "process at every optimiser step. The decay ends early (a linear one stays at "
                    f"0, a cosine rises again), and a warm-up is {n} times shorter."
                )
            ],
            evidence=[f"read from {code.source.path}, without importing it"],
            next=(
                "Multiply the warm-up alike. Or make the Accelerator with "
                "`step_scheduler_with_optimizer=False`, and step the scheduler once an optimiser "
                "step."
            ),
            no_fix=by_hand(f"{length} * {found.accelerate}.num_processes"),
        )  # fmt: skip
