"""GA5: gradients that the training's Python source clips while the loss scale is on them."""

from __future__ import annotations

from gradaudit.findings import HIGH, MEDIUM, WARNING, Finding, Place, Related
from gradaudit.rules import rule
from gradaudit.rules.text import by_hand, number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.evidence.training_code import ScaledClip
    from gradaudit.plan.model import SourceOfUnit, TrainingUnit
    from gradaudit.rules import Limits

_INITIAL_SCALE = 65536.0
"""`init_scale` of `torch.amp.GradScaler`: 2 ** 16, doubled after 2,000 steps without overflow."""

_UNSCALED = ("fp32", "bf16", "bf16-mixed")
"""Under these a script usually turns its scaler off."""


@rule(
    "GA506",
    "clip-of-scaled-gradients",
    scope="source",
    needs=("source",),
    severities=(WARNING,),
    confidence=MEDIUM,
    references=(
        (
            "https://docs.pytorch.org/docs/stable/notes/amp_examples.html#gradient-clipping "
            "(`scaler.unscale_(optimizer)` before the clip)"
        ),
        "https://docs.pytorch.org/docs/stable/amp.html#gradient-scaling (init_scale is 65536)",
        "https://github.com/milesial/Pytorch-UNet/pull/470 (mended in a published training)",
        "https://github.com/pytorch/examples/issues/1196 (and in an official example)",
    ),
)
def clip_of_scaled_gradients(judged: SourceOfUnit, limits: Limits) -> Iterator[Finding]:
    """Gradients are clipped before the scaler has divided them by its scale.

    Why:
        A GradScaler multiplies the loss, and every gradient with it, by a scale that begins at
        65,536. `scaler.step` divides them again. A clip in between compares its threshold with
        gradients that are so much too large: 1.0 acts as 0.000015, on nearly every step, and
        follows the scale as it doubles and halves. Under SGD the steps all but vanish. Adam divides
        by the gradient's running size, but what the clip leaves can come near its `eps`: over a
        million weights about 1.5e-8 each, against 1e-8.

    Config:
        optimizer: sgd
        learning_rate: 0.1
        momentum: 0.9
        gradient_clip_norm: 1.0
        precision: fp16-mixed

    Bad:
        import torch


        def train(model, loader, loss_fn, optimizer):
            scaler = torch.amp.GradScaler("cuda")
            for x, y in loader:
                optimizer.zero_grad()
                with torch.autocast("cuda", dtype=torch.float16):
                    loss = loss_fn(model(x), y)
                scaler.scale(loss).backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                scaler.step(optimizer)
                scaler.update()

    Good:
        import torch


        def train(model, loader, loss_fn, optimizer):
            scaler = torch.amp.GradScaler("cuda")
            for x, y in loader:
                optimizer.zero_grad()
                with torch.autocast("cuda", dtype=torch.float16):
                    loss = loss_fn(model(x), y)
                scaler.scale(loss).backward()
                scaler.unscale_(optimizer)
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                scaler.step(optimizer)
                scaler.update()

    Tell:
        Log what `clip_grad_norm_` returns beside `scaler.get_scale()`: the norm is tens of
        thousands, and doubles when the scale does.

    Symptoms:
        loss is flat
        works in fp32, not in fp16

    Fix:
        None: Python sources are checked, not edited. Call `scaler.unscale_(optimizer)` once, after
        the last `backward()` before the step and before the clip. A threshold that was tuned as the
        code stands must be chosen anew.

    False positives:
        A scaler that is off at run time (`enabled=args.amp`: medium confidence) scales nothing. A
        helper that is given the scaler may unscale: not reported, nor is a clip in a branch of its
        own for fp32. Trainers that unscale by themselves (Accelerate, Lightning, Hugging Face) are
        not judged.
    """
    unit, code = judged.unit, judged.code
    precision = unit.get("precision")
    if precision is not None and precision.value in _UNSCALED:
        return
    for found in code.scaled_clips:
        related = [
            Related(Place(code.source, *found.backward), "the gradients are scaled from here"),
            Related(Place(code.source, *found.step), "and divided by the scale here"),
        ]
        if found.unscale is not None:
            late = Place(code.source, *found.unscale)
            related = [related[0], Related(late, "too late: move it above the clip")]
        yield Finding(
            Place(code.source, *found.clip),
            f"`{found.function}` compares its threshold with gradients that are still multiplied "
            f"by the scale of `{found.scaler}`",
            severity=WARNING,
            confidence=HIGH if found.sure else MEDIUM,
            label=f"before `{found.scaler}.unscale_({found.optimizer})`",
            related=related,
            why=_why(unit, found),
            evidence=[_how_known(found, code.source.path)],
            next="Unscale once before the clip, and choose the threshold anew.",
            no_fix=by_hand(f"{found.scaler}.unscale_({found.optimizer})") + " above the clip",
        )  # fmt: skip


def _why(unit: TrainingUnit, found: ScaledClip) -> list[str]:
    clip = unit.number("clip_value" if found.by_value else "clip_norm")
    threshold = clip if clip and clip > 0 else 1.0
    what = "each gradient" if found.by_value else "their norm"
    said = (
        f"At the usual first scale of {number(_INITIAL_SCALE)} a threshold of {number(threshold)} "
        f"cuts {what} at {number(threshold / _INITIAL_SCALE)}, and moves with the scale."
    )
    if unit.is_sgd:
        return [said, "Under SGD a step is as long as what is left: it all but vanishes."]
    if unit.is_adaptive:
        kin = (
            "Adam and its kin undo a constant factor, but not one that changes, nor one that "
            "brings the gradients near `eps`."
        )
        return [said, kin]
    return [said]


def _how_known(found: ScaledClip, path: str) -> str:
    known = f"read from {path}, without importing it"
    if found.sure:
        return known
    return f"{known}; whether `{found.scaler}` is on is not in this file"
