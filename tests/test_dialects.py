"""Each dialect's own examples: every setting and every key path of it is read in one of them.

tests/dialects/NAME.yaml is a list of cases: `config` (text), `file` (its name, for the format),
`expect` (unit -> setting -> value), `unknown` (unit -> settings), `terms` (unit -> term -> weight).
A value `{value: 1, origin: default}` says where it comes from; a bare one says the value only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from gradaudit.audit import FileResult, audit_source
from gradaudit.dialects import GENERIC, load, may_train, names
from gradaudit.dialects.compile import sources
from gradaudit.options import Options
from gradaudit.plan.model import TrainingUnit
from gradaudit.plan.paths import collect
from gradaudit.settings import Settings
from gradaudit.source import Source
from gradaudit.syntax.tree import Mapping, resolve

CASES = Path(__file__).resolve().parent / "dialects"
NAMES = [name for name in names() if name != "generic"]


@cache
def cases(name: str) -> list[dict[str, Any]]:
    path = CASES / f"{name}.yaml"
    assert path.is_file(), f"{name} has no examples: write tests/dialects/{name}.yaml"
    read = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(read, list)
    return read


@cache
def audited(name: str, index: int) -> FileResult:
    case = cases(name)[index]
    file = str(case.get("file", "train.yaml"))
    return audit_source(Source(file, case["config"]), Options(), Settings())


def every_case() -> Iterator[tuple[str, int]]:
    for name in (*NAMES, "generic"):
        if (CASES / f"{name}.yaml").is_file():
            for index in range(len(cases(name))):
                yield name, index


@pytest.mark.parametrize(("name", "index"), list(every_case()))
def test_an_example_is_read_as_its_dialect_says(name: str, index: int) -> None:
    case, result = cases(name)[index], audited(name, index)
    assert result.tree is not None, [finding.message for finding in result.findings]
    assert result.recognised is not None
    assert result.recognised.name == name, (result.recognised.name, result.recognised.reasons)
    if any(says_of_training(unit) for unit in result.units):
        assert may_train(case["config"]), "a directory's files are read only where this holds"
    units = {unit.name: unit for unit in result.units}
    wrong = []
    for unit_name, wanted in case.get("expect", {}).items():
        assert unit_name in units, f"units: {list(units)}"
        unit = units[unit_name]
        for setting_name, expected in wanted.items():
            setting = unit.settings.get(setting_name)
            if setting is None:
                wrong.append(f"{setting_name}: missing; {unit.unknown.get(setting_name, '')}")
                continue
            value, origin = expected, None
            if isinstance(expected, dict):
                value, origin = expected["value"], expected.get("origin")
                if "unit" in expected and expected["unit"] != setting.unit:
                    wrong.append(f"{setting_name}: unit {setting.unit}")
            if not same(setting.value, value):
                wrong.append(f"{setting_name}: {setting.value!r}, not {value!r}")
            if origin is not None and setting.origin != origin:
                wrong.append(f"{setting_name}: {setting.origin}, not {origin}")
    for unit_name, unknown in case.get("unknown", {}).items():
        unit = units[unit_name]
        wrong += [
            f"{one} is known: {unit.settings[one].value}" for one in unknown if one in unit.settings
        ]
    for unit_name, terms in case.get("terms", {}).items():
        have = {term.name: term.weight for term in units[unit_name].loss_terms}
        wrong += [f"term {t}: {have.get(t)}" for t, w in terms.items() if have.get(t) != w]
    assert not wrong


def says_of_training(unit: TrainingUnit) -> bool:
    names = ("learning_rate", "base_learning_rate", "optimizer", "micro_batch", "clip_norm")
    return any(name in unit.settings and unit.settings[name].raw for name in names)


def same(have: Any, wanted: Any) -> bool:
    if isinstance(wanted, list):
        return isinstance(have, tuple) and len(have) == len(wanted) and all(map(same, have, wanted))
    if isinstance(wanted, bool) or isinstance(have, bool):
        return have is wanted
    if isinstance(wanted, (int, float)) and isinstance(have, (int, float)):
        return math.isclose(have, wanted, rel_tol=1e-9)
    return bool(have == wanted)


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_and_every_path_of_a_dialect_has_an_example(name: str) -> None:
    dialect = load(name)
    asserted: set[str] = set()
    met: set[str] = set()
    for index, case in enumerate(cases(name)):
        for wanted in case.get("expect", {}).values():
            asserted |= set(wanted)
        for unknown in case.get("unknown", {}).values():
            asserted |= set(unknown)
        composed = audited(name, index).composed
        assert composed is not None
        for root in composed.roots:
            top = resolve(root)
            if type(top) is Mapping:
                met |= set(collect(composed, top, dialect["trie"]))
    settings = {spec["name"] for spec in dialect["paths"] if not spec["name"].startswith("_")}
    settings -= {"warmup", "length", "beta1", "beta2"}
    assert not settings - asserted, f"no example asserts {sorted(settings - asserted)}"
    paths = set()
    roots = [unit[0] for unit in dialect["units"]]
    entries = [entry for spec in dialect["paths"] for entry in spec["from"]]
    for entry in (*entries, *dialect["terms"]):
        path = entry["path"]
        own = path[:1] == "@"
        paths.add(tuple(f"{r}.{path[2:]}".rstrip(".") for r in roots) if own else (path,))
    missing = sorted(ways for ways in paths if met.isdisjoint(ways))
    assert not missing, f"no example writes {missing}"


def test_every_dialect_names_its_sources() -> None:
    for name, raw in sources().items():
        if name == "generic":
            continue
        assert raw.get("about"), name
        assert raw.get("homepage", "").startswith("https://"), name
        assert raw["loader"].get("source"), f"{name}: who loads the file, and where was it read?"


def test_settings_have_canonical_names() -> None:
    for name in NAMES:
        for spec in load(name)["paths"]:
            known = {*GENERIC["kinds"], "warmup", "length"}
            assert spec["name"] in known or spec["name"].startswith("_"), (name, spec["name"])
