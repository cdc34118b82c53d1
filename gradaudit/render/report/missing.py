"""The rules that could not be judged, what they lack, and what would supply it."""

from __future__ import annotations

from gradaudit.render.report.words import code, rule_link, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.render.report.part import Part

_EXAMPLES = {"norm": "batch", "optimizer": "adamw", "scheduler": "cosine"}


def not_judged(part: Part) -> list[str]:
    """A table, one row for each set of missing settings; empty where nothing is missing."""
    if part.unit is None:
        return []
    rows: dict[tuple[str, ...], list[str]] = {}
    for rule, missing in part.result.not_judged.get(part.unit.name, []):
        rows.setdefault(tuple(missing), []).append(f"{rule_link(rule)} {rule.name}")
    if not rows:
        return []
    return [
        (
            "These rules lack a setting that the file does not name, so they say nothing: neither "
            "that it is right nor that it is wrong."
        ),
        "",
        *table(
            ("missing", "rules", "what would supply it"),
            (
                (_names(missing), ", ".join(rules), "; ".join(supply(m, part) for m in missing))
                for missing, rules in rows.items()
            ),
        ),
    ]


def _names(missing: tuple[str, ...]) -> str:
    return ", ".join(" or ".join(code(n) for n in need.split(" or ")) for need in missing)


def supply(need: str, part: Part) -> str:
    """The option for a need, one of whose alternatives is enough."""
    name = need.split(" or ")[0]
    unit = "" if part.name == "main" else part.name
    if name == "observed":
        of = f" --unit {unit}" if unit else ""
        return code(f"--observed-grad-norm NORM --observed-epoch EPOCH{of}")
    if name == "loss_terms":
        return "no option: weights in the file, in keys such as `mse_weight` or `loss_weights`"
    of = f"{unit}=" if unit else ""
    source = code(f"--source {of}FILE.py")
    if name == "source":
        return source
    prefix = f"{unit}." if unit and len(part.result.units) > 1 else ""
    assume = code(f"--assume {prefix}{name}={_EXAMPLES.get(name, 'N')}")
    if name == "norm":
        return f"{source} or {assume}"
    return assume
