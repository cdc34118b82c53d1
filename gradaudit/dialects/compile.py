"""Turn the dialect files into `compiled/`, the tables that a check loads.

Parsing sixty YAML files at each start would cost more than the check itself. There is one module a
dialect, loaded when a file of that dialect is met, and one with the markers of all of them. A test
holds them fresh.

    python -m gradaudit.dialects.compile [--check]
"""

from __future__ import annotations

import pprint
import sys
from pathlib import Path
from typing import Any

from gradaudit.dialects.linked import with_linked
from gradaudit.dialects.paths import UP_TO_ZERO, add
from gradaudit.dialects.schema import BadDialect, check, listed
from gradaudit.source import read
from gradaudit.syntax import parse
from gradaudit.syntax.plain import plain

HERE = Path(__file__).parent
TARGET = HERE / "compiled"

SETTING_KINDS = {"number", "numbers", "pair", "name", "optimizer", "precision", "norm", "flag"}
TIMES = {"warmup": "time", "length": "time"}
"""Settings whose value names its own unit (`100ba`, `2ep`), and with it the canonical setting."""

_TOP = {
    "name", "title", "loader", "sections", "own_optimizer", "transparent", "ignored", "switch",
    "nothing", "settings", "loss_terms", "compose",
}  # fmt: skip
_SETTING = {"kind", "keys", "in", "zero_is_off", "flags", "not_with"}
_GROUPS = (
    "title", "weights", "parameter", "apart", "adversarial", "pairwise", "batch_statistic",
    "hinge",
)  # fmt: skip


