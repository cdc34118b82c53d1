"""The short way to read `check`, without typer, reads every command line as typer does."""

from __future__ import annotations

import contextlib
import io
import math
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from typer.main import get_command

from gradaudit.__main__ import main
from gradaudit.cli import app as typer_app
from gradaudit.cli.options import (
    COLORS,
    CONFIDENCE_CHOICES,
    FORMATS,
    PROFILE_CHOICES,
    SEVERITY_CHOICES,
    CheckArguments,
    read_check,
    spread_pairs,
)

COMMAND = get_command(typer_app.app)

VALUES: dict[str, tuple[str, ...]] = {
    "--format": (*FORMATS, "xml", "", "FULL"),
    "--color": (*COLORS, "blue"),
    "--fail-on": (*SEVERITY_CHOICES, "loud"),
    "--profile": (*PROFILE_CHOICES, "lax", "", "STRICT"),
    "--min-confidence": (*CONFIDENCE_CHOICES, "none", "High"),
    "--extend-select": ("GA7", "GA704,GA2", "-"),
    "--unit": ("main", "", "-", "a b", "--verbose", "-x", "größe"),
    "--observed-grad-norm": (
        "28.9", "1e3", "1_000", " 5 ", "-1", "0", "nan", "inf", "Infinity", "x", "٣", "0x10", "",
    ),
    "--observed-epoch": ("3", "1_0", " 2 ", "0", "-1", "1.5", "x", "٣", "+4", "007", ""),
    "--observed-step": ("200", "-0", "1e3"),
    "--record": (".gradaudit/probe/1", "", "-", "a b", "--unit", "größe"),
    "--config": ("gradaudit.toml", "-", "", "--isolated"),
    "--stdin-filename": ("a/b.yaml", "", "a=b"),
    "--since": ("HEAD", "origin/main...", "", "-", "HEAD^{/fix: it}", "--verbose"),
    "--select": ("GA1", "GA1,GA2", "", "-", "warmup-exceeds-training"),
    "--ignore": ("GA301", " GA3", "--"),
    "--set": ("lr=1", "a.b=c=d", "=", "x"),
    "--assume": ("norm=batch", "world_size=8", ""),
    "--source": ("net.py", "unit=net.py", "-"),
}  # fmt: skip
FLAGS = ("--exit-zero", "--isolated", "--verbose")
PATHS = (
    ".", "-", "", "a.yaml", "a b.yaml", "ü/ö.yaml", "a=b.yaml", "@file", "*.yaml", "~/x.yaml",
    "$HOME", "a\nb.yaml", "\udcff.yaml", "check", "%TEMP%",
)  # fmt: skip
ODD = (
    "--", "---", "-v", "-h", "--help", "--unknown", "--form", "--verb", "--exit-zero=1",
    "--verbose=", "--no-isolated", "-1", "-.5", "--Format", "—format",
)  # fmt: skip


@st.composite
def options(draw: st.DrawFn) -> list[str]:
    name = draw(st.sampled_from(sorted(VALUES)))
    value = draw(st.sampled_from(VALUES[name]) | st.text(max_size=6))
    return [f"{name}={value}"] if draw(st.booleans()) else [name, value]


words = st.one_of(
    options(),
    options(),
    st.sampled_from(FLAGS).map(lambda word: [word]),
    st.sampled_from(PATHS).map(lambda word: [word]),
    st.sampled_from(ODD).map(lambda word: [word]),
    st.sampled_from(sorted(VALUES)).map(lambda word: [word]),  # its value is missing, or the next
    st.text(max_size=8).map(lambda word: [word]),
)
lines = st.lists(words, max_size=7).map(lambda parts: [word for part in parts for word in part])


def typer_reads(line: list[str], monkeypatch: pytest.MonkeyPatch) -> CheckArguments | None:
    """What typer hands to `run_check`; None where it refuses the line or prints help."""
    seen: list[CheckArguments] = []

    def run_check(arguments: CheckArguments) -> int:
        seen.append(arguments)
        return 0

    monkeypatch.setattr("gradaudit.cli.check.run_check", run_check)
    quiet = io.StringIO()
    with (
        contextlib.redirect_stderr(quiet),
        contextlib.redirect_stdout(quiet),
        contextlib.suppress(SystemExit),
    ):
        COMMAND.main(["check", *line], prog_name="gradaudit")
    return seen[0] if seen else None


def fields(arguments: CheckArguments) -> dict[str, Any]:
    return {name: getattr(arguments, name) for name in vars(CheckArguments())}


@settings(max_examples=400, deadline=None)
@given(lines)
@example(["-", "--unit", "-"])
@example(["--select", "GA1", "--select=GA2", "a.yaml", "--format=json"])
@example(["--observed-grad-norm", "28.9", "--observed-epoch=3"])
@example(["--set", "a=-1"])
@example(["--color=never", "--color", "always"])
@example(["--", "--verbose"])
def test_whatever_the_short_way_reads_typer_reads_alike(line: list[str]) -> None:
    short = read_check(line)
    if short is None:
        return
    with pytest.MonkeyPatch.context() as monkeypatch:
        long = typer_reads(line, monkeypatch)
    assert long is not None, f"typer refuses {line}"
    assert fields(short) == fields(long)


