"""Short pieces of Python for the trainer, for what only the running training can tell."""

from __future__ import annotations

import keyword
import re

from gradaudit.render.report.part import EVERY, PROBES, STEPS
from gradaudit.render.report.words import fence
from gradaudit.syntax.scalars import yaml_float

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.plan.model import LossTerm
    from gradaudit.render.report.part import Part

NORM, LAYERS, TERMS = "norm", "layers", "terms"

_TITLES = {
    NORM: f"gradient norm before clipping, over {STEPS} steps",
    LAYERS: "BatchNorm: its mode, and the values it normalises over",
    TERMS: "gradient norm of each loss term",
}

_NORM = '''\
import torch

logged_norms = []


def log_norm(norm, threshold=THRESHOLD, steps=STEPS):
    """Pass what clip_grad_norm_ returns: the norm before clipping."""
    logged_norms.append(float(norm))
    if len(logged_norms) < steps:
        return
    norms = torch.tensor(logged_norms)
    logged_norms.clear()
    finite = norms[torch.isfinite(norms)]
    if len(finite) == 0:
        print(f"gradient norm: none of {steps} steps finite")
        return
    median, p90 = torch.quantile(finite, torch.tensor([0.5, 0.9])).tolist()
    print(
        f"gradient norm before clipping, {steps} steps: median {median:.3g}, p90 {p90:.3g}, "
        f"max {finite.max().item():.3g}, p90/median {p90 / max(median, 1e-30):.3g}, "
        f"above {threshold:g}: {(norms > threshold).float().mean().item():.0%}, "
        f"not finite: {steps - len(finite)}"
    )


'''

_LAYERS = '''\
import torch


def watch_batch_norm(model):
    """Print mode and batch of every BatchNorm layer once, on the next forward pass."""
    handles = {}

    def hook(name):
        def report(module, inputs, output):
            handles.pop(name).remove()
            x = inputs[0]
            values = x.numel() // x.shape[1]
            print(
                f"{name}: {type(module).__name__}, training={module.training}, "
                f"momentum={module.momentum}, {x.shape[0]} samples, {values} values a channel"
            )

        return report

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            handles[name] = module.register_forward_hook(hook(name))
    print(f"model.training={model.training}, {len(handles)} BatchNorm layers")


# After model.train(), before the first training step:
watch_batch_norm(model)
'''

_TERMS = '''\
import math

import torch

term_norms = {}


def log_term_norms(step, terms, model, every=EVERY, probes=PROBES):
    """`terms`: name -> weighted term of this step, before backward() frees its graph."""
    if step % every:
        return
    parameters = [p for p in model.parameters() if p.requires_grad]
    for name, term in terms.items():
        gradients = ()
        if term.requires_grad:
            gradients = torch.autograd.grad(
                term, parameters, retain_graph=True, allow_unused=True
            )
        norms = (torch.linalg.vector_norm(g.float()).item() for g in gradients if g is not None)
        term_norms.setdefault(name, []).append(math.hypot(*norms))
    if min(map(len, term_norms.values())) < probes:
        return
    total = sum(map(sum, term_norms.values())) or 1.0
    for name, norms in term_norms.items():
        active = [norm for norm in norms if norm > 0]
        print(
            f"{name}: active on {len(active) / len(norms):.0%} of {len(norms)} steps, "
            f"mean gradient norm when active {sum(active) / max(len(active), 1):.3g}, "
            f"largest {max(norms):.3g}, share {sum(norms) / total:.0%}"
        )
    term_norms.clear()


'''


class Snippets:
    """The snippets that fit a unit, numbered from 1. What a record has measured needs none.

    norm_matters    whether the norm before clipping is to be looked at, by a snippet or a record.
    """

    def __init__(self, part: Part) -> None:
        self.kinds: list[str] = []
        self.norm_matters = False
        unit = part.unit
        if unit is None:
            return
        clips = unit.number("clip_norm") is not None
        self.norm_matters = clips or unit.observed is not None or len(part.terms) > 1
        if self.norm_matters and not part.is_recorded:
            self.kinds.append(NORM)
        micro = unit.number("micro_batch")
        unknown = unit.norm is None and micro is not None and micro < part.limit("GA301", "info")
        if part.has_batch_norm or (unknown and not part.recorded_without_batch_norm):
            self.kinds.append(LAYERS)
        if len(part.terms) > 1:
            self.kinds.append(TERMS)

    def ref(self, kind: str) -> str:
        """`snippet 2`."""
        return f"snippet {self.kinds.index(kind) + 1}"

    def refs(self, *kinds: str) -> str:
        """`snippets 1 and 3` of those that there are."""
        numbers = [str(self.kinds.index(kind) + 1) for kind in kinds if kind in self.kinds]
        if len(numbers) == 1:
            return f"snippet {numbers[0]}"
        return f"snippets {', '.join(numbers[:-1])} and {numbers[-1]}" if numbers else ""