def compile_generic(raw: dict[str, Any], name: str) -> dict[str, Any]:
    """The vocabulary of key names as its table: everything indexed by key.

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
    if "optimizer" in within:
        within["own_optimizer"] = within["optimizer"]
    terms = raw["loss_terms"]
    roles = {token: role for role, tokens in terms["roles"].items() for token in tokens}
    return {
        **_common(raw),
        "vocabulary": True,
        "sections": sections,
        "own_optimizer": {
            group: tuple(raw.get("own_optimizer", {}).get(group, ())) for group in ("words", "of")
        },
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


def _common(raw: dict[str, Any]) -> dict[str, Any]:
    """What every table has, empty where the file says nothing."""
    interpolation = raw.get("interpolation", "")
    return {
        "name": raw["name"],
        "title": raw["title"],
        "loader": raw["loader"]["kind"],
        "loader_source": raw["loader"].get("source", ""),
        "converts_where": tuple(raw["loader"].get("converts_where", ())),
        "interpolation": "" if interpolation == "none" else interpolation,
        "compose": raw.get("compose", {}),
        "trie": {},
        "units": (),
        "paths": (),
        "formulas": (),
        "terms": (),
        "terms_apart": False,
    }


def compile_dialect(raw: dict[str, Any], file: str, kinds: dict[str, str]) -> dict[str, Any]:
    """One framework's dialect as its table: every key path in one tree.

    Raises:
        BadDialect: see `schema.check`.
    """
    check(raw, file, kinds)
    table = _common(raw)
    units = tuple(_unit(unit) for unit in raw.get("units", []))
    roots = [unit[0] for unit in units]
    trie: dict[str, Any] = {}

    def meet(path: str) -> str:
        """Ask the walk for a path; the paths of a unit are asked for in every unit."""
        if path.startswith("@."):
            for root in roots:
                add(trie, f"{root}.{path[2:]}", f"{root}.{path[2:]}")
        elif path != "@":
            add(trie, path, path)
        return path

    for root in roots:
        meet(root)
    table["units"] = units
    table["paths"] = tuple(
        _setting(name, spec, kinds.get(name, "number"), meet, raw["title"])
        for name, spec in raw.get("settings", {}).items()
    )
    table["formulas"] = tuple(
        {"name": spec["name"], "compute": spec.pop("compute")}
        for spec in table["paths"]
        if "compute" in spec
    )
    terms = raw.get("loss_terms", {})
    table["terms"] = tuple(_term(term, meet) for term in terms.get("terms", []))
    table["terms_apart"] = bool(terms.get("by_design", False))
    table["trie"] = trie
    table["vocabulary"] = "vocabulary" in raw
    if table["vocabulary"]:
        table["words"] = _plain(raw["vocabulary"] or {})
    return table


def _unit(raw: dict[str, Any]) -> tuple[str, str, str, str]:
    """(path, name or empty, when it is named: `always`, or `several` for beside another, the
    pattern of its section's tag or empty)."""
    return raw["at"], raw.get("name", ""), raw.get("named", "several"), raw.get("tag", "")


def _setting(name: str, spec: Any, kind: str, meet: Any, title: str) -> dict[str, Any]:
    if not isinstance(spec, dict):
        spec = {"from": spec}
    entries = []
    for entry in listed(spec.get("from", [])):
        entry = {"path": entry} if isinstance(entry, str) else dict(entry)
        meet(entry["path"])
        _add_conditions(entry, meet)
        _add_texts(entry)
        off = entry.get("off", spec.get("off"))
        if off is not None:
            entry["off"] = _off(off)
        entry["always"] = _CONDITIONS.isdisjoint(entry)
        entry["bare"] = (
            kind in _BARE_KINDS
            and "auto" not in spec
            and _BARE.issuperset(entry)
            and (kind == "number" or "off" not in entry)
            and all(map(_is_up_to_zero, entry.get("off", ())))
        )
        entry["plain"] = _TRANSLATES.isdisjoint(entry) and "auto" not in spec
        entries.append(entry)
    paths = dict.fromkeys(entry["path"] for entry in entries)
    made: dict[str, Any] = {
        "name": name,
        "kind": kind,
        "from": tuple(entries),
        "at": tuple(path for path in paths if path[0] != "@"),
        "of_unit": any(path[0] == "@" for path in paths),
    }
    if "off" in spec:
        made["off"] = _off(spec["off"])
    if "auto" in spec:
        made["auto"] = tuple(_text(value) for value in listed(spec["auto"]))
    if "absent" in spec:
        absents = []
        for absent in listed(spec["absent"]):
            absent = dict(absent) if isinstance(absent, dict) else {"value": absent}
            if "source" not in absent and "source" in spec:
                absent["source"] = spec["source"]
            if isinstance(absent.get("value"), list):
                absent["value"] = tuple(absent["value"])
            _add_conditions(absent, meet)
            absent["always"] = _CONDITIONS.isdisjoint(absent)
            if "value" in absent:
                absent["note"] = _said_of_default(name, absent, title)
            absents.append(absent)
        made["absent"] = tuple(absents)
    if "compute" in spec:
        computes = []
        for compute in listed(spec["compute"]):
            compute = dict(compute)
            for group in ("of", "root_of", "over"):
                if group == "over" and not isinstance(compute.get(group, 1), (str, list)):
                    continue
                if group in compute:
                    compute[group] = tuple(listed(compute[group]))
            _add_conditions(compute, meet)
            computes.append(compute)
        made["compute"] = tuple(computes)
    return made


_CONDITIONS = frozenset(("when", "unless", "in_unit"))
_BARE_KINDS = frozenset(("number", "name", "flag", "optimizer"))
_BARE = frozenset(("path", "always", "off", *_CONDITIONS))
"""Of an entry that says where a value stands, and nothing of what it means (`plan.bare`)."""
_TRANSLATES = frozenset(("flags", "values", "off", "prefix", "tag", "count", "silent"))
"""Entries that change how a text is read; without them it is read as it stands."""


def _add_texts(entry: dict[str, Any]) -> None:
    """What an entry compares a file's texts with, spelled as those are."""
    for table in ("values", "flags"):
        if table in entry:
            entry[table] = {_text(key): value for key, value in entry[table].items()}
    if "silent" in entry:
        entry["silent"] = tuple(_text(value) for value in listed(entry["silent"]))


def _off(values: Any) -> tuple[str, ...]:
    """The texts that mean off; `<=0` is 0 and whatever begins with a minus."""
    texts = [] if values == [] else [_text(value) for value in listed(values)]
    return ("0", *texts) if UP_TO_ZERO in texts else tuple(texts)


def _is_up_to_zero(off: str) -> bool:
    """Whether a spelling of off is no number above 0."""
    try:
        return float(off) <= 0
    except ValueError:
        return True


def _said_of_default(name: str, absent: dict[str, Any], title: str) -> str:
    """`default of detectron2 (config/defaults.py)`."""
    off = "off: " if absent["value"] is None and name.startswith("clip") else ""
    note = absent.get("note") or f"{off}default of {title}"
    return f"{note} ({absent['source']})" if absent.get("source") else note


def _add_conditions(entry: dict[str, Any], meet: Any) -> None:
    """`when` as (path, allowed texts): every one must hold. `unless` likewise: if all hold, not."""
    for group in ("when", "unless"):
        if group in entry:
            entry[group] = tuple(
                (meet(path), tuple(_text(value) for value in listed(allowed)))
                for path, allowed in entry[group].items()
            )


def _term(raw: Any, meet: Any) -> dict[str, Any]:
    term = {"path": raw} if isinstance(raw, str) else dict(raw)
    meet(term["path"])
    if "named_by" in term:
        meet(term["named_by"])
    _add_conditions(term, meet)
    return term


def _text(value: Any) -> str:
    """A value as it is compared with a file's: in lower case, numbers in one spelling."""
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "null"
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return str(value).lower()
    return f"{value:g}"


def _plain(value: Any) -> Any:
    """Lists as tuples: tables are shared and never changed."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return tuple(_plain(item) for item in value) if isinstance(value, list) else value


def markers(raws: list[dict[str, Any]]) -> dict[str, Any]:
    """The markers of all dialects by where they are looked for; see `recognise`.

    A key's markers are one text, `detectron2 8;slowfast 2=adamw|sgd`, with `>` before it where
    there are more below the key: a thousand short texts are read in a tenth of the time of as many
    tuples, and nearly all of them are never looked at.
    """
    table: dict[str, Any] = {"paths": {}, "deep": {}, "below": {}}
    tags, comments, files = [], [], []
    for raw in raws:
        for marker, weight in raw["recognise"].items():
            name = raw["name"]
            if marker.startswith("!"):
                # `!!` is short for YAML's own tags, and the tree has them in full
                tag = marker.replace("!!", "tag:yaml.org,2002:", 1)
                tags.append((tag, name, weight))
            elif marker.startswith("#"):
                comments.append((marker, name, weight))
            elif marker.startswith("file:"):
                files.append((marker[5:], name, weight))
            else:
                path, equals, values = marker.replace("\\.", ".").partition("=")
                group = "paths"
                if path.startswith("**."):
                    group, path = "deep", path[3:]
                elif path.startswith("*.") and path.count(".") == 1:
                    group, path = "below", path[2:]
                said = f"{name} {weight}{equals}{values}"
                before = table[group].get(path)
                table[group][path] = f"{before};{said}" if before else said
    sections = set()
    for path in table["paths"]:
        parts = path.replace("[", ".[").split(".")
        for depth in range(1, len(parts)):
            sections.add(".".join(parts[:depth]).replace(".[", "["))
    for section in sorted(sections):
        table["paths"][section] = f">{table['paths'].get(section, '')}"
    return {
        **table, "tags": tuple(tags), "comments": tuple(comments), "files": tuple(files),
    }  # fmt: skip


def base_keys(raws: list[dict[str, Any]]) -> dict[str, tuple[str, ...]]:
    """Key that names a base file -> the dialects that have it."""
    found: dict[str, list[str]] = {}
    for raw in raws:
        for base in raw.get("compose", {}).get("bases", []):
            found.setdefault(base["key"], []).append(raw["name"])
    return {key: tuple(names) for key, names in found.items()}


def runs(raws: list[dict[str, Any]]) -> dict[str, tuple[str, ...]]:
    """The dialects whose launcher reads several files side by side -> words of theirs."""
    return {
        raw["name"]: tuple(raw["compose"]["run"])
        for raw in raws
        if raw.get("compose", {}).get("run")
    }


def sources() -> dict[str, dict[str, Any]]:
    """Every dialect file as plain data, by its file's stem; the generic one first."""
    found = {}
    for path in sorted(HERE.glob("*.yaml"), key=lambda p: (p.stem != "generic", p.stem)):
        raw = plain(parse(read(str(path))).roots[0])
        assert isinstance(raw, dict)
        if raw.get("name") != path.stem:
            raise BadDialect(f"{path.name}: `name:` must be {path.stem}, as the file is called")
        found[path.stem] = raw
    return found


def render() -> dict[str, str]:
    """File name -> text of every module in `compiled/`."""
    raws = sources()
    generic = compile_generic(raws.pop("generic"), "generic.yaml")
    modules = {
        "__init__.py": '"""Generated from the dialect files by `gradaudit.dialects.compile`."""\n',
        "generic.py": _module("TABLE", generic),
    }
    raws = {stem: extended(raw, raws) for stem, raw in raws.items()}
    raws = {stem: with_linked(raw, raws) for stem, raw in raws.items()}
    for stem, raw in raws.items():
        table = compile_dialect(raw, f"{stem}.yaml", generic["kinds"] | TIMES)
        modules[f"{stem.replace('-', '_')}.py"] = _module("TABLE", table)
    everything = list(raws.values())
    titles = {raw["name"]: raw["title"] for raw in everything} | {"generic": generic["title"]}
    modules["markers.py"] = (
        _module("MARKERS", markers(everything))
        + f"BASE_KEYS: dict[str, tuple[str, ...]] = {_pretty(base_keys(everything))}\n"
        + f"RUNS: dict[str, tuple[str, ...]] = {_pretty(runs(everything))}\n"
        + f"TITLES: dict[str, str] = {_pretty(titles)}\n"
        + "NAMES = tuple(TITLES)\n"
    )
    return modules


def extended(raw: dict[str, Any], raws: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """A dialect with the settings of the one that it extends; its own win, null takes one out.

    Raises:
        BadDialect: it extends what is not there.
    """
    parent = raw.get("extends")
    if parent is None:
        return raw
    if parent not in raws:
        raise BadDialect(f"{raw['name']}.yaml: extends: there is no dialect `{parent}`")
    base = extended(raws[parent], raws)
    settings = {**base.get("settings", {}), **raw.get("settings", {})}
    inherited = ("compose", "interpolation", "units", "loss_terms")
    return {
        **{key: value for key, value in base.items() if key in inherited},
        **raw,
        "settings": {name: spec for name, spec in settings.items() if spec is not None},
    }


def _module(name: str, table: dict[str, Any]) -> str:
    return (
        '"""Generated from the dialect files by `python -m gradaudit.dialects.compile`."""\n\n'
        "from __future__ import annotations\n\n"
        "TYPE_CHECKING = False\nif TYPE_CHECKING:\n    from typing import Any\n\n"
        f"# fmt: off\n{name}: dict[str, Any] = {_pretty(table)}\n"
    )


def _pretty(table: Any) -> str:
    return pprint.pformat(table, width=100, sort_dicts=False, compact=True)


def main() -> int:
    modules = render()
    stale = [
        name
        for name, text in modules.items()
        if not (TARGET / name).is_file() or (TARGET / name).read_text(encoding="utf-8") != text
    ]
    left = [path.name for path in TARGET.glob("*.py") if path.name not in modules]
    if "--check" in sys.argv:
        for name in stale + left:
            sys.stderr.write(f"gradaudit/dialects/compiled/{name} is stale\n")
        return 1 if stale or left else 0
    TARGET.mkdir(exist_ok=True)
    for name in stale:
        (TARGET / name).write_text(modules[name], encoding="utf-8")
    for name in left:
        (TARGET / name).unlink()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BadDialect as error:
        sys.exit(str(error))
