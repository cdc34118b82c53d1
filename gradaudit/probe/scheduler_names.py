"""Which scheduler a name means, by the framework that reads it. Knows no torch."""

from __future__ import annotations

from math import cos, pi
from typing import NamedTuple

from gradaudit.probe import formulas as f
from gradaudit.probe import framework_formulas as own
from gradaudit.probe.formulas import Lacking
from gradaudit.probe.simulated import CONVENTION, FRAMEWORK, TORCH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from gradaudit.probe.formulas import Factor, Terms

STEPS, EPOCHS = "steps", "epochs"


class Making(NamedTuple):
    """How a schedule is made.

    made      the function of a `LambdaLR`, warm-up included; None for a class of torch's own.
    built     that class. keywords: its arguments from the terms of the schedule.
    source    where the formula is written down, or what was taken for granted.
    follows   what one call follows; empty where the config or a habit must say.
    rounds_up whether a warm-up that is a share of the training is rounded up to whole calls.
    """

    basis: str
    source: str
    follows: str = ""
    made: Callable[[Terms], Factor] | None = None
    built: str = "LambdaLR"
    keywords: Callable[[Terms], dict[str, object]] | None = None
    rounds_up: bool = False


def _framework(source: str, made: Callable[[Terms], Factor], follows: str = STEPS) -> Making:
    return Making(FRAMEWORK, source, follows, made)


_TRANSFORMERS = "transformers/optimization.py"


def _transformers(made: Callable[[Terms], Factor]) -> Making:
    return Making(FRAMEWORK, _TRANSFORMERS, STEPS, made, rounds_up=True)


TRANSFORMERS = {
    "linear": _transformers(f.linear),
    "cosine": _transformers(f.cosine),
    "cosine_with_restarts": _transformers(f.cosine_with_restarts),
    "polynomial": _transformers(f.polynomial),
    "constant": _transformers(f.constant),
    "constant_with_warmup": _transformers(f.constant_with_warmup),
    "inverse_sqrt": _transformers(f.inverse_sqrt),
    "cosine_with_min_lr": _transformers(f.cosine),
    "cosine_warmup_with_min_lr": _transformers(own.cosine_with_warmup_rate),
    "warmup_stable_decay": _transformers(f.warmup_stable_decay),
}
_NEMO = "nemo/core/optim/lr_scheduler.py"
_FAIRSEQ = "fairseq/optim/lr_scheduler/"
_D2 = "detectron2/solver/lr_scheduler.py"
_DEEPSPEED = "deepspeed/runtime/lr_schedules.py"
_NEOX = "megatron/learning_rates.py"

BY_DIALECT: dict[str, dict[str, Making]] = {
    **dict.fromkeys(("hf-trainer", "llama-factory", "kohya"), TRANSFORMERS),
    "axolotl": TRANSFORMERS | {"cosine": _transformers(own.axolotl_cosine)},
    "verl": {
        "cosine": _framework("verl/utils/torch_functional.py", own.verl_cosine),
        "constant": _framework("verl/utils/torch_functional.py", f.constant_with_warmup),
    },
    "torchtune": {
        "get_cosine_schedule_with_warmup": _framework(
            "torchtune/training/lr_schedulers.py", f.cosine
        ),
        "constant": _framework("no scheduler: the recipe keeps the rate", f.constant),
    },
    "litgpt": {"cosine": _framework("litgpt/pretrain.py (get_lr), finetune/", f.cosine_once)},
    "torchtitan": {
        name: _framework("torchtitan/components/lr_scheduler.py", own.torchtitan)
        for name in ("linear", "sqrt", "cosine")
    },
    "gpt-neox": {
        name: _framework(_NEOX, own.gpt_neox(name))
        for name in ("cosine", "linear", "exponential", "constant")
    },
    "swin": {"cosine": _framework("lr_scheduler.py, timm's CosineLRScheduler", own.swin_cosine)},
    "slowfast": {
        "cosine": _framework("slowfast/utils/lr_policy.py", own.slowfast_cosine),
        "steps_with_relative_lrs": _framework(
            "slowfast/utils/lr_policy.py", own.slowfast_steps
        ),
    },
    "fairchem": {
        "lambdalr": _framework("fairchem/core/common/utils.py (warmup_lr_lambda)",
                               own.fairchem_steps),
    },
    "openpcdet": {
        "onecycle": _framework(
            "tools/train_utils/optimization/learning_schedules_fastai.py", own.fastai_one_cycle
        )
    },
    "detectron2": {
        "warmupmultisteplr": _framework(_D2, own.detectron2_steps),
        "warmupcosinelr": _framework(_D2, own.detectron2_cosine),
    },
    "wenet": {"warmuplr": _framework("wenet/utils/scheduler.py", own.warmup_lr)},
    "espnet": {"warmuplr": _framework("espnet2/schedulers/warmup_lr.py", own.warmup_lr)},
    "fairseq": {
        "polynomial_decay": _framework(
            _FAIRSEQ + "polynomial_decay_schedule.py", own.fairseq_polynomial
        ),
        "cosine": _framework(_FAIRSEQ + "cosine_lr_scheduler.py", own.fairseq_cosine),
        "tri_stage": _framework(_FAIRSEQ + "tri_stage_lr_scheduler.py", own.fairseq_tri_stage),
        "inverse_sqrt": _framework(
            _FAIRSEQ + "inverse_square_root_schedule.py", own.fairseq_inverse_sqrt
        ),
    },
    "nemo": {
        "cosineannealing": _framework(_NEMO, own.nemo(lambda done: (1 + cos(pi * done)) / 2)),
    },
    "deepspeed": {
        "warmuplr": _framework(_DEEPSPEED, own.deepspeed_warmup(False)),
        "warmupdecaylr": _framework(_DEEPSPEED, own.deepspeed_warmup(True)),
        "warmupcosinelr": _framework(_DEEPSPEED, own.deepspeed_cosine),
    },
    "basicsr": {
        "multisteplr": _framework("basicsr/models/lr_scheduler.py", own.basicsr_steps),
        "multisteprestartlr": _framework("basicsr/models/lr_scheduler.py", own.basicsr_steps),
        "cosineannealingrestartlr": _framework(
            "basicsr/models/lr_scheduler.py", own.basicsr_cosine
        ),
    },
    "audiocraft": {
        "linear_warmup": _framework(
            "audiocraft/optim/linear_warmup_lr_scheduler.py", f.constant_with_warmup
        )
    },
    "sb3-zoo": {
        "linear": _framework(
            "rl_zoo3/utils.py (linear_schedule); it is asked once a rollout, here at every step",
            f.linear,
        )
    },
}  # fmt: skip


