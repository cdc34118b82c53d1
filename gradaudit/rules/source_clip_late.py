"""GA1: gradients that the training's Python source clips after they were used."""

from __future__ import annotations

from gradaudit.findings import HIGH, WARNING, Finding, Place, Related
from gradaudit.rules import rule
from gradaudit.rules.text import by_hand, number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradaudit.plan.model import SourceOfUnit
    from gradaudit.rules import Limits


@rule(
    "GA109",
    "clip-after-step",
    scope="source",
    needs=("source",),
    severities=(WARNING,),
    confidence=HIGH,
    references=(
        (
            "https://docs.pytorch.org/docs/stable/generated/torch.nn.utils.clip_grad_norm_.html "
            "(gradients are modified in-place)"
        ),
        "https://docs.pytorch.org/docs/stable/notes/amp_examples.html#gradient-clipping (order)",
    ),
)
def clip_after_step(judged: SourceOfUnit, limits: Limits) -> Iterator[Finding]:
    """Gradients are clipped after the optimiser has stepped.

    Why:
        `clip_grad_norm_` changes the gradients in place. The step has used them already, and
        `zero_grad` empties them before the next: the clip does nothing, under every optimiser,
        while the config says that gradients are clipped. What it returns looks right in the log.

    Config:
        optimizer: sgd
        learning_rate: 0.1
        gradient_clip_norm: 1.0

    Bad:
        import torch


        def train(model, loader, loss_fn, optimizer):
            for x, y in loader:
                optimizer.zero_grad()
                loss = loss_fn(model(x), y)
                loss.backward()
                optimizer.step()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)

    Good:
        import torch


        def train(model, loader, loss_fn, optimizer):
            for x, y in loader:
                optimizer.zero_grad()
                loss = loss_fn(model(x), y)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()

    Tell:
        Train some steps with a threshold of 1e-6: the loss falls as before, where a clip that acts
        would hold SGD nearly still.

    Symptoms:
        gradient norm spikes
        loss spikes

    Fix:
        None: Python sources are checked, not edited. Move the clip between `backward()` and the
        step. From then on it acts: the rate may have been tuned without it.

    False positives:
        None known. A clip is reported only where loss, step, clip and `zero_grad` stand in one loop
        under the same conditions, and nothing there runs backward or steps after the clip.
    """
    unit, code = judged.unit, judged.code
    clip = unit.number("clip_norm")
    for found in code.late_clips:
        said = f" that the config sets to {number(clip)}" if clip and clip > 0 else ""
        yield Finding(
            Place(code.source, *found.clip),
            f"`{found.function}` comes after `{found.stepped}`: it clips nothing that is used",
            severity=WARNING,
            confidence=HIGH,
            label="too late",
            related=[Related(Place(code.source, *found.step), "uses the gradients as they are")],
            why=[
                (
                    "The step has used the gradients, and `zero_grad` empties them: the "
                    f"clip{said} does nothing."
                )
            ],
            evidence=[f"read from {code.source.path}, without importing it"],
            next="From then on it acts: review a rate that was tuned without it.",
            no_fix=by_hand(f"{found.function}(...)") + f" above `{found.stepped}`",
        )
