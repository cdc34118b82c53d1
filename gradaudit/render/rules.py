"""The screens of `rules` and `explain`."""

from __future__ import annotations

from gradaudit.render.layout import PROSE, clean, fit, piece, wrap
from gradaudit.rules import PROFILES
from gradaudit.rules.docs import FAMILIES, as_text, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.render.layout import Line
    from gradaudit.rules import Rule


def rule_list(rules: list[Rule], width: int) -> list[Line]:
    """One line a rule under its family: code, severity, name, its profile where that is not the
    default one, and what it says where it fits."""
    groups: dict[str, list[Rule]] = {}
    for rule in rules:
        groups.setdefault(_family(rule), []).append(rule)
    return _grouped(groups, width)


def symptom_list(found: dict[str, list[Rule]], width: int) -> list[Line]:
    """The same under each symptom."""
    return _grouped(found, width)


def _grouped(groups: dict[str, list[Rule]], width: int) -> list[Line]:
    lines: list[Line] = []
    rules = [rule for named in groups.values() for rule in named]
    names = max((len(rule.name) for rule in rules), default=0)
    for heading, named in groups.items():
        if lines:
            lines.append([])
        lines.append([piece(clean(heading), "heading")])
        lines += [_line(rule, names, width) for rule in named]
        if not named:
            lines.append([piece("  No rule knows a cause of it in a config.")])
    lines += [[], [piece("`gradaudit explain CODE` says more of one.")]]
    beyond = [name for name in PROFILES[1:] if any(rule.profile == name for rule in rules)]
    if beyond:
        said = " or ".join(beyond)
        text = f"Those marked {said} run with `--profile {'|'.join(beyond)}` or by name."
        lines.append([piece(text)])
    return lines


def _line(rule: Rule, names: int, width: int) -> Line:
    severity = rule.severities[0]
    line: Line = [
        piece("  "),
        piece(rule.code, "code", rule.url),
        piece(f"  {severity:<7}  ", severity),
        piece(f"{rule.name:<{names}}"),
    ]
    room = width - (2 + len(rule.code) + 11 + names + 2)
    if rule.profile != PROFILES[0]:
        line.append(piece(f"  {rule.profile}", "bold"))
        room -= len(rule.profile) + 2
    if room >= 20:
        line.append(piece("  " + fit(parse(rule).title, room), "dim"))
    return line


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
