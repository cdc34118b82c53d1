"""What a dialect file may say; docs/dialects-howto.md explains each entry.

A file that breaks it is refused with the entry and the mend.
"""

from __future__ import annotations

from typing import Any, NoReturn

from gradaudit.dialects.loaders import LOADERS

TOP = {
    "name", "title", "homepage", "about", "extends", "recognise", "loader", "compose",
    "interpolation", "units", "settings", "loss_terms", "vocabulary", "traps",
}  # fmt: skip
SETTING = {"from", "off", "auto", "absent", "compute", "source"}
ENTRY = {
    "path", "when", "unless", "in_unit", "values", "flags", "as", "unit", "note", "scale", "tag",
    "off", "fraction_as", "one_minus", "prefix", "count", "silent",
}  # fmt: skip
ABSENT = {"value", "unknown", "when", "unless", "source", "note"}
COMPUTE = {"of", "over", "root_of", "root_over", "rounded", "when", "unless", "note"}
COMPOSE = {"bases", "links", "hydra", "lists", "delete_key", "run"}
BASE = {"key", "relative_to", "order"}
LINK = {"key", "relative_to", "dialect", "decides", "without"}
UNIT = {"at", "name", "named", "tag"}
TERMS = {"terms", "by_design", "source"}
TERM = {"path", "name", "named_by", "role", "when", "unless", "in_unit"}
ROLES = {"primary", "auxiliary", "regulariser", "unknown"}
VOCABULARY = {"sections", "keys", "in", "ignored", "transparent", "never", "zero_is_off"}


class BadDialect(Exception):
    """A dialect file that breaks the schema: the file, the entry and what to mend."""


def check(raw: dict[str, Any], file: str, kinds: dict[str, str]) -> None:
    """Refuse a dialect that the compiler could misread.

    `kinds` are the canonical settings (those of the generic dialect) and the kind of each.

    Raises:
        BadDialect: an unknown entry, a missing one, or a value of the wrong type.
    """
    try:
        _check_top(raw)
        for name, spec in raw.get("settings", {}).items():
            _check_setting(name, spec, kinds)
    except _Wrong as error:
        raise BadDialect(f"{file}: {error}") from None


class _Wrong(Exception):
    """Where, and what to mend."""


def _fail(where: str, problem: str) -> NoReturn:
    raise _Wrong(f"{where}: {problem}")


def _known(entries: Any, allowed: set[str], where: str) -> None:
    if not isinstance(entries, dict):
        _fail(where, f"takes a mapping of {', '.join(sorted(allowed))}")
    for entry in entries:
        if entry not in allowed:
            _fail(where, f"unknown entry `{entry}`; there are {', '.join(sorted(allowed))}")


def _check_top(raw: dict[str, Any]) -> None:
    _known(raw, TOP, "top")
    for entry in ("name", "title", "recognise", "loader"):
        if entry not in raw:
            _fail("top", f"`{entry}:` is missing")
    for marker, weight in raw["recognise"].items():
        if not isinstance(weight, int):
            _fail(f"recognise.{marker}", "takes a whole number as its weight (10 is certain)")
    _known(raw["loader"], {"kind", "source", "tags", "converts_where"}, "loader")
    if raw["loader"].get("kind") not in LOADERS:
        _fail("loader.kind", f"takes one of {', '.join(LOADERS)}")
    _known(raw.get("compose", {}), COMPOSE, "compose")
    for group in ("bases", "links"):
        for base in raw.get("compose", {}).get(group, []):
            _known(base, BASE if group == "bases" else LINK, f"compose.{group}")
            if base.get("relative_to") not in ("file", "search"):
                _fail(f"compose.{group}", "`relative_to` takes file or search")
    if raw.get("interpolation", "none") not in ("none", "omegaconf", "hyperpyyaml"):
        _fail("interpolation", "takes omegaconf, hyperpyyaml or none")
    for unit in raw.get("units", []):
        _known(unit, UNIT, "units")
        if "at" not in unit:
            _fail("units", "each takes `at:`, the path of its section")
    _known(raw.get("vocabulary", {}), VOCABULARY, "vocabulary")
    terms = raw.get("loss_terms", {})
    _known(terms, TERMS, "loss_terms")
    for term in terms.get("terms", []):
        if isinstance(term, dict):
            _known(term, TERM, "loss_terms.terms")
            if term.get("role", "unknown") not in ROLES:
                _fail("loss_terms.terms.role", f"takes one of {', '.join(sorted(ROLES))}")


def _check_setting(name: str, spec: Any, kinds: dict[str, str]) -> None:
    where = f"settings.{name}"
    if name not in kinds and not name.startswith("_"):
        _fail(where, "no canonical setting is called so (helpers begin with `_`)")
    if not isinstance(spec, (dict, list, str)):
        _fail(where, "takes a path, a list of paths, or a mapping")
    if not isinstance(spec, dict):
        spec = {"from": spec}
    _known(spec, SETTING, where)
    for entry in listed(spec.get("from", [])):
        if isinstance(entry, str):
            continue
        _known(entry, ENTRY, f"{where}.from")
        if "path" not in entry:
            _fail(f"{where}.from", "each takes `path:`")
        other = entry.get("as")
        if other is not None and other not in kinds and not other.startswith("_"):
            _fail(f"{where}.from.as", f"no canonical setting is called `{other}`")
    for absent in listed(spec.get("absent", [])):
        if isinstance(absent, dict):
            _known(absent, ABSENT, f"{where}.absent")
            if ("value" in absent) == ("unknown" in absent):
                _fail(f"{where}.absent", "takes either `value:` or `unknown:`")
        if "source" not in spec and not (isinstance(absent, dict) and absent.get("source")):
            _fail(where, "a default names its `source:`")
    for compute in listed(spec.get("compute", [])):
        _known(compute, COMPUTE, f"{where}.compute")
        if "of" not in compute:
            _fail(f"{where}.compute", "takes `of:`, the settings that are multiplied")


def listed(value: Any) -> list[Any]:
    """A single value as a list of one."""
    return value if isinstance(value, list) else [value]
