"""The order of work: measure, fix, measure again, one change at a time."""

from __future__ import annotations

from gradaudit.render.report.fixes import alone_command
from gradaudit.render.report.part import STEPS, TAIL
from gradaudit.render.report.snippets import NORM
from gradaudit.render.report.words import code
from gradaudit.rules.text import number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.render.report.fixes import Fixes
    from gradaudit.render.report.part import Part
    from gradaudit.render.report.snippets import Snippets


def order_of_work(part: Part, fixes: Fixes, snippets: Snippets) -> list[str]:
    steps = [
        *_baseline(part, snippets),
        *_immediate(part, fixes),
        *_again(part, snippets),
        *_secondary(part, fixes),
        *_threshold(part, snippets),
        *_last_resort(part, snippets),
    ]
    return [f"{index}. {text}" for index, text in enumerate(steps, 1)]


def _baseline(part: Part, snippets: Snippets) -> list[str]:
    if not snippets.kinds:
        return ["Keep the log of a run with the file as it is: the fixes are compared to it."]
    if part.is_recorded:
        return ["**Baseline.** The record is it: keep it, with the task's metric and the seed."]
    run = f"{STEPS} steps"
    if part.after_warmup:
        run = f"{STEPS} steps, {part.after_warmup},"
    names = snippets.refs(*snippets.kinds)
    return [
        (
            f"**Baseline.** Paste {names} into the trainer, train with the file as it is, and keep "
            f"what {'they print' if len(snippets.kinds) > 1 else 'it prints'} over {run} with the "
            "task's metric and the seed."
        )
    ]


def _immediate(part: Part, fixes: Fixes) -> list[str]:
    if not fixes.immediate:
        return []
    look = f"Look at {code(part.fix_command())}, then {code(part.fix_command('--write'))}."
    if len(fixes.immediate) > 1:
        alone = [(entry, alone_command(part, entry)) for entry in fixes.immediate]
        commands = ", then ".join(
            code(command) if command else f"fix {entry.number} by hand" for entry, command in alone
        )
        look += f" To tell their effects apart, one at a time with a run between: {commands}."
    return [f"**Immediate fixes.** {look}"]


def _again(part: Part, snippets: Snippets) -> list[str]:
    again = "**Measure again**, the same steps and seeds, and go through the checklist."
    if part.is_recorded:
        return [f"{again} Record them with the same command, and give the new directory: --record."]
    if NORM in snippets.kinds and part.unit is not None:
        unit = "" if part.name == "main" else part.name
        words = ["--observed-grad-norm", "MEDIAN", *(["--unit", unit] if unit else [])]
        warmup = part.unit.warmup
        if warmup is not None and warmup.unit != "ratio" and part.after_warmup:
            words += [f"--observed-{warmup.unit[:-1]}", str(int(-(-warmup.value // 1)) + 1)]
        again += f" Give the next audit what was measured: {code(part.check_command(*words))}."
    return [again]


def _secondary(part: Part, fixes: Fixes) -> list[str]:
    if not fixes.secondary:
        return []
    return [
        (
            "**Secondary fixes**, only if the measurement asks for one, one at a time with a run "
            f"between: {code(part.fix_command('--unsafe'))} shows those that the immediate ones "
            "have left; their commands stand with them above. Take a fix back that did not help."
        )
    ]


def _threshold(part: Part, snippets: Snippets) -> list[str]:
    unit = part.unit
    clip = unit.number("clip_norm") if unit is not None else None
    if not snippets.norm_matters or not clip or clip <= 0:
        return []
    return [
        (
            f"**The threshold last.** Leave {number(clip)} until the 90th percentile is less than "
            f"{TAIL} times the median; then the 90th percentile is a threshold with a reason."
        )
    ]


def _last_resort(part: Part, snippets: Snippets) -> list[str]:
    rate = part.unit.number("learning_rate") if part.unit is not None else None
    if rate is None or rate <= 0 or not snippets.norm_matters:
        return []
    return [
        (
            f"**Only if the training still diverges** (a loss that keeps rising, values that are "
            f"not finite): half the peak rate, {number(rate / 2)}. It is no means against a large "
            "norm."
        )
    ]