@pytest.mark.parametrize(
    "line",
    [
        [],
        ["a.yaml"],
        ["a.yaml", "b.yaml", "-"],
        ["--format", "json", "a.yaml"],
        ["--format=concise", "--verbose", "--isolated", "--exit-zero"],
        ["--select", "GA1,GA2", "--ignore=GA301"],
        ["--profile", "strict", "--extend-select=GA704", "--min-confidence", "medium"],
        ["--observed-grad-norm", "28.9", "--observed-epoch", "3", "--unit", "main"],
        ["--since", "origin/main", "configs"],
        ["--record", ".gradaudit/probe/1", "--unit=main", "a.yaml"],
        ["--assume", "norm=batch", "--set", "lr=1", "--source", "unit=net.py"],
    ],
)
def test_ordinary_lines_take_the_short_way(
    line: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    short = read_check(line)
    assert short is not None
    long = typer_reads(line, monkeypatch)
    assert long is not None
    assert fields(short) == fields(long)


@pytest.mark.parametrize(
    "line",
    [
        ["--help"],
        ["-h"],
        ["--"],
        ["--unknown"],
        ["--format", "xml"],
        ["--format"],
        ["--verb"],
        ["--observed-grad-norm", "-1"],
        ["--observed-grad-norm", "nan"],
        ["--observed-epoch", "0"],
        ["--exit-zero=1"],
        ["--unit", "--verbose"],
    ],
)
def test_what_has_to_be_explained_goes_to_typer(line: list[str]) -> None:
    assert read_check(line) is None


def test_typer_and_the_short_way_know_the_same_options() -> None:
    from gradaudit.cli import options as short

    known = {*short._VALUES, *short._LISTS, *short._FLAGS}
    command = COMMAND.commands["check"]  # type: ignore[attr-defined]
    flags = {name for option in command.params for name in option.opts if name.startswith("-")}
    assert known == flags - {"-h", "--help"}
    assert {option.name for option in command.params} - {"help"} == set(vars(CheckArguments()))


def test_both_ways_have_the_same_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    long = typer_reads([], monkeypatch)
    assert long is not None
    assert fields(long) == fields(CheckArguments())


@pytest.mark.parametrize(
    ("line", "spread"),
    [
        (["--assume", "a=1", "b=2"], ["--assume", "a=1", "--assume", "b=2"]),
        (["--set", "a=1", "b=2", "--assume", "c=3", "d=4"],
         ["--set", "a=1", "--set", "b=2", "--assume", "c=3", "--assume", "d=4"]),
        (["--set", "a=1", "x.yaml"], ["--set", "a=1", "x.yaml"]),
        (["--set", "a=1", "dir/x=1.yaml"], ["--set", "a=1", "dir/x=1.yaml"]),
        (["--set", "a=1", "x.yaml", "b=2"], ["--set", "a=1", "x.yaml", "b=2"]),
        (["--set", "a=1", "--verbose", "b=2"], ["--set", "a=1", "--verbose", "b=2"]),
        (["--set", "a=1", "-", "b=2"], ["--set", "a=1", "-", "b=2"]),
        (["--set", "a=1", "--", "b=2"], ["--set", "a=1", "--", "b=2"]),
        (["--set", "a=1", "=2"], ["--set", "a=1", "=2"]),
        (["--set"], ["--set"]),
        (["--set", "a"], ["--set", "a"]),
        (["--set", "a", "b=1"], ["--set", "a", "--set", "b=1"]),
        (["--select", "GA1", "b=2"], ["--select", "GA1", "b=2"]),
    ],
)  # fmt: skip
def test_pairs_are_spread(line: list[str], spread: list[str]) -> None:
    assert spread_pairs(line) == spread


@given(lines)
def test_spreading_twice_is_spreading_once_and_loses_nothing(line: list[str]) -> None:
    spread = spread_pairs(line)
    assert spread_pairs(spread) == spread
    added = list(spread)
    for word in line:
        added.remove(word)
    assert set(added) <= {"--assume", "--set"}


def test_pairs_reach_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[CheckArguments] = []

    def run_check(arguments: CheckArguments) -> int:
        seen.append(arguments)
        return 0

    monkeypatch.setattr("gradaudit.cli.check.run_check", run_check)
    assert main(["check", "a.yaml", "--assume", "norm=batch", "world_size=8", "--set", "x=1"]) == 0
    assert seen[0].assume == ["norm=batch", "world_size=8"]
    assert seen[0].set == ["x=1"]
    assert seen[0].paths == ["a.yaml"]


def test_numbers_are_read_as_python_reads_them() -> None:
    read = read_check(["--observed-grad-norm", "1_000.5", "--observed-step", "1_000"])
    assert read is not None
    assert read.observed_grad_norm is not None
    assert math.isclose(read.observed_grad_norm, 1000.5)
    assert read.observed_step == 1000
