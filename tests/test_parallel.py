"""Many files on several processors: the same words, in the same order, as on one."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest
from support import run_cli

from gradaudit import audit
from gradaudit.cli import common, parallel

GOOD = "optimizer: adamw\nlearning_rate: 1.0e-4\nbatch_size: 32\n"
TEXTS = (
    GOOD,
    GOOD.replace("1.0e-4", "1e-4"),
    GOOD.replace("32", "0  # gradaudit: ignore[GA703]"),
    "name: x\n",
    "optimizer: [1\n",
    GOOD + "lr: -1  # ünïcödé\n",
)

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


@pytest.fixture
def many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for number in range(120):
        (tmp_path / f"{number:03}.yaml").write_text(TEXTS[number % len(TEXTS)], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(parallel, "_processors", lambda: 3)
    monkeypatch.setattr(parallel, "SHARE", 20)
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [[], ["--format", "concise"], ["--verbose"], ["--color", "always"], ["--fail-on", "error"],
     ["--select", "GA7"], ["nosuch.yaml"], ["--set", "nosuch.key=1"], ["--assume", "norm=batch"]],
)  # fmt: skip
def test_the_output_is_that_of_one_process(
    words: list[str], many: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = run_cli("check", ".", *words)
    monkeypatch.setattr(common, "SHARED_FROM", 10**9)
    alone = run_cli("check", ".", *words)
    assert (shared.code, shared.err) == (alone.code, alone.err)
    # rich draws the id of a link at random
    assert re.sub(r"id=\d+", "", shared.out) == re.sub(r"id=\d+", "", alone.out)
    assert "019.yaml" in shared.out


def test_other_processes_really_judge(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = os.getpid()
    judged = []
    original = audit.audit_path

    def audit_path(path: str, *rest: object) -> object:
        if os.getpid() == here:
            judged.append(path)
            time.sleep(0.01)  # while this one waits, the others take what is left
        return original(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(common, "audit_path", audit_path)
    run_cli("check", ".")
    assert len(judged) < 60, "the words on most files come from elsewhere"


def test_what_goes_wrong_elsewhere_is_met_again_here(
    many: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = os.getpid()
    original = audit.audit_path

    def audit_path(path: str, *rest: object) -> object:
        if os.getpid() != here:
            os._exit(9) if path.endswith("001.yaml") else None
            raise ZeroDivisionError
        return original(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(common, "audit_path", audit_path)
    shared = run_cli("check", ".")
    monkeypatch.setattr(common, "SHARED_FROM", 10**9)
    assert shared.out == run_cli("check", ".").out


def test_bad_settings_are_said_once(many: Path) -> None:
    (many / "gradaudit.toml").write_text("nosuch = 1\n")
    ran = run_cli("check", ".")
    assert ran.code == 2
    assert ran.err.count("unknown key `nosuch`") == 1
