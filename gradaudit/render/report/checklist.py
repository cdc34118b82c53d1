"""What to verify after the fixes: every item can be checked, and is worth checking."""

from __future__ import annotations

from gradaudit.plan.schedule import rate_at
from gradaudit.render.report.fixes import micro_batch_after
from gradaudit.render.report.part import STEPS, TAIL
from gradaudit.render.report.snippets import LAYERS, NORM, TERMS
from gradaudit.render.report.words import code, code_list
from gradaudit.rules.text import number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.render.report.fixes import Fixes
    from gradaudit.render.report.part import Part
    from gradaudit.render.report.snippets import Snippets


def checklist(part: Part, fixes: Fixes, snippets: Snippets) -> list[str]:
    items = [
        *_norms(part, snippets),
        (
            "No NaN or Inf in the loss, the gradient norm and the parameters; steps that the "
            "trainer skips for one are counted, and are no more than before."
        ),
        *_rate(part),
        *_batch(part, fixes, snippets),
        *_loss(part, snippets),
        *_metric(part),
        *_file(part, fixes),
    ]
    return [
        "Before any change and after each one, with the same seeds:",
        "",
        *(f"- [ ] {item}" for item in items),
    ]


def _norms(part: Part, snippets: Snippets) -> list[str]:
    if not snippets.norm_matters or part.unit is None:
        return []
    when = f"{part.after_warmup[0].upper()}{part.after_warmup[1:]}, m" if part.after_warmup else "M"
    clip = part.unit.number("clip_norm")
    above = ""
    if clip and clip > 0:
        above = (
            f" So is the share of steps above {number(clip)}: a number to compare, not one to "
            "bring to zero."
        )
    how = "recorded again" if part.is_recorded else f"logged ({snippets.ref(NORM)})"
    return [
        (
            f"{when}edian, 90th percentile and maximum of the norm before clipping over {STEPS} "
            f"steps are {how}.{above}"
        ),
        (
            f"The 90th percentile is less than {TAIL} times the median. If it is not, some steps "
            "are spikes: find the term that makes them before touching the threshold."
        ),
    ]


def _rate(part: Part) -> list[str]:
    unit = part.unit
    warmup = unit.warmup if unit is not None else None
    if unit is None or warmup is None or warmup.unit == "ratio" or not part.after_warmup:
        return []
    by_epoch = warmup.unit == "epochs"
    after = int(-(-warmup.value // 1)) + 1
    first = rate_at(unit, epoch=1) if by_epoch else rate_at(unit, step=1)
    if first is None:
        return []
    what = "epoch" if by_epoch else "step"
    begin = f"the start of {what}" if by_epoch else what
    start = f"{number(first.low)} at {begin} 1"
    if unit.number("warmup_start_factor") is None:
        start = f"far below that at {begin} 1"
    return [
        (
            f"The logged learning rate is {number(first.peak)} at {begin} {after:,}, and "
            f"{start}: the warm-up is really in force."
        )
    ]


def _batch(part: Part, fixes: Fixes, snippets: Snippets) -> list[str]:
    items = []
    if part.has_batch_norm:
        enough = number(part.limit("GA301", "info"))
        items += [
            (
                "BatchNorm layers are in training mode during training and see at least "
                f"{enough} samples ({snippets.ref(LAYERS)})."
            ),
            (
                "`running_mean` of a BatchNorm layer differs between two training steps and stays "
                "the same between two validation batches."
            ),
        ]
    elif LAYERS in snippets.kinds:
        items.append(
            f"Whether the model has BatchNorm is known ({snippets.ref(LAYERS)} prints the number "
            "of layers), and `--assume norm=...` says so to the next audit."
        )
    larger = micro_batch_after(part.unit, fixes) if part.unit is not None else None
    pairs = part.by_code("GA303")
    if larger and pairs:
        items.append(
            f"The pairwise term is computed over up to {larger * (larger - 1) // 2:,} pairs of "
            f"{larger} samples, and is a mean over the pairs, not their sum."
        )
    return items


def _loss(part: Part, snippets: Snippets) -> list[str]:
    auxiliary = [term.name for term in part.terms if term.is_auxiliary]
    if TERMS not in snippets.kinds:
        return []
    if not auxiliary or len(auxiliary) == len(part.terms):
        return [f"The share of each term in the gradient is known ({snippets.ref(TERMS)})."]
    return [
        (
            f"{code_list(auxiliary)} together have at most half of the sum of the terms' gradient "
            f"norms ({snippets.ref(TERMS)})."
        ),
    ]


def _metric(part: Part) -> list[str]:
    task = [term.name for term in part.terms if not term.is_auxiliary]
    if len(part.terms) < 2 or not task:
        return ["The task's own metric on the validation data is no worse than before."]
    return [
        (
            f"On the validation data the unweighted {code_list(task)} and the task's own metric "
            "are no worse than before. Totals are not compared: they change with the weights."
        )
    ]


def _file(part: Part, fixes: Fixes) -> list[str]:
    codes = sorted({c for entry in fixes.immediate for c in entry.codes})
    if not codes:
        return []
    return [
        (
            f"{code(part.check_command())} no longer reports {', '.join(codes)}"
            f"{' for ' + code(part.name) if len(part.result.units) > 1 else ''}."
        )
    ]
