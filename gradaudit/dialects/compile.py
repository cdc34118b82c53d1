"""Turn the dialect files into `_compiled.py`, the one table that a check loads.

Parsing the YAML at each start would cost more than the check itself. A test holds the table fresh.

    python -m gradaudit.dialects.compile
"""

from __future__ import annotations

import pprint
from pathlib import Path
from typing import Any

from gradaudit.source import read
from gradaudit.syntax import parse
from gradaudit.syntax.plain import plain

HERE = Path(__file__).parent
TARGET = HERE / "_compiled.py"

SETTING_KINDS = {"number", "pair", "name", "optimizer", "precision", "norm", "flag"}
_TOP = {
    "name", "title", "loader", "sections", "transparent", "ignored", "switch", "nothing",
    "settings", "loss_terms",
}  # fmt: skip
_SETTING = {"kind", "keys", "in", "zero_is_off", "flags", "not_with"}
_GROUPS = (
    "title", "weights", "parameter", "apart", "adversarial", "pairwise", "batch_statistic",
    "hinge",
)  # fmt: skip


class BadDialect(Exception):
    """A dialect file that breaks the schema: the file, and what to mend."""


def compile_dialect(raw: dict[str, Any], name: str) -> dict[str, Any]:
    """One dialect as the table holds it: everything indexed by key.

    Raises:
        BadDialect: an unknown entry, or a key that means two things in the same section.
    """
    if unknown := set(raw) - _TOP:
        raise BadDialect(f"{name}: unknown entry {sorted(unknown)[0]!r}")
    sections: dict[str, str] = {}
    for kind, names in raw["sections"].items():
        sections.update(dict.fromkeys(names, kind))
    sections.update(dict.fromkeys(raw["transparent"], "transparent"))
    sections.update(dict.fromkeys(raw["ignored"], "ignored"))
    keys: dict[str, str] = {}
    within: dict[str, dict[str, str]] = {}
    flags: dict[str, str] = {}
    kinds: dict[str, str] = {}
    zero_is_off: list[str] = []
    not_with: dict[str, dict[str, tuple[str, ...]]] = {}
    for setting, spec in raw["settings"].items():
        if unknown := set(spec) - _SETTING:
            raise BadDialect(f"{name}: {setting}: unknown entry {sorted(unknown)[0]!r}")
        if spec["kind"] not in SETTING_KINDS:
            raise BadDialect(f"{name}: {setting}: unknown kind {spec['kind']!r}")
        kinds[setting] = spec["kind"]
        for key in spec["keys"]:
            if keys.setdefault(key, setting) != setting:
                raise BadDialect(f"{name}: {key!r} is both {keys[key]} and {setting}")
        for section, inner in spec.get("in", {}).items():
            for key in inner:
                if within.setdefault(section, {}).setdefault(key, setting) != setting:
                    raise BadDialect(f"{name}: {section}.{key} means two settings")
        for value, flag_keys in spec.get("flags", {}).items():
            flags.update(dict.fromkeys(flag_keys, value))
        zero_is_off.extend(spec.get("zero_is_off", []))
        for key, words in spec.get("not_with", {}).items():
            not_with.setdefault(setting, {})[key] = tuple(words)
    for section, inner in raw["nothing"].items():
        for key in inner:
            if within.setdefault(section, {}).setdefault(key, ""):
                raise BadDialect(f"{name}: {section}.{key} means something and nothing")
    terms = raw["loss_terms"]
    roles = {token: role for role, tokens in terms["roles"].items() for token in tokens}
    return {
        "name": raw["name"],
        "title": raw["title"],
        "loader": raw["loader"]["kind"],
        "sections": sections,
        "keys": keys,
        "in": within,
        "flags": flags,
        "kinds": kinds,
        "zero_is_off": tuple(zero_is_off),
        "not_with": not_with,
        "switch": {group: tuple(raw["switch"][group]) for group in ("sections", "keys")},
        "loss_terms": {
            "suffixes": tuple(sorted(terms["suffixes"], key=len, reverse=True)),
            "prefixes": tuple(terms["prefixes"]),
            "in_term": tuple(terms["in_term"]),
            "never": tuple(terms["never"]),
            "roles": roles,
            **{group: tuple(terms[group]) for group in _GROUPS},
        },
    }


def render() -> str:
    """The text of `_compiled.py`."""
    table = {}
    for path in sorted(HERE.glob("*.yaml")):
        raw = plain(parse(read(str(path))).roots[0])
        assert isinstance(raw, dict)
        table[path.stem] = compile_dialect(raw, path.name)
    body = pprint.pformat(table, width=100, sort_dicts=False, compact=True)
    return (
        '"""Generated from the dialect files by `python -m gradaudit.dialects.compile`."""\n\n'
        "from __future__ import annotations\n\n"
        "TYPE_CHECKING = False\nif TYPE_CHECKING:\n    from typing import Any\n\n"
        f"# fmt: off\nDIALECTS: dict[str, dict[str, Any]] = {body}\n"
    )


if __name__ == "__main__":
    TARGET.write_text(render(), encoding="utf-8")
