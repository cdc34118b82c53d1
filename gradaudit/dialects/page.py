"""The documentation pages of the dialects, from their files. Only the site reads this."""

from __future__ import annotations

from typing import Any

from gradaudit.dialects.compile import extended, sources
from gradaudit.dialects.loaders import LOADERS
from gradaudit.dialects.schema import listed


def dialects() -> dict[str, dict[str, Any]]:
    """Every framework's dialect as its file says, what it extends included; by name."""
    raws = sources()
    raws.pop("generic")
    return {name: extended(raw, raws) for name, raw in raws.items()}


def index() -> str:
    """The table of all dialects."""
    lines = [
        "# Dialects",
        "",
        (
            "Which framework a config is for decides what its keys mean, what is in force where "
            "one is absent, and whether `1e-4` is a number. `gradaudit show FILE` says what a file "
            'was taken for and why; the settings file can say it too (`dialect = "axolotl"`, or a '
            "table of globs)."
        ),
        "",
        (
            "A config that no dialect recognises is read by the names of its keys: every name that "
            "means one thing wherever it was seen. [Which rules judge "
            "which](../rules/coverage.md). [How to add a dialect](../dialects-howto.md)."
        ),
        "",
        "| dialect | framework | read by | composed of |",
        "|---|---|---|---|",
    ]
    for name, raw in dialects().items():
        lines.append(
            f"| [{name}]({name}.md) | {raw['title']} | {LOADERS[raw['loader']['kind']][0]} | "
            f"{_composed(raw)} |"
        )
    return "\n".join(lines) + "\n"


def page(raw: dict[str, Any]) -> str:
    """One dialect: how it is recognised, who loads it, each setting with its keys and default."""
    parts = [f"# {raw['title']}"]
    if raw.get("about"):
        parts.append(raw["about"])
    parts.append(f"Dialect `{raw['name']}`, <{raw['homepage']}>.")
    parts += ["## How it is recognised", _markers(raw)]
    parts += [
        "## How it is read",
        f"By {LOADERS[raw['loader']['kind']][1]}. {_source(raw['loader'])}".rstrip(),
    ]
    if _composed(raw):
        parts.append(f"Composed of: {_composed(raw)} ([composition](../composition.md)).")
    if "vocabulary" in raw:
        parts.append(
            "Its users choose the names of keys: beside the paths below, keys are read by their "
            "names, as in a config of no framework."
        )
    if raw.get("units"):
        places = ", ".join(f"`{unit['at']}`" for unit in raw["units"])
        parts.append(f"A training of its own for each section at {places}; `@` stands for it.")
    parts += ["## Settings", _settings(raw)]
    terms = raw.get("loss_terms", {}).get("terms", [])
    if terms:
        parts += ["## Loss terms", _terms(raw["loss_terms"])]
    if raw.get("traps"):
        parts += ["## Traps", "\n".join(f"- {trap}" for trap in listed(raw["traps"]))]
    return "\n\n".join(parts) + "\n"


def _source(entry: dict[str, Any]) -> str:
    return f"Read in: {entry['source']}." if entry.get("source") else ""


def _composed(raw: dict[str, Any]) -> str:
    compose = raw.get("compose", {})
    parts = [f"`{base['key']}`" for base in compose.get("bases", [])]
    parts += [f"the file at `{link['key']}`" for link in compose.get("links", [])]
    if compose.get("hydra"):
        parts.append("hydra's `defaults`")
    notation = {"omegaconf": "`${...}`", "hyperpyyaml": "`!ref <...>`"}
    if raw.get("interpolation") in notation:
        parts.append(notation[raw["interpolation"]])
    return ", ".join(parts)


def _markers(raw: dict[str, Any]) -> str:
    rows = ["The weights of what is there are added; 10 are certain.", "", "| marker | weight |"]
    rows.append("|---|---:|")
    ranked = sorted(raw["recognise"].items(), key=lambda pair: -pair[1])
    rows += [f"| `{_cell(marker)}` | {weight} |" for marker, weight in ranked]
    return "\n".join(rows)


def _settings(raw: dict[str, Any]) -> str:
    rows = ["| setting | keys | where absent |", "|---|---|---|"]
    for name, spec in raw.get("settings", {}).items():
        if not isinstance(spec, dict):
            spec = {"from": spec}
        keys = [_entry(entry, spec) for entry in listed(spec.get("from", []))]
        keys += [f"computed: {_formula(compute)}" for compute in listed(spec.get("compute", []))]
        absents = [_absent(absent, spec) for absent in listed(spec.get("absent", ()) or [])]
        if "absent" in spec and spec["absent"] is None:
            absents = [_absent(None, spec)]
        shown = f"`{name.lstrip('_')}`" + (" (helper)" if name.startswith("_") else "")
        rows.append(f"| {shown} | {'<br>'.join(keys)} | {'<br>'.join(absents)} |")
    return "\n".join(rows)


def _entry(entry: Any, spec: dict[str, Any]) -> str:
    if isinstance(entry, str):
        entry = {"path": entry}
    text = f"`{_cell(entry['path'])}`"
    if "as" in entry:
        text += f" as `{entry['as']}`"
    if entry.get("unit"):
        text += f" in {entry['unit']}"
    if "when" in entry:
        text += f" where {_conditions(entry['when'])}"
    off = entry.get("off", spec.get("off"))
    if off is not None:
        text += f" (off: {', '.join(f'`{_cell(value)}`' for value in listed(off))})"
    return text


def _conditions(when: dict[str, Any]) -> str:
    return " and ".join(
        f"`{_cell(path)}` is {' or '.join(_cell(value) for value in listed(allowed))}"
        for path, allowed in when.items()
    )


def _absent(absent: Any, spec: dict[str, Any]) -> str:
    if not isinstance(absent, dict):
        absent = {"value": absent}
    if "unknown" in absent:
        text = f"unknown: {_cell(absent['unknown'])}"
    else:
        value = absent["value"]
        text = "off" if value is None else f"`{_cell(value)}`"
        source = absent.get("source", spec.get("source", ""))
        text += f" ({_cell(source)})" if source else ""
    if "when" in absent:
        text += f" where {_conditions(absent['when'])}"
    if "unless" in absent:
        text += f" unless {_conditions(absent['unless'])}"
    return text


def _formula(compute: dict[str, Any]) -> str:
    from gradaudit.dialects.formula import said

    return said(
        {
            key: tuple(listed(v)) if key in ("of", "root_of") or isinstance(v, list) else v
            for key, v in compute.items()
        }
    )


def _terms(terms: dict[str, Any]) -> str:
    rows = ["| weight at | term | role |", "|---|---|---|"]
    for term in terms["terms"]:
        if isinstance(term, str):
            term = {"path": term}
        name = term.get("name") or ("what `*` stands for" if "*" in term["path"] else "its key")
        rows.append(f"| `{_cell(term['path'])}` | {name} | {term.get('role', 'by its name')} |")
    if terms.get("by_design"):
        rows += ["", "These weights are the framework's own design: their balance is not judged."]
    return "\n".join(rows)


def _cell(value: Any) -> str:
    """A value inside a table's cell."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if value is None:
        return "null"
    return str(value).replace("|", "\\|")
