"""The screens of `rules` and `explain`."""

from __future__ import annotations

from gradaudit.render.layout import PROSE, clean, piece, wrap
from gradaudit.rules import PROFILES
from gradaudit.rules.docs import FAMILIES, as_text, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.render.layout import Line
    from gradaudit.rules import Rule


ONE_LINE = 120
"""From so many columns on, what a rule says stands beside its name; below, under it."""


def rule_list(rules: list[Rule], width: int) -> list[Line]:
    """The rules under their families: code, severity, name, profile where that is not the default
    one, and what each says, never cut."""
    return [*grouped(by_family(rules), width), *closing(rules, width)]


def symptom_list(found: dict[str, list[Rule]], width: int, narrowed: bool = False) -> list[Line]:
    """The same under each symptom; `narrowed` where the rules are not all that there are."""
    nobody = "None of these rules" if narrowed else "No rule"
    rules = [rule for named in found.values() for rule in named]
    return [*grouped(found, width, nobody), *closing(rules, width)]


def grouped(groups: dict[str, list[Rule]], width: int, nobody: str = "No rule") -> list[Line]:
    """Rules under headings."""
    lines: list[Line] = []
    rules = [rule for named in groups.values() for rule in named]
    left = max((len(_named(rule)) for rule in rules), default=0) if width >= ONE_LINE else 0
    for heading, named in groups.items():
        if lines:
            lines.append([])
        lines.append([piece(clean(heading), "heading")])
        for rule in named:
            lines += _rule(rule, left, width)
        if not named:
            lines.append([piece(f"  {nobody} knows a cause of it in a config.")])
    return lines


def closing(rules: list[Rule], width: int) -> list[Line]:
    """What more can be asked of these rules."""
    lines: list[Line] = [[], [piece("`gradaudit explain CODE` says more of one.")]]
    beyond = [name for name in PROFILES[1:] if any(rule.profile == name for rule in rules)]
    if beyond:
        said = " or ".join(beyond)
        text = f"Those marked {said} run with `--profile {'|'.join(beyond)}` or by name."
        lines.extend([piece(line)] for line in wrap(text, width))
    return lines


def _rule(rule: Rule, left: int, width: int) -> list[Line]:
    """One rule; what it says stands `left` columns after where its name begins, or below."""
    severity = rule.severities[0]
    indent = 2 + len(rule.code) + 2
    head: Line = [
        piece("  "),
        piece(rule.code, "code", rule.url),
        piece(f"  {severity:<7}  ", severity),
        piece(rule.name),
    ]
    if rule.profile != PROFILES[0]:
        head.append(piece(f"  {rule.profile}", "bold"))
    if left:
        indent += 9 + left + 2
        head.append(piece(" " * (left - len(_named(rule)) + 2)))
    first, *more = wrap(clean(parse(rule).title), min(width, indent + PROSE), " " * indent)
    said: list[Line] = [[piece(line, "dim")] for line in more]
    if left:
        return [[*head, piece(first.lstrip(), "dim")], *said]
    return [head, [piece(first, "dim")], *said]


def _named(rule: Rule) -> str:
    return rule.name if rule.profile == PROFILES[0] else f"{rule.name}  {rule.profile}"


def by_family(rules: list[Rule]) -> dict[str, list[Rule]]:
    groups: dict[str, list[Rule]] = {}
    for rule in rules:
        groups.setdefault(_family(rule), []).append(rule)
    return groups


def _family(rule: Rule) -> str:
    """What stands above a rule: its family, or the plugin that it comes from."""
    if rule.package:
        return f"{rule.code.rstrip('0123456789')}  Plugin {rule.package}"
    return f"{rule.code[:3]}  {FAMILIES[rule.code[:3]]}"


def rule_page(rule: Rule, width: int) -> list[Line]:
    lines: list[Line] = []
    for kind, text in as_text(rule):
        if kind == "heading":
            lines += [[], [piece(clean(text), "heading")]]
        elif kind == "code":
            lines.extend([piece("    " + clean(line), "word")] for line in text.splitlines())
        elif kind == "item":
            lines.extend([piece(line)] for line in wrap(clean(text), min(width, PROSE), "  - "))
        else:
            lines.extend([piece(line)] for line in wrap(clean(text), min(width, PROSE)))
    return lines[1:] if lines and not lines[0] else lines
