"""The typer application: every command's options, and nothing else."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from gradaudit.cli.options import COMPARE_FORMATS, CheckArguments
from gradaudit.cli.parameters import (
    Assume,
    Color,
    Config,
    Epoch,
    ExitZero,
    ExtendSelect,
    FailOn,
    Format,
    GradNorm,
    Ignore,
    Isolated,
    MinConfidence,
    OneFile,
    Paths,
    Profile,
    Record,
    Select,
    Set,
    Since,
    SourceOption,
    StdinName,
    Step,
    Unit,
    Verbose,
    one_of,
)

app = typer.Typer(
    name="gradaudit",
    help="Finds what in a training config makes gradients explode, vanish or go to waste, "
    "repairs the file byte for byte, and says what to measure.",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _arguments(**values: object) -> CheckArguments:
    arguments = CheckArguments()
    for name, value in values.items():
        if value is not None:
            setattr(arguments, name, value)
    return arguments


@app.command()
def check(
    paths: Paths = None,
    format: Format = "full",
    select: Select = None,
    extend_select: ExtendSelect = None,
    ignore: Ignore = None,
    profile: Profile = None,
    min_confidence: MinConfidence = None,
    fail_on: FailOn = None,
    exit_zero: ExitZero = False,
    unit: Unit = None,
    observed_grad_norm: GradNorm = None,
    observed_epoch: Epoch = None,
    observed_step: Step = None,
    record: Record = None,
    assume: Assume = None,
    set: Set = None,
    source: SourceOption = None,
    config: Config = None,
    isolated: Isolated = False,
    stdin_filename: StdinName = None,
    since: Since = None,
    color: Color = "auto",
    verbose: Verbose = False,
) -> None:
    """Judge training configs and explain what is wrong with them."""
    values = locals()
    from gradaudit.cli.check import run_check

    raise typer.Exit(run_check(_arguments(**values)))


@app.command()
def fix(
    paths: Paths = None,
    write: Annotated[bool, typer.Option("--write", help="Write the files.")] = False,
    safe_only: Annotated[
        bool, typer.Option("--safe-only", help="Only fixes that leave the run as it is.")
    ] = False,
    unsafe: Annotated[
        bool, typer.Option("--unsafe", help="Also fixes that may help: measure first.")
    ] = False,
    select: Select = None,
    extend_select: ExtendSelect = None,
    ignore: Ignore = None,
    profile: Profile = None,
    min_confidence: MinConfidence = None,
    fail_on: FailOn = None,
    exit_zero: ExitZero = False,
    unit: Unit = None,
    record: Record = None,
    assume: Assume = None,
    source: SourceOption = None,
    config: Config = None,
    isolated: Isolated = False,
    stdin_filename: StdinName = None,
    color: Color = "auto",
) -> None:
    """Show the repair as a diff; with --write, make it.

    Safe and recommended fixes are taken. Only the bytes of the edited values change.
    """
    values = locals()
    from gradaudit.cli.fix import FixArguments, run_fix

    if safe_only and unsafe:
        raise typer.BadParameter("--safe-only and --unsafe exclude each other")
    own = FixArguments(values.pop("write"), values.pop("safe_only"), values.pop("unsafe"))
    raise typer.Exit(run_fix(_arguments(**values), own))


@app.command()
def report(
    file: OneFile,
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="Write here instead of the screen.")
    ] = None,
    select: Select = None,
    extend_select: ExtendSelect = None,
    ignore: Ignore = None,
    profile: Profile = None,
    min_confidence: MinConfidence = None,
    unit: Unit = None,
    observed_grad_norm: GradNorm = None,
    observed_epoch: Epoch = None,
    observed_step: Step = None,
    record: Record = None,
    assume: Assume = None,
    set: Set = None,
    source: SourceOption = None,
    config: Config = None,
    isolated: Isolated = False,
    stdin_filename: StdinName = None,
) -> None:
    """Write a diagnosis of one config as a Markdown document."""
    values = locals()
    from gradaudit.cli.report import run_report

    output = values.pop("output")
    values["paths"] = [values.pop("file")]
    raise typer.Exit(run_report(_arguments(**values), output, sys.argv[1:]))


@app.command()
def show(
    paths: Paths = None,
    format: Annotated[
        str, typer.Option(help="text or json.", callback=one_of(("text", "json")))
    ] = "text",
    assume: Assume = None,
    set: Set = None,
    source: SourceOption = None,
    config: Config = None,
    isolated: Isolated = False,
    stdin_filename: StdinName = None,
    color: Color = "auto",
) -> None:
    """Show the training plan as understood: each value, where it stands, how it is known."""
    values = locals()
    from gradaudit.cli.show import run_show

    raise typer.Exit(run_show(_arguments(**values)))


@app.command()
def compare(
    old: Annotated[str, typer.Argument(help="A config file, or git:REV:PATH.", metavar="OLD")],
    new: Annotated[
        str | None,
        typer.Argument(
            help="The same. Default: the file of git:REV:PATH as it is now.", metavar="[NEW]"
        ),
    ] = None,
    format: Annotated[
        str,
        typer.Option(
            help=f"One of {', '.join(COMPARE_FORMATS)}.", callback=one_of(COMPARE_FORMATS)
        ),
    ] = "full",
    select: Select = None,
    extend_select: ExtendSelect = None,
    ignore: Ignore = None,
    profile: Profile = None,
    min_confidence: MinConfidence = None,
    assume: Assume = None,
    source: SourceOption = None,
    config: Config = None,
    isolated: Isolated = False,
    color: Color = "auto",
) -> None:
    """Say what changed between two configs, by how much, and what that does to the training."""
    values = locals()
    from gradaudit.cli.compare import run_compare

    old, new = values.pop("old"), values.pop("new")
    raise typer.Exit(run_compare(_arguments(**values), old, new))


@app.command(context_settings={"allow_interspersed_args": False})
def probe(
    command: Annotated[
        list[str], typer.Argument(help="Your training command, as you run it.", metavar="CMD...")
    ],
    steps: Annotated[int, typer.Option(min=1, help="Optimizer steps to record.")] = 100,
    skip_steps: Annotated[
        int, typer.Option(min=0, help="Optimizer steps to leave out first: a warm-up, say.")
    ] = 0,
    config: Annotated[
        str | None, typer.Option(help="The config that the command trains by.", metavar="FILE")
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="Directory of the record. Default: .gradaudit/probe/TIME",
            metavar="DIR",
        ),
    ] = None,
    unit: Annotated[
        str | None,
        typer.Option(help="The training unit of the config that is recorded.", metavar="NAME"),
    ] = None,
    cwd: Annotated[
        str | None,
        typer.Option(help="Run the command in this directory; made if needed.", metavar="DIR"),
    ] = None,
    exit_zero: ExitZero = False,
    color: Color = "auto",
) -> None:
    """Run your training unchanged, record its first steps, end it, and say what was seen.

    This runs your command, because you typed it: gradaudit probe -- python train.py --config c.yaml
    """
    values = locals()
    from gradaudit.cli.probe import ProbeArguments, run_probe

    arguments = ProbeArguments()
    for name, value in values.items():
        setattr(arguments, name, value)
    raise typer.Exit(run_probe(arguments))


@app.command()
def dryrun(
    file: Annotated[str, typer.Argument(help="A config file.", metavar="FILE")],
    entry: Annotated[
        str | None,
        typer.Option(
            help="The function that hands over your training: train.py:build or pkg.module:build. "
            "Without it only what the config alone allows is simulated.",
            metavar="MODULE:FUNCTION",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="With --entry: optimiser steps to train. Default: 100."),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="With --entry: write the record here. Default: .gradaudit/dryrun/TIME.",
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            help="With --entry: cpu, cuda or mps. Default: cpu.",
            callback=one_of(("cpu", "cuda", "mps")),
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="With --entry: of Python, numpy and torch. Default: 0."),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help="With --entry. config: autocast and loss scaling as the config says. model: "
            "neither, everything in the model's own dtype. Default: config.",
            callback=one_of(("config", "model")),
        ),
    ] = None,
    unit: Annotated[
        str | None, typer.Option(help="The training unit that is measured.", metavar="NAME")
    ] = None,
    format: Annotated[
        str,
        typer.Option(
            help="text or json; of a measurement the summary: steps are in its record.",
            callback=one_of(("text", "json")),
        ),
    ] = "text",
    assume: Assume = None,
    set: Set = None,
    config: Config = None,
    isolated: Isolated = False,
    exit_zero: ExitZero = False,
    color: Color = "auto",
) -> None:
    """Train a few steps of your own training and measure each loss term's gradient."""
    values = locals()
    from gradaudit.cli.dryrun import DryRunArguments, run_dryrun

    own = DryRunArguments(
        *(
            values.pop(name)
            for name in ("entry", "steps", "output", "device", "seed", "unit", "precision")
        )
    )
    values["paths"] = [values.pop("file")]
    raise typer.Exit(run_dryrun(_arguments(**values), own))


