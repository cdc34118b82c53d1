"""What a dialect reads in a linked file by another dialect's settings (`deepspeed: ds.json`)."""

from __future__ import annotations

from typing import Any

from gradaudit.dialects.schema import listed

_SILENT = ["auto"]
"""What a linked file leaves to the arguments of the trainer that names it."""


def with_linked(raw: dict[str, Any], raws: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """A dialect whose settings also look below its links, where these say which dialect reads them.

    The trainer's own keys go first, but for the settings that the link `decides`; those that it
    leaves out (`without`) are the dialect's own affair. Defaults and formulas stay the trainer's.
    """
    for link in raw.get("compose", {}).get("links", []):
        if "dialect" not in link:
            continue
        settings = dict(raw["settings"])
        for name, spec in raws[link["dialect"]]["settings"].items():
            if name.startswith("_") or name in link.get("without", ()):
                continue
            spec = spec if isinstance(spec, dict) else {"from": spec}
            below = [
                _below(link["key"], entry, spec.get("off")) for entry in listed(spec.get("from"))
            ]
            own = settings.get(name, {"from": []})
            own = own if isinstance(own, dict) else {"from": own}
            beside = listed(own.get("from", []))
            both = below + beside if name in link.get("decides", ()) else beside + below
            settings[name] = {**own, "from": both}
        raw = {**raw, "settings": settings}
    return raw


def _below(key: str, entry: Any, off: Any) -> dict[str, Any]:
    """An entry of the other dialect as it stands under a key of this one."""
    entry = {"path": entry} if isinstance(entry, str) else entry
    made: dict[str, Any] = {**entry, "path": f"{key}.{entry['path']}", "silent": _SILENT}
    if off is not None:
        made.setdefault("off", off)
    for group in ("when", "unless"):
        if group in entry:
            made[group] = {f"{key}.{path}": value for path, value in entry[group].items()}
    return made
