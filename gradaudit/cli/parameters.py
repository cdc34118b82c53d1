"""Options and arguments that several commands have, and what their values may be."""

from __future__ import annotations

from typing import Annotated

import typer

from gradaudit.cli.options import (
    COLORS,
    CONFIDENCE_CHOICES,
    FORMATS,
    PROFILE_CHOICES,
    SEVERITY_CHOICES,
)


def one_of(choices: tuple[str, ...]) -> object:
    """A check that a value is one of a few words, with a did-you-mean."""

    def check(value: str | None) -> str | None:
        if value is not None and value not in choices:
            from gradaudit.settings import did_you_mean

            raise typer.BadParameter(
                f"{value!r} is not one of {', '.join(choices)}{did_you_mean(value, choices)}"
            )
        return value

    return check


def above_zero(value: float | None) -> float | None:
    if value is not None and not 0 < value < float("inf"):
        raise typer.BadParameter("takes a number above 0")
    return value


Paths = Annotated[
    list[str] | None,
    typer.Argument(help="Files and directories; - for standard input. Default: .", metavar="PATH"),
]
OneFile = Annotated[str, typer.Argument(help="A config file, or - for standard input.")]
Format = Annotated[
    str, typer.Option(help=f"One of {', '.join(FORMATS)}.", callback=one_of(FORMATS))
]
Color = Annotated[
    str, typer.Option(help="auto, always or never. NO_COLOR is obeyed.", callback=one_of(COLORS))
]
Select = Annotated[
    list[str] | None, typer.Option(help="Rules to run: codes, prefixes (GA1) or names.")
]
ExtendSelect = Annotated[
    list[str] | None, typer.Option(help="Rules to run beside them, whatever their profile.")
]
Ignore = Annotated[list[str] | None, typer.Option(help="Rules not to run.")]
Profile = Annotated[
    str | None,
    typer.Option(
        help="default, strict (also what speaks of most recipes) or pedantic (also taste).",
        callback=one_of(PROFILE_CHOICES),
    ),
]
MinConfidence = Annotated[
    str | None,
    typer.Option(
        help="Report and fix only what is at least this sure: low (all), medium or high.",
        callback=one_of(CONFIDENCE_CHOICES),
    ),
]
FailOn = Annotated[
    str | None,
    typer.Option(
        help="Exit with 1 from this severity on: error, warning (default) or info.",
        callback=one_of(SEVERITY_CHOICES),
    ),
]
ExitZero = Annotated[bool, typer.Option("--exit-zero", help="Exit with 0 whatever is found.")]
Unit = Annotated[
    str | None,
    typer.Option(help="The training unit that the observation or record is of.", metavar="NAME"),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a value as the launcher would.", metavar="KEY=VALUE"),
]
Assume = Annotated[
    list[str] | None,
    typer.Option(help="State what no file says: norm=batch world_size=8.", metavar="SETTING=VALUE"),
]
SourceOption = Annotated[
    list[str] | None,
    typer.Option(
        "--source",
        help="Python file of the training: its layers and its loop are read, never imported.",
        metavar="[UNIT=]FILE",
    ),
]
GradNorm = Annotated[
    float | None,
    typer.Option(help="A gradient norm that your trainer logged.", callback=above_zero),
]
Epoch = Annotated[int | None, typer.Option(min=1, help="The epoch of that norm, from 1.")]
Step = Annotated[int | None, typer.Option(min=1, help="The step of that norm, from 1.")]
Record = Annotated[
    str | None,
    typer.Option(
        help="What `probe` or `dryrun` recorded of this training: its directory.", metavar="DIR"
    ),
]
Config = Annotated[str | None, typer.Option(help="A settings file to use for every file.")]
Isolated = Annotated[bool, typer.Option("--isolated", help="Use no settings file.")]
Since = Annotated[
    str | None,
    typer.Option(
        help="Only what the changes since this git revision brought in (origin/main... for "
        "the merge base).",
        metavar="REV",
    ),
]
StdinName = Annotated[str | None, typer.Option(help="The name that standard input stands for.")]
Verbose = Annotated[
    bool, typer.Option("--verbose", help="List skipped files and rules that could not judge.")
]
