"""Which rules can judge which dialect, as a page. Only the site reads this."""

from __future__ import annotations

from typing import Any

from gradaudit.dialects import GENERIC
from gradaudit.dialects.compile import TIMES
from gradaudit.dialects.page import dialects
from gradaudit.dialects.schema import listed
from gradaudit.rules import load
from gradaudit.rules.docs import FAMILIES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.rules import Rule

OUTSIDE = {
    "norm": "`--source` or `--assume`",
    "observed": "`--observed-grad-norm`",
    "steps_per_epoch": "`--assume`",
    "world_size": "`--assume`",
}
"""What most configs cannot say, and by which option it is said instead."""

TIMED = {
    "warmup": {"warmup_steps", "warmup_epochs", "warmup_ratio", "warmup_tokens"},
    "length": {"total_steps", "epochs", "total_tokens"},
}
"""What a time string (`100ba`, `0.02dur`) becomes."""

YES, OPTION, NO = "●", "○", "·"
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
    return derived({name for name in known if name in GENERIC["kinds"] or name == "loss_terms"})


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


def missing(rule: Rule, known: frozenset[str]) -> list[tuple[str, ...]]:
    """The needs of a rule that none of these settings meets, each as the names that would do."""
    needs = [need if isinstance(need, tuple) else (need,) for need in rule.needs]
    return [need for need in needs if known.isdisjoint(need)]


def mark(rule: Rule, known: frozenset[str]) -> str:
    if not missing(rule, known):
        return YES
    return NO if missing(rule, _told(known)) else OPTION


def _told(known: frozenset[str]) -> frozenset[str]:
    """What is known where the options say what they can."""
    return derived({*known, *OUTSIDE})


def table() -> dict[str, frozenset[str]]:
    """Dialect (`OTHER` first) -> the settings that it knows."""
    found = {OTHER: settings_of({"vocabulary": None})}
    for name, raw in dialects().items():
        found[name] = settings_of(raw)
    return found


def page() -> str:
    """The page: first what holds everywhere, then a table a family, then what is missing."""
    rules = list(load().values())
    known = table()
    everywhere = [r for r in rules if all(not missing(r, have) for have in known.values())]
    parts = [
        "# Which rules judge which framework",
        (
            "A rule is called where the settings that it needs are known: from the file, from "
            "what it is built on, from the framework's defaults. A dialect that has no key for one "
            "of them cannot feed the rule. `gradaudit check --verbose` and `gradaudit show` say "
            "the same of one file, where a key may be absent."
        ),
        (
            f"- {YES} judges what the file says.\n"
            f"- {OPTION} judges where an option says the rest: "
            + ", ".join(f"{option} for `{name}`" for name, option in OUTSIDE.items())
            + f".\n- {NO} does not judge: the framework has no key for a setting, or none that "
            "gradaudit reads. What is [missing](#what-is-missing) can be stated by `--assume`, "
            "but for `loss_terms`."
        ),
        "## In every framework",
        "\n".join(f"- {_link(rule)}" for rule in everywhere),
    ]
    for prefix, title in FAMILIES.items():
        family = [r for r in rules if r.code.startswith(prefix) and r not in everywhere]
        if family:
            parts += [f"## {prefix} {title}", _family(family, known)]
    parts += ["## What is missing", _missing(rules, known)]
    return "\n\n".join(parts) + "\n"


def _family(family: list[Rule], known: dict[str, frozenset[str]]) -> str:
    """Dialects as rows, rules as columns."""
    lines = [
        "\n".join(f"- {_link(rule)}: {_needs(rule)}" for rule in family),
        "",
        "| | " + " | ".join(f"[{r.code[2:]}]({r.name}.md)" for r in family) + " |",
        "|---|" + ":-:|" * len(family),
    ]
    for name, have in known.items():
        marks = " | ".join(mark(rule, have) for rule in family)
        lines.append(f"| {_dialect(name)} | {marks} |")
    return "\n".join(lines)


def _missing(rules: list[Rule], known: dict[str, frozenset[str]]) -> str:
    """For each dialect the settings that it has no key for, and the rules that want them."""
    lines = ["| dialect | missing setting: rules that cannot judge |", "|---|---|"]
    for name, have in known.items():
        wanted: dict[str, list[str]] = {}
        for rule in rules:
            for need in missing(rule, _told(have)):
                wanted.setdefault(" or ".join(f"`{n}`" for n in need), []).append(rule.code)
        if wanted:
            said = "; ".join(f"{need}: {', '.join(codes)}" for need, codes in wanted.items())
            lines.append(f"| {_dialect(name)} | {said} |")
    return "\n".join(lines)


def _link(rule: Rule) -> str:
    return f"[{rule.code}]({rule.name}.md) {rule.name}"


def _needs(rule: Rule) -> str:
    needs = [need if isinstance(need, tuple) else (need,) for need in rule.needs]
    return "needs " + ", ".join(" or ".join(f"`{name}`" for name in need) for need in needs)


def _dialect(name: str) -> str:
    return "none: by key names" if name == OTHER else f"[{name}](../dialects/{name}.md)"
