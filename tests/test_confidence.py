"""Profiles and confidence on the command line and in the settings file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import audit_text, run_cli

from gradaudit.cli import options as short
from gradaudit.findings import CONFIDENCES
from gradaudit.options import Options
from gradaudit.rules import PROFILES, load
from gradaudit.settings import Settings

# GA701 with high confidence, GA702 and GA301 with medium, all with a fix.
TEXT = """\
optimizer: adamw
learning_rate: 1e-4
norm: batch
batch_size: 4
epochs: 100
epochs: 100
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x.yaml"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture
def strict() -> Iterator[str]:
    """GA702 as a rule of the strict profile."""
    rule = load()["GA702"]
    rule.profile = "strict"
    yield rule.code
    rule.profile = "default"


def found(*words: str) -> dict[str, str]:
    """Code -> confidence of what `check` reports."""
    document = json.loads(run_cli("check", "--format", "json", *words).out)
    return {f["code"]: f["confidence"] for file in document["files"] for f in file["findings"]}


def test_the_choices_are_those_of_the_core() -> None:
    assert short.PROFILE_CHOICES == PROFILES
    assert short.CONFIDENCE_CHOICES == CONFIDENCES


def test_what_is_less_sure_is_counted_not_reported(config: Path) -> None:
    everything = found("x.yaml")
    assert set(everything.values()) >= {"high", "medium"}
    for least in CONFIDENCES:
        sure = CONFIDENCES[CONFIDENCES.index(least) :]
        kept = {code: level for code, level in everything.items() if level in sure}
        assert found("x.yaml", "--min-confidence", least) == kept
        ran = run_cli("check", "--format", "json", "x.yaml", "--min-confidence", least)
        summary = json.loads(ran.out)["summary"]
        assert summary["below_confidence"] == len(everything) - len(kept)
    screen = run_cli("check", "x.yaml", "--min-confidence", "high").out
    assert "below the confidence asked for" in screen
    assert "below the confidence" not in run_cli("check", "x.yaml").out


def test_the_settings_say_it_and_the_command_line_wins(config: Path) -> None:
    Path("gradaudit.toml").write_text('min-confidence = "high"\n', encoding="utf-8")
    assert set(found("x.yaml").values()) == {"high"}
    assert set(found("x.yaml", "--min-confidence", "low").values()) > {"high"}
    assert set(found("x.yaml", "--isolated").values()) > {"high"}
    Path("gradaudit.toml").write_text('min-confidence = "sure"\n', encoding="utf-8")
    ran = run_cli("check", "x.yaml")
    assert ran.code == 2
    assert "`min-confidence` takes low, medium or high" in ran.err


def test_what_is_less_sure_is_not_fixed(config: Path) -> None:
    settings = Settings()
    settings.min_confidence = "high"
    assert any(f.fix for f in audit_text(TEXT).findings if f.confidence != "high")
    kept = audit_text(TEXT, Options(), settings)
    assert kept.unsure
    ran = run_cli("fix", "x.yaml", "--write", "--min-confidence", "high")
    assert "below the confidence asked for" in ran.out
    after = config.read_text(encoding="utf-8")
    assert after == TEXT.replace("epochs: 100\n", "", 1)


def test_a_report_says_how_many_are_left_out(config: Path) -> None:
    document = run_cli("report", "x.yaml", "--min-confidence", "high").out
    assert "**Less sure than asked for:**" in document
    assert "GA301" not in document


def test_a_comment_that_silences_what_is_less_sure_is_in_use(config: Path) -> None:
    text = TEXT.replace("batch_size: 4", "batch_size: 4  # gradaudit: ignore[GA301]")
    settings = Settings()
    settings.min_confidence = "high"
    codes = [finding.rule.code for finding in audit_text(text, Options(), settings).findings]
    assert "GA002" not in codes


def test_a_low_confidence_does_not_end_with_one(config: Path) -> None:
    config.write_text(TEXT.replace("epochs: 100\n", "", 1), encoding="utf-8")
    assert run_cli("check", "x.yaml").code == 1
    assert run_cli("check", "x.yaml", "--min-confidence", "high").code == 0