def _cosine(terms: Terms) -> dict[str, object]:
    return {"T_max": terms.decay or max(1, terms.total - terms.warmup), "eta_min": terms.low or 0.0}


def _multi_step(terms: Terms) -> dict[str, object]:
    if not terms.milestones:
        raise Lacking("`milestones` are not known")
    found: dict[str, object] = {"milestones": [round(at) for at in terms.milestones]}
    return found | _if_known(terms, gamma=("gamma", "lr_gamma", "lr_factor"))


def _drops(terms: Terms) -> dict[str, object]:
    """Of a framework that is not known: how far the rate drops must be said, too."""
    return {"gamma": terms.needed("gamma", "lr_gamma", "lr_factor"), **_multi_step(terms)}


def _if_known(terms: Terms, **names: tuple[str, ...]) -> dict[str, object]:
    """Arguments that the config gives; torch's own default stands for any other."""
    known = {name: terms.number(*keys) for name, keys in names.items()}
    return {name: value for name, value in known.items() if value is not None}


def _words(terms: Terms, name: str) -> dict[str, object]:
    """An argument that is a word, where the config gives one."""
    value = terms.arguments.get(name)
    return {name: value} if isinstance(value, str) else {}


def _step(terms: Terms) -> dict[str, object]:
    size = terms.needed("step_size", "lr_step_size", "decay_step")
    return {"step_size": int(size), **_if_known(terms, gamma=("gamma", "lr_gamma"))}


def _exponential(terms: Terms) -> dict[str, object]:
    return {"gamma": terms.needed("gamma", "lr_gamma", "lr_decay")}


def _one_cycle(terms: Terms) -> dict[str, object]:
    """A written `max_lr` is the peak of every group, whatever the optimiser's rate is."""
    written = terms.number("max_lr")
    found: dict[str, object] = {
        "max_lr": terms.peak if written is None else written, "total_steps": terms.total,
        **_words(terms, "anneal_strategy"),
    }  # fmt: skip
    if isinstance(terms.arguments.get("three_phase"), bool):
        found["three_phase"] = terms.arguments["three_phase"]
    return found | _if_known(
        terms, pct_start=("pct_start",), div_factor=("div_factor",),
        final_div_factor=("final_div_factor",),
    )  # fmt: skip


def _restarts(terms: Terms) -> dict[str, object]:
    found: dict[str, object] = {"T_0": int(terms.needed("t_0", "t0")), "eta_min": terms.low or 0.0}
    grows = terms.number("t_mult")
    return found if grows is None else found | {"T_mult": int(grows)}


def _polynomial(terms: Terms) -> dict[str, object]:
    length = terms.number("total_iters") or terms.decay or max(1, terms.total - terms.warmup)
    return {"total_iters": int(length), **_if_known(terms, power=("power",))}


def _linear(terms: Terms) -> dict[str, object]:
    found = _if_known(terms, start_factor=("start_factor",), end_factor=("end_factor",))
    length = terms.number("total_iters")
    return found if length is None else found | {"total_iters": int(length)}


