"""The example of CONTRIBUTING.md is a rule that works as it stands there."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import ROOT, audit_text

from gradaudit.rules import RULES, load
from gradaudit.rules.docs import parse

HEAD = (ROOT / "gradaudit/rules/schedule.py").read_text(encoding="utf-8")


def example() -> str:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return str(code)


@pytest.fixture
def registered() -> Iterator[None]:
    """The example's rule, as if it stood in its family's file."""
    load()
    before = dict(RULES)
    imports = HEAD[: HEAD.index("TYPE_CHECKING = False")]
    exec(compile(imports + example(), "example", "exec"), {"__name__": "example"})
    try:
        yield
    finally:
        RULES.clear()
        RULES.update(before)


def test_the_example_is_a_rule(registered: None) -> None:
    rule = RULES["GA222"]
    doc = parse(rule)
    assert [f.rule.code for f in audit_text(doc.bad).findings] == ["GA222"]
    assert audit_text(doc.good).findings == []
    above = "optimizer: adamw\nlearning_rate: 1.0e-4\nmin_lr: 1.0e-3\n"
    assert [f.rule.code for f in audit_text(above).findings] == ["GA207"]
    off = "optimizer: adamw\nlearning_rate: 0.0\nmin_lr: 0.0\n"
    assert "GA222" not in [f.rule.code for f in audit_text(off).findings]


@pytest.mark.skipif(shutil.which("ruff") is None, reason="ruff is not installed")
def test_the_example_keeps_the_style(tmp_path: Path) -> None:
    path = tmp_path / "learning_rate.py"
    path.write_text(HEAD + "\n\n" + example(), encoding="utf-8")
    for words in (["check"], ["format", "--check"]):
        done = subprocess.run(
            ["ruff", *words, "--config", str(ROOT / "pyproject.toml"), str(path)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
