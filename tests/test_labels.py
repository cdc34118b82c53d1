"""Hand-written labels of real configs against `show`: value, unit and origin must be right.

The labels' form and conventions: tests/labels/README.md. Those of the corpus are compared where it
is present.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from gradaudit.audit import audit_path
from gradaudit.options import Options
from gradaudit.render.json import show_document
from gradaudit.settings import Finder

HERE = Path(__file__).resolve().parent
LABELS = HERE / "labels"
CORPUS = Path(os.environ.get("GRADAUDIT_CORPUS") or HERE.parent.parent / "shared" / "corpus")

UNITS = {
    "micro_batch": "samples", "global_batch": "samples", "accumulation": "micro-batches",
    "world_size": "devices", "warmup_steps": "steps", "total_steps": "steps",
    "warmup_epochs": "epochs", "epochs": "epochs", "warmup_ratio": "share of the training",
    "warmup_tokens": "tokens", "total_tokens": "tokens",
}  # fmt: skip


def labels() -> Iterator[dict[str, Any]]:
    for path in sorted(LABELS.glob("*.yaml")):
        yield from yaml.safe_load(path.read_text(encoding="utf-8"))


def place(label: dict[str, Any]) -> Path:
    name = str(label["file"])
    return CORPUS / name[7:] if name.startswith("corpus:") else LABELS / name


ALL = list(labels())
OWN = [label for label in ALL if not str(label["file"]).startswith("corpus:")]
REAL = [label for label in ALL if str(label["file"]).startswith("corpus:")]


@cache
def shown(path: Path) -> dict[str, Any]:
    """What `show --format json` says of a file, which looks no further than its repository."""
    options = Options()
    if path.is_relative_to(CORPUS):  # the corpus has each below its dialect, without its .git
        options.named = (str(CORPUS.joinpath(*path.relative_to(CORPUS).parts[:2])),)
    result = audit_path(str(path), options, Finder(isolated=True))
    document = json.loads(show_document([result]))
    return dict(document["files"][0])


def differences(label: dict[str, Any]) -> list[str]:
    """What `show` has otherwise than the label."""
    found = shown(place(label))
    wrong: list[str] = []
    if found["dialect"] != label["dialect"]:
        wrong.append(f"dialect {found['dialect']}, not {label['dialect']}: {found['why_dialect']}")
    units = {unit["name"]: unit for unit in found["units"]}
    for name, wanted in label.get("units", {}).items():
        if name not in units:
            wrong.append(f"no unit {name}; there are {', '.join(units) or 'none'}")
            continue
        settings = units[name]["settings"]
        for setting, expected in wanted.items():
            wrong.extend(
                f"{name}.{setting}: {problem}"
                for problem in compared(setting, settings.get(setting), expected)
            )
    for name, terms in label.get("loss_terms", {}).items():
        have = {term["name"]: term["weight"] for term in units.get(name, {}).get("loss_terms", [])}
        wrong.extend(
            f"{name}: loss term {term}: {have.get(term)}, not {weight}"
            for term, weight in terms.items()
            if have.get(term) != weight
        )
    return wrong


def compared(setting: str, have: dict[str, Any] | None, wanted: Any) -> Iterator[str]:
    if wanted == "unknown":
        known = have is not None and (have["value"] is not None or have["note"].startswith("off"))
        if have is not None and known:  # off is known too; null is left to the framework
            yield f"{have['value']} ({have['origin']}), must not be known"
        return
    if have is None:
        yield f"missing; wanted {wanted}"
        return
    if have["note"].startswith("not known"):
        yield f"{have['note']}; wanted {wanted}"
        return
    if not same(have["value"], wanted["value"]):
        yield f"{have['value']}, not {wanted['value']}"
    if have["origin"] != wanted["origin"]:
        yield f"origin {have['origin']}, not {wanted['origin']} (key {have['key']})"
    unit = wanted.get("unit", UNITS.get(setting))
    if have["unit"] != unit:
        yield f"unit {have['unit']}, not {unit}"
    if "key" in wanted and have["key"] != wanted["key"]:
        yield f"key {have['key']}, not {wanted['key']}"


def same(have: Any, wanted: Any) -> bool:
    if isinstance(wanted, list):
        return isinstance(have, list) and all(map(same, have, wanted)) and len(have) == len(wanted)
    if isinstance(wanted, bool) or isinstance(have, bool):
        return have is wanted
    if isinstance(wanted, (int, float)) and isinstance(have, (int, float)):
        return math.isclose(have, wanted, rel_tol=1e-9)
    return bool(have == wanted)


def test_there_are_enough_labels_of_enough_dialects() -> None:
    assert len(ALL) >= 120
    assert len({label["dialect"] for label in ALL}) >= 50
    for label in ALL:
        assert label["source"], label["file"]


@pytest.mark.parametrize("label", OWN, ids=lambda label: str(label["file"]))
def test_a_config_written_for_this_project_is_read_as_labelled(label: dict[str, Any]) -> None:
    assert not differences(label)


@pytest.mark.corpus
@pytest.mark.skipif(not CORPUS.is_dir(), reason="no corpus of configs here")
@pytest.mark.parametrize("label", REAL, ids=lambda label: str(label["file"]))
def test_a_published_config_is_read_as_labelled(label: dict[str, Any]) -> None:
    assert not differences(label)