def test_profiles_on_the_command_line(config: Path, strict: str) -> None:
    assert strict not in found("x.yaml")
    assert strict in found("x.yaml", "--profile", "strict")
    assert strict in found("x.yaml", "--profile=pedantic")
    assert {strict, "GA301"} <= set(found("x.yaml", "--extend-select", "GA1,number-as-text"))
    assert strict not in found("x.yaml", "--select", "GA7")
    assert set(found("x.yaml", "--select", strict)) == {strict}
    Path("gradaudit.toml").write_text('profile = "strict"\n', encoding="utf-8")
    assert strict in found("x.yaml")
    assert strict not in found("x.yaml", "--profile", "default")


@pytest.mark.parametrize("command", ["check", "fix", "report"])
def test_every_command_takes_them_and_explains(config: Path, command: str, strict: str) -> None:
    words = [command, "x.yaml", "--profile", "strict", "--extend-select", "GA7"]
    assert strict in run_cli(*words, "--min-confidence", "medium").out
    ran = run_cli(command, "x.yaml", "--profile", "lax")
    assert ran.code == 2
    assert "is not one of default, strict, pedantic" in ran.err
    assert run_cli(command, "x.yaml", "--min-confidence", "none").code == 2
    ran = run_cli(command, "x.yaml", "--extend-select", "GA799")
    assert ran.code == 2
    assert "--extend-select: no rule is called 'GA799'" in ran.err


@pytest.mark.parametrize("command", ["check", "fix", "report"])
def test_the_next_step_carries_them(
    config: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ["--profile", "strict", "--extend-select", "GA7", "--min-confidence", "medium"]
    monkeypatch.setattr("sys.argv", ["gradaudit", command, "x.yaml", *given])  # the report's words
    document = " ".join(run_cli(command, "x.yaml", *given, columns=200).out.split())
    steps = [part for part in document.split("`") if part.startswith("gradaudit fix x.yaml")]
    assert steps
    for step in steps:
        for option, value in zip(given[::2], given[1::2], strict=True):
            assert f"{option} {value}" in step


def test_what_is_left_is_explained_by_a_check_that_finds_it(config: Path) -> None:
    config.write_text("optimizer: adamw\nlearning_rate: 3.0\n", encoding="utf-8")
    out = " ".join(run_cli("fix", "x.yaml", "--profile", "strict").out.split())
    assert "`gradaudit check x.yaml --profile strict` explains what is left." in out


def test_rules_say_their_profile(strict: str) -> None:
    lines = run_cli("rules", columns=120).out.splitlines()
    assert [line for line in lines if line.startswith("  GA702") and " strict " in line]
    assert not [line for line in lines if line.startswith("  GA701") and " strict " in line]
    assert "--profile strict" in lines[-1]
    rules = json.loads(run_cli("rules", "--format", "json").out)["rules"]
    profiles = {rule["code"]: rule["profile"] for rule in rules}
    assert profiles["GA702"] == "strict"
    assert profiles["GA701"] == "default"


def test_a_selection_that_the_profile_empties_is_no_clean_result(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for code, rule in load().items():
        if code.startswith("GA7"):
            monkeypatch.setattr(rule, "profile", "strict")
    for command in ("check", "fix", "report"):
        ran = run_cli(command, "x.yaml", "--select", "GA70")
        assert ran.code == 2
        assert "--select GA70: none of these rules runs below profile strict" in ran.err
        assert run_cli(command, "x.yaml", "--select", "GA70", "--profile", "strict").code < 2
        assert run_cli(command, "x.yaml", "--select", "GA702").code < 2
        assert run_cli(command, "x.yaml", "--select", "GA1").code < 2
    Path("gradaudit.toml").write_text('profile = "strict"\n', encoding="utf-8")
    assert {"GA701", "GA702"} <= set(found("x.yaml", "--select", "GA70"))


def test_a_selection_that_is_taken_back_is_no_clean_result(config: Path) -> None:
    for command in ("check", "fix", "report"):
        ran = run_cli(command, "x.yaml", "--select", "GA702", "--ignore", "GA702")
        assert ran.code == 2
        assert "--select GA702: --ignore takes all of these rules away" in ran.err
    assert run_cli("check", "x.yaml", "--select", "GA7", "--ignore", "GA702").code < 2
    Path("gradaudit.toml").write_text('ignore = ["GA702"]\n', encoding="utf-8")
    ran = run_cli("check", "x.yaml", "--select", "GA702")
    assert ran.code == 2
    assert "the settings ignore all of these rules" in ran.err
    Path("gradaudit.toml").write_text('[severity]\nGA702 = "off"\n', encoding="utf-8")
    assert run_cli("check", "x.yaml", "--select", "GA702").code == 2
