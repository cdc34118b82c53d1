"""The dialects of a plugin: the same YAML files, compiled when the plugin is loaded."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from gradaudit import dialects
from gradaudit.dialects import recognise
from gradaudit.dialects.compile import HERE, TIMES, base_keys, compile_dialect, extended, markers
from gradaudit.dialects.compiled.markers import BASE_KEYS
from gradaudit.dialects.linked import with_linked
from gradaudit.dialects.schema import BadDialect
from gradaudit.source import Unreadable, read
from gradaudit.syntax import parse
from gradaudit.syntax.plain import plain

RAWS: dict[str, dict[str, Any]] = {}
"""Every dialect of a plugin as its file says, what it extends included; by name."""

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*\Z")


def add_dialects(folders: list[str], package: str) -> None:
    """Compile every `*.yaml` of the folders, and let them take part in recognition.

    Raises:
        BadDialect: a file breaks the form, or there is a dialect of its name; none is added then.
    """
    files = sorted({path for folder in folders for path in Path(folder).glob("*.yaml")})
    if folders and not files:
        raise BadDialect(f"{folders[0]}: holds no *.yaml")
    own: dict[str, dict[str, Any]] = {}
    for path in files:
        raw = _raw(path)
        if path.stem in own or path.stem in (*dialects.names(), *dialects.PLUGGED):
            raise BadDialect(f"{path.name}: there is a dialect of this name; choose another")
        if raw.get("compose", {}).get("run"):
            raise BadDialect(f"{path.name}: compose.run: is not for dialects of plugins; drop it")
        own[path.stem] = raw
    kinds = dialects.GENERIC["kinds"] | TIMES
    tables = {}
    everything = []
    for name, raw in own.items():
        try:
            raws = _with_ours(raw, own)
            raw = with_linked(extended(raw, raws), raws)
            tables[name] = compile_dialect(raw, f"{name}.yaml", kinds)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadDialect(f"{name}.yaml: {type(error).__name__}: {error}") from error
        everything.append(raw)
    RAWS.update((raw["name"], raw) for raw in everything)
    for table in tables.values():
        dialects.add(table, package)
    recognise.add_markers(markers(everything))
    for key, names in base_keys(everything).items():
        BASE_KEYS[key] = (*BASE_KEYS.get(key, ()), *names)


def _raw(path: Path) -> dict[str, Any]:
    try:
        roots = parse(read(str(path))).roots
    except (OSError, Unreadable) as error:
        raise BadDialect(f"{path.name}: {error}") from error
    raw = plain(roots[0]) if roots else None
    if not isinstance(raw, dict):
        raise BadDialect(f"{path.name}: holds no mapping")
    if raw.get("name") != path.stem or not _NAME.match(path.stem):
        raise BadDialect(
            f"{path.name}: `name:` must be {path.stem}, as the file is called: small letters, "
            "digits and hyphens"
        )
    return raw


def _with_ours(raw: dict[str, Any], own: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The plugin's dialects, with those of ours that one extends or reads linked files by."""
    raws = dict(own)
    waiting = [raw]
    while waiting:
        one = waiting.pop()
        links = one.get("compose", {}).get("links", [])
        for name in (one.get("extends"), *(link.get("dialect") for link in links)):
            if name is not None and name not in raws and (HERE / f"{name}.yaml").is_file():
                raws[name] = _raw(HERE / f"{name}.yaml")
            if name in raws and name not in own:
                waiting.append(raws[name])
    return raws