def snippet_lines(part: Part, snippets: Snippets, level: int) -> list[str]:
    lines = ["For the trainer, where only the running training can tell.", ""]
    for index, kind in enumerate(snippets.kinds, 1):
        text, note = _RENDER[kind](part)
        lines += [f"{'#' * level} Snippet {index}: {_TITLES[kind]}", "", note, ""]
        lines += [*fence("python", text.rstrip("\n").split("\n")), ""]
    return lines[:-1]


def _norm(part: Part) -> tuple[str, str]:
    unit = part.unit
    assert unit is not None
    clip = unit.number("clip_norm")
    threshold = yaml_float(float(clip)) if clip and clip > 0 else 'float("inf")'
    body = _NORM.replace("THRESHOLD", threshold).replace("STEPS", str(STEPS))
    call = "# After backward(), on every step, in place of the call that clips:\n"
    if not (clip and clip > 0):
        call = "# After backward(), on every step; with infinity nothing is clipped:\n"
    precision = unit.get("precision")
    if precision is not None and precision.value == "fp16-mixed":
        call += "# (with a GradScaler, after scaler.unscale_(optimizer): else the norm is scaled)\n"
    call += f"log_norm(torch.nn.utils.clip_grad_norm_(model.parameters(), {threshold}))\n"
    note = (
        f"Prints median, 90th percentile and maximum of every {STEPS} steps; a single norm, or an "
        "epoch's mean, hides the spikes."
    )
    if part.after_warmup:
        note += f" Judge what it prints {part.after_warmup}."
    return body + call, note


def _layers(part: Part) -> tuple[str, str]:
    enough = f"{part.limit('GA301', 'info'):g}"
    note = (
        "`training=True` is right during training; the samples are those that accumulation "
        f"cannot raise, and {enough} or more are wanted. SyncBatchNorm joins this number over all "
        "devices."
    )
    return _LAYERS, note


def _terms(part: Part) -> tuple[str, str]:
    unit = part.unit
    assert unit is not None
    body = _TERMS.replace("EVERY", str(EVERY)).replace("PROBES", str(PROBES))
    rows = []
    for term, variable in zip(part.terms, variables(part.terms), strict=True):
        rows.append(f"        {term.name!r}: {yaml_float(term.weight)} * {variable},")
    call = [
        "# In the training loop, before loss.backward(); the unweighted terms under your names:",
        "log_term_norms(",
        "    step,",
        "    {",
        *(row.replace("'", '"', 2) if '"' not in row else row for row in rows),
        "    },",
        "    model,",
        ")",
    ]
    note = (
        f"One step in {EVERY}, {PROBES} times; means are over the steps on which the term is "
        "active, shares are of the sum of the terms' norms. Add what the code sums without a key "
        "in the file."
    )
    checkpointing = unit.get("gradient_checkpointing")
    if checkpointing is not None and checkpointing.value:
        note += " Gradient checkpointing must be the kind with `use_reentrant=False`."
    return body + "\n".join(call) + "\n", note


def variables(terms: list[LossTerm]) -> list[str]:
    """A Python variable for each unweighted term: `ranking_loss`."""
    names: list[str] = []
    for term in terms:
        name = re.sub(r"\W", "_", term.name)
        if not name.endswith("loss"):
            name += "_loss"
        if not name.isidentifier() or keyword.iskeyword(name):
            name = f"term_{name}"
        while name in names:
            name += "_"
        names.append(name)
    return names


_RENDER = {NORM: _norm, LAYERS: _layers, TERMS: _terms}
