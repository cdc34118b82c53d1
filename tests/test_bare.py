"""The short way from a plain value to its setting gives what the long way gives."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from gradaudit.audit import audit_source
from gradaudit.options import Options
from gradaudit.plan import reading
from gradaudit.plan.model import Setting, TrainingUnit
from gradaudit.settings import Settings
from gradaudit.source import Source, Unreadable, read

HERE = Path(__file__).resolve().parent
CORPUS = Path(os.environ.get("GRADAUDIT_CORPUS") or HERE.parent.parent / "shared" / "corpus")


def said(setting: Setting) -> tuple[object, ...]:
    place = setting.place
    span = (place.source.path, place.start, place.end) if place else None
    return (
        repr(setting.value), setting.origin, setting.raw, setting.key, span, setting.note,
        setting.is_text, setting.unit, setting.node is None,
    )  # fmt: skip


def plan(units: list[TrainingUnit]) -> list[object]:
    return [
        (
            unit.name,
            {name: said(setting) for name, setting in unit.settings.items()},
            {name: [said(s) for s in others] for name, others in unit.others.items() if others},
            unit.unknown,
        )
        for unit in units
    ]


def both_ways(source: Source, monkeypatch: pytest.MonkeyPatch) -> tuple[list[object], list[object]]:
    short = plan(audit_source(source, Options(), Settings()).units)
    with monkeypatch.context() as patch:
        patch.setattr(reading, "bare_value", lambda *_: None)
        long = plan(audit_source(source, Options(), Settings()).units)
    return short, long


def test_both_ways_agree_on_every_example(monkeypatch: pytest.MonkeyPatch) -> None:
    examples = 0
    for path in sorted((HERE / "dialects").glob("*.yaml")):
        for case in yaml.safe_load(path.read_text(encoding="utf-8")):
            source = Source(str(case.get("file", "train.yaml")), case["config"])
            short, long = both_ways(source, monkeypatch)
            assert short == long, case["config"]
            examples += 1
    assert examples > 200


ODD = (
    "0", "-1", "1e-4", "1.0e-4", "1_000", "0x10", "inf", ".inf", ".nan", "1e99", "true", "null",
    "'1'", "'0.1'", "auto", "???", "${a}", "!!float 1", "!x 1", "[1]", "{a: 1}", "|\n  1",
)  # fmt: skip


@pytest.mark.parametrize("text", ODD)
def test_both_ways_agree_on_odd_values(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = ("learning_rate", "max_grad_norm", "optim", "lr_scheduler_type", "bf16", "warmup_steps")
    head = "per_device_train_batch_size: 1\nnum_train_epochs: 3\n"
    for key in keys:
        short, long = both_ways(Source("train.yaml", f"{head}{key}: {text}\n"), monkeypatch)
        assert short == long, key


@pytest.mark.corpus
@pytest.mark.skipif(not CORPUS.is_dir(), reason="no corpus of configs here")
def test_both_ways_agree_on_published_configs(monkeypatch: pytest.MonkeyPatch) -> None:
    for path in sorted(CORPUS.rglob("*")):
        if path.suffix in (".yaml", ".yml", ".json", ".toml"):
            try:
                source = read(str(path))
            except Unreadable:
                continue
            short, long = both_ways(source, monkeypatch)
            assert short == long, path