def _constant(terms: Terms) -> dict[str, object]:
    found = _if_known(terms, factor=("factor",))
    length = terms.number("total_iters")
    return found if length is None else found | {"total_iters": int(length)}


def _cyclic(terms: Terms) -> dict[str, object]:
    down = terms.number("step_size_down")
    return {
        "base_lr": terms.needed("base_lr"),
        "max_lr": terms.needed("max_lr"),
        "step_size_up": int(terms.needed("step_size_up", "step_size")),
        "cycle_momentum": False,
        **_words(terms, "mode"),
        **({} if down is None else {"step_size_down": int(down)}),
        **_if_known(terms, gamma=("gamma",)),
    }


def _torch(built: str, keywords: Callable[[Terms], dict[str, object]], follows: str = "") -> Making:
    return Making(TORCH, "torch/optim/lr_scheduler.py", follows, None, built, keywords)


OF_TORCH = {
    "cosineannealinglr": _torch("CosineAnnealingLR", _cosine),
    "multisteplr": _torch("MultiStepLR", _multi_step),
    "steplr": _torch("StepLR", _step),
    "exponentiallr": _torch("ExponentialLR", _exponential, EPOCHS),
    "onecyclelr": _torch("OneCycleLR", _one_cycle, STEPS),
    "cosineannealingwarmrestarts": _torch("CosineAnnealingWarmRestarts", _restarts),
    "polynomiallr": _torch("PolynomialLR", _polynomial),
    "linearlr": _torch("LinearLR", _linear),
    "constantlr": _torch("ConstantLR", _constant),
    "cycliclr": _torch("CyclicLR", _cyclic, STEPS),
}
"""By the name of the class. Which call each follows is the training loop's choice: a one-cycle
and a cyclic schedule are documented to be called after each batch; an exponential one whose gamma
is near 1 is too, and then the config must say so (`interval: step`)."""

BY_POSITION = ("MultiStepLR", "StepLR", "ExponentialLR", "ConstantLR")
"""Classes of torch that count from the beginning of the training, warm-up or not."""

_NAMED = "only the shape is known from the name"


def _shape(made: Callable[[Terms], Factor], source: str = _NAMED) -> Making:
    return Making(CONVENTION, source, STEPS, made)


BY_WORD: tuple[tuple[str, Making | str], ...] = (
    ("plateau", "it follows a validation metric, which only a training has"),
    ("newbob", "it follows a validation metric, which only a training has"),
    ("lambda", "its function stands in code, not in the config"),
    ("hold", "how long it holds the rate is not known by any key that has one meaning"),
    ("noam", "its peak depends on the width of the model, by formulas that differ"),
    ("restart", "where it restarts is not known by any key that has one meaning"),
    ("cycl", "its cycles are not known by any key that has one meaning"),
    ("cosine", _shape(f.cosine_once)),
    ("multi_step", Making(CONVENTION, _NAMED, "", None, "MultiStepLR", _drops)),
    ("multistep", Making(CONVENTION, _NAMED, "", None, "MultiStepLR", _drops)),
    ("piecewise", Making(CONVENTION, _NAMED, "", None, "MultiStepLR", _drops)),
    ("inverse", _shape(f.inverse_sqrt)),
    ("exponential", Making(CONVENTION, _NAMED, "", None, "ExponentialLR", _exponential)),
    ("poly", _shape(f.power, f"{_NAMED}; power 1 where none is written")),
    ("linear_warmup", "what follows its warm-up is not said by its name"),
    ("linear", _shape(f.linear)),
    ("constant", _shape(f.constant_with_warmup)),
    ("fixed", _shape(f.constant_with_warmup)),
)
"""A word in the name of a schedule that no table has: its shape by convention, or why none."""

NONE = Making(
    CONVENTION,
    "the config names no scheduler: drawn without one; code or a launcher may still set one",
    STEPS,
    f.constant_with_warmup,
)


def key_of(name: str) -> str:
    """`torch.optim.lr_scheduler.ExponentialLR` -> `exponentiallr`."""
    return name.rsplit(".", 1)[-1].strip().lower().replace("-", "_")


def making_of(name: str, dialect: str) -> Making | str:
    """How a schedule of that name is made in that framework, or why it cannot be."""
    key = key_of(name)
    table = BY_DIALECT.get(dialect, {})
    found: Making | str | None = table.get(key) or OF_TORCH.get(key)
    if found is None and key in TRANSFORMERS and "_" in key:  # names of transformers alone
        found = TRANSFORMERS[key]._replace(basis=CONVENTION, source=f"as in {_TRANSFORMERS}")
    if found is None:
        found = next((made for word, made in BY_WORD if word in key), None)
    return found or f"{name!r} is none that gradaudit knows how to build"