@app.command()
def explain(
    rule: Annotated[str, typer.Argument(help="A rule's code or name.", metavar="RULE")],
    color: Color = "auto",
) -> None:
    """Explain a rule: why it hurts, an example, how to tell on your own run."""
    from gradaudit.cli.rules import run_explain

    raise typer.Exit(run_explain(rule, color))


@app.command()
def rules(
    selected: Annotated[
        list[str] | None,
        typer.Argument(help="Only these: codes, prefixes (GA1) or names.", metavar="RULE"),
    ] = None,
    format: Annotated[
        str, typer.Option(help="text or json.", callback=one_of(("text", "json")))
    ] = "text",
    symptom: Annotated[
        str | None,
        typer.Option(help="Only those that know a cause of this: 'loss nan', 'fp16', '8 gpus'."),
    ] = None,
    dialect: Annotated[
        str | None,
        typer.Option(
            help="Say which can judge this framework's files, and what is missing for the others.",
            metavar="NAME",
        ),
    ] = None,
    color: Color = "auto",
) -> None:
    """List all rules, or some: by code, by what a run shows, by what a framework's files say."""
    from gradaudit.cli.rules import run_rules

    raise typer.Exit(run_rules(format, color, symptom, selected or [], dialect))


def _version(value: bool) -> None:
    if value:
        from gradaudit import version_line

        typer.echo(version_line())
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option("--version", "-V", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Only `--version`; the commands have the rest."""


def run(words: list[str]) -> int:
    """Parse with typer and run; returns the exit code."""
    try:
        app(words, prog_name="gradaudit")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    return 0
