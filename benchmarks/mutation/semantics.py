"""What frameworks and optimisers make of a setting, in words: why a mutant is no fault.

Sources: torch's optimisers and schedulers, transformers' `optimization.py`, the papers named.
"""

from __future__ import annotations

from gradaudit.plan.model import ADAPTIVE, LEARNING_RATE_FREE, SGD_LIKE, SIGN, TrainingUnit

from .model import Case, Equivalent
from .published import TORCH, kind

SIGN_ONLY = SIGN | {"muon", "lars"}
"""The step has lost the gradient's length, and nothing is added to a running size before that."""


def text_of(unit: TrainingUnit | None, name: str) -> str:
    setting = unit.get(name) if unit is not None else None
    return str(setting.value).lower() if setting is not None else ""


def adam_like(case: Case) -> bool:
    return case.unit.optimizer in ADAPTIVE


def sgd(case: Case) -> bool:
    return case.unit.optimizer in SGD_LIKE


def rate_free(case: Case) -> bool:
    return case.unit.optimizer in LEARNING_RATE_FREE


def noam(case: Case) -> bool:
    """The number is a factor of d_model^-0.5, not a rate."""
    return "noam" in text_of(case.unit, "scheduler")


def read_as_off(name: str, what: str = "off and never clips") -> Equivalent:
    """The framework takes the value for its spelling of off (its dialect's `off`, with source)."""

    def equivalent(case: Case, after: TrainingUnit | None) -> str:
        setting = after.get(name) if after is not None else None
        if setting is not None and setting.value is None and after is not None:
            return f"{case.unit.composed.dialect['title']} reads it as {what}"
        return ""

    return equivalent


def only_the_sign_counts(case: Case, after: TrainingUnit | None) -> str:
    if case.unit.optimizer in SIGN_ONLY:
        return f"{case.unit.optimizer} keeps no length of the gradient: a constant factor cancels"
    return ""


def scale_cancels(case: Case, after: TrainingUnit | None) -> str:
    """Adam divides by the gradient's own running size: a threshold that clips every step cancels
    (Kingma & Ba 2015, section 2.1) while gradients stay above eps."""
    if case.unit.optimizer in ADAPTIVE | LEARNING_RATE_FREE:
        return "every step is clipped, and the optimiser divides by the gradient's running size"
    return only_the_sign_counts(case, after)


def schedule_ignores_warmup(case: Case, after: TrainingUnit | None) -> str:
    """transformers' `constant` takes no `num_warmup_steps`; torch's OneCycleLR has `pct_start`."""
    if text_of(case.unit, "scheduler") == "constant":
        return "the constant schedule takes no warm-up"
    return ""


def one_cycle(case: Case, after: TrainingUnit | None) -> str:
    name = text_of(case.unit, "scheduler").replace("_", "")
    if "onecycle" in name or "1cycle" in name:
        return "a one-cycle schedule rises for about half of the run by design"
    return schedule_ignores_warmup(case, after)


def as_published(upwards: bool) -> Equivalent:
    def equivalent(case: Case, after: TrainingUnit | None) -> str:
        rate = after.number("learning_rate") if after is not None else None
        if upwards and rate is not None and rate <= TORCH.get(kind(case.unit.optimizer), 0):
            return "the rate is not above the one that torch.optim hands out by default"
        if rate is not None and case.published.is_practice(
            rate, case.unit.optimizer, case.repository, upwards
        ):
            return "two or more other repositories of the corpus train at this rate or beyond"
        return ""

    return equivalent


def decays_as_published(case: Case, after: TrainingUnit | None) -> str:
    return case.published.decays_as_much(after, case.repository) if after is not None else ""


def reads_a_switch(name: str) -> Equivalent:
    """The loader turns the text into the switch that it spells (pydantic, argparse, yacs)."""

    def equivalent(case: Case, after: TrainingUnit | None) -> str:
        setting = after.get(name) if after is not None else None
        if setting is not None and setting.value is False:
            return f"{case.unit.composed.dialect['title']} turns the text into the switch"
        return loader_converts(case, after)

    return equivalent


def read_as_share(case: Case, after: TrainingUnit | None) -> str:
    """transformers 5 reads warm-up steps below 1 as a share (its dialect's `fraction_as`)."""
    if after is not None and after.number("warmup_ratio") and not case.unit.number("warmup_ratio"):
        return f"{case.unit.composed.dialect['title']} reads a fraction of a step as a share"
    return ""


def synchronised(case: Case, after: TrainingUnit | None) -> str:
    """SyncBatchNorm takes its statistics over all devices, however many the launcher starts."""
    if case.unit.norm == "sync_batch":
        return "SyncBatchNorm's statistics are those of all devices"
    return ""


def loader_reads_a_number(case: Case, after: TrainingUnit | None) -> str:
    """YAML 1.2 and OmegaConf's resolver read `25e-5` as a number, as JSON and TOML do."""
    if case.loader not in ("yaml11", "unknown"):
        return f"the loader ({case.loader}) reads a number"
    if case.loader == "unknown" and any(
        mark in case.tree.source.text for mark in ("${", "_target_", "_component_", "!new:")
    ):
        return "the file bears marks of OmegaConf or HyperPyYAML, which read a number"
    return ""


def loader_converts(case: Case, after: TrainingUnit | None) -> str:
    """pydantic, jsonargparse and typed dataclasses turn text into the declared type."""
    if case.loader in ("coerced", "yacs"):
        return f"the loader ({case.loader}) turns the text into the number"
    if case.unit.composed.dialect["name"] == "fairseq":
        return "fairseq's dataclasses are typed: OmegaConf's FloatNode turns the text into a number"
    return ""
