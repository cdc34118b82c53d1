"""Which rules can judge which dialect, and what is missing where they cannot. Cold path: the site
and `rules --dialect` read this, a check never does."""

from __future__ import annotations

from itertools import combinations
from typing import Any

from gradaudit.dialects import GENERIC, PLUGGED
from gradaudit.dialects.compile import TIMES
from gradaudit.dialects.page import dialects
from gradaudit.dialects.schema import listed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.rules import Rule

OUTSIDE = {
    "norm": "`--source` or `--assume`",
    "observed": "`--observed-grad-norm`",
    "source": "`--source`",
    "record": "`--record`",
    "steps_per_epoch": "`--assume`",
    "world_size": "`--assume`",
}
"""What most configs cannot say, and by which option it is said instead."""

TIMED = {
    "warmup": {"warmup_steps", "warmup_epochs", "warmup_ratio", "warmup_tokens"},
    "length": {"total_steps", "epochs", "total_tokens"},
}
"""What a time string (`100ba`, `0.02dur`) becomes."""

_LAUNCHER_FILE = "an Accelerate config named with it"
OTHER_FILE = {
    "GA801": "a DeepSpeed config that it names",
    "GA802": _LAUNCHER_FILE,
    "GA803": _LAUNCHER_FILE,
    "GA804": _LAUNCHER_FILE,
    "GA806": "the config saved with the checkpoint that it resumes from",
}
"""Rule of scope `run` -> the file with which it compares a config."""

_COMPARED = {
    "GA801": ("deepspeed_file",),
    "GA802": ("launcher_file", "precision"),
    "GA803": ("launcher_file", "accumulation"),
    "GA804": ("launcher_file", "world_size"),
    "GA806": ("resume",),
}
"""What a config has to say for that."""

FILES = {
    "deepspeed_file": "key that links a DeepSpeed config",
    "launcher_file": "training that a launcher starts",
    "record": "a record of the training",
    "source": "the training loop in Python",
}
"""Among these, what is no setting, in words."""

YES, OPTION, BESIDE, NO = "●", "○", "◐", "·"
OTHER = "no framework"


def settings_of(raw: dict[str, Any]) -> frozenset[str]:
    """The canonical settings that a dialect can find in a file, or knows the default of."""
    known = set()
    for name, spec in raw.get("settings", {}).items():
        spec = spec if isinstance(spec, dict) else {"from": spec}
        entries = [e if isinstance(e, dict) else {} for e in listed(spec.get("from", []))]
        for entry in entries:
            known.add(entry.get("as", name))
            known.update({entry["fraction_as"]} if "fraction_as" in entry else ())
        absents = [a if isinstance(a, dict) else {"value": a} for a in listed(spec.get("absent"))]
        if "compute" in spec or any(absent.get("value") is not None for absent in absents):
            known.add(name)
    for name in known & set(TIMES):
        known |= TIMED[name]
    if raw.get("loss_terms", {}).get("terms"):
        known.add("loss_terms")
    if "vocabulary" in raw:
        known |= {*GENERIC["kinds"], "loss_terms"}
    known = {name for name in known if name in GENERIC["kinds"] or name == "loss_terms"}
    return derived(known | _files_of(raw))


def _files_of(raw: dict[str, Any]) -> set[str]:
    """The kinds of files that can stand beside a dialect's in one run."""
    links = raw.get("compose", {}).get("links", [])
    found = (
        {"deepspeed_file"} if any(link.get("dialect") == "deepspeed" for link in links) else set()
    )
    if raw.get("name") not in ("accelerate", "deepspeed"):
        found.add("launcher_file")
    return found


def derived(known: set[str]) -> frozenset[str]:
    """These settings with those that follow from them, as the plan computes them."""
    more = set(known)
    if known >= {"beta1", "beta2"}:
        more.add("betas")
    if known >= {"micro_batch", "accumulation", "world_size"}:
        more.add("global_batch")
    if known >= {"global_batch", "world_size"}:
        more.add("micro_batch")
    return frozenset(more)


def needs_of(rule: Rule) -> list[tuple[str, ...]]:
    """Each need of a rule as the names that would do: one, or several."""
    record = ("record",) if rule.scope == "record" else ()
    needs = (*rule.needs, *_COMPARED.get(rule.code, ()), *record)
    return [need if isinstance(need, tuple) else (need,) for need in needs]


def missing(rule: Rule, known: frozenset[str]) -> list[tuple[str, ...]]:
    """The needs of a rule that none of these settings meets, each as the names that would do."""
    return [need for need in needs_of(rule) if known.isdisjoint(need)]


def lacking(rule: Rule, known: frozenset[str]) -> list[tuple[str, ...]]:
    """Those of its missing needs that the options of `OUTSIDE` do not meet either."""
    if rule.code in OTHER_FILE:
        return missing(rule, known)  # only what both files say is compared
    return missing(rule, derived({*known, *OUTSIDE}))


def to_say(rule: Rule, known: frozenset[str]) -> tuple[str, ...]:
    """The fewest settings of `OUTSIDE` with which a rule judges; none where it needs none of them,
    or where they do not help."""
    if lacking(rule, known):
        return ()
    for count in range(len(OUTSIDE) + 1):
        for said in combinations(OUTSIDE, count):
            if not missing(rule, derived({*known, *said})):
                return said
    return ()


def mark(rule: Rule, known: frozenset[str]) -> str:
    if not missing(rule, known):
        return BESIDE if rule.code in OTHER_FILE else YES
    return NO if lacking(rule, known) else OPTION


def table() -> dict[str, frozenset[str]]:
    """Dialect (`OTHER` first) -> the settings that it knows."""
    found = {OTHER: _of_no_framework()}
    for name, raw in dialects().items():
        found[name] = settings_of(raw)
    return found


def settings_of_named(name: str) -> frozenset[str]:
    """The same of one dialect, `generic` and those of loaded plugins included.

    Raises:
        KeyError: there is no such dialect.
    """
    if name == "generic":
        return _of_no_framework()
    if name in PLUGGED:
        from gradaudit.dialects.plugged import RAWS

        return settings_of(RAWS[name])
    return settings_of(dialects()[name])


def _of_no_framework() -> frozenset[str]:
    return settings_of({"vocabulary": None})
