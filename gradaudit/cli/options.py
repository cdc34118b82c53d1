"""The options of `check` as data, and the short way to read them.

A plain `check` is parsed here, without typer, because importing typer costs more than the check.
The short way knows only what is right: whatever it does not understand goes to typer, which
explains it. A test proves that both ways read every command line alike.
"""

from __future__ import annotations

FORMATS = ("full", "concise", "json", "markdown")
COMPARE_FORMATS = ("full", "json", "markdown")
COLORS = ("auto", "always", "never")
SEVERITY_CHOICES = ("error", "warning", "info")
CONFIDENCE_CHOICES = ("low", "medium", "high")
PROFILE_CHOICES = ("default", "strict", "pedantic")


class CheckArguments:
    """What `check` was asked; the field names are those of the typer command."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.format = "full"
        self.color = "auto"
        self.select: list[str] = []
        self.extend_select: list[str] = []
        self.ignore: list[str] = []
        self.profile: str | None = None
        self.min_confidence: str | None = None
        self.fail_on: str | None = None
        self.exit_zero = False
        self.unit: str | None = None
        self.set: list[str] = []
        self.assume: list[str] = []
        self.source: list[str] = []
        self.observed_grad_norm: float | None = None
        self.observed_epoch: int | None = None
        self.observed_step: int | None = None
        self.record: str | None = None
        self.config: str | None = None
        self.isolated = False
        self.stdin_filename: str | None = None
        self.verbose = False
        self.since: str | None = None


def _positive_float(text: str) -> float:
    value = float(text)
    if not value > 0 or value == float("inf"):
        raise ValueError
    return value


def _positive_int(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def _choice(choices: tuple[str, ...]) -> object:
    def read(text: str) -> str:
        if text not in choices:
            raise ValueError
        return text

    return read


_VALUES = {
    "--format": ("format", _choice(FORMATS)),
    "--color": ("color", _choice(COLORS)),
    "--fail-on": ("fail_on", _choice(SEVERITY_CHOICES)),
    "--profile": ("profile", _choice(PROFILE_CHOICES)),
    "--min-confidence": ("min_confidence", _choice(CONFIDENCE_CHOICES)),
    "--unit": ("unit", str),
    "--observed-grad-norm": ("observed_grad_norm", _positive_float),
    "--observed-epoch": ("observed_epoch", _positive_int),
    "--observed-step": ("observed_step", _positive_int),
    "--record": ("record", str),
    "--config": ("config", str),
    "--stdin-filename": ("stdin_filename", str),
    "--since": ("since", str),
}
_LISTS = {
    "--select": "select",
    "--extend-select": "extend_select",
    "--ignore": "ignore",
    "--set": "set",
    "--assume": "assume",
    "--source": "source",
}
_FLAGS = {"--exit-zero": "exit_zero", "--isolated": "isolated", "--verbose": "verbose"}


def read_check(words: list[str]) -> CheckArguments | None:
    """The arguments of `check`, or None where typer is to read them (and to explain)."""
    arguments = CheckArguments()
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        if word == "-" or not word.startswith("-"):
            arguments.paths.append(word)
            continue
        name, equals, value = word.partition("=")
        if name in _FLAGS and not equals:
            setattr(arguments, _FLAGS[name], True)
            continue
        if name not in _VALUES and name not in _LISTS:
            return None
        if not equals:
            if position == len(words):
                return None
            value = words[position]
            position += 1
            if value.startswith("-") and value != "-":
                return None
        if name in _LISTS:
            getattr(arguments, _LISTS[name]).append(value)
            continue
        field, read = _VALUES[name]
        try:
            setattr(arguments, field, read(value))  # type: ignore[operator]
        except ValueError:
            return None
    return arguments


def spread_pairs(words: list[str]) -> list[str]:
    """`--assume a=1 b=2` and `--set a=1 b=2` as one option a pair.

    A word after such an option belongs to it while it reads NAME=VALUE and names no path.
    """
    spread: list[str] = []
    taking = ""
    for position, word in enumerate(words):
        before = words[position - 1] if position else ""
        if word in ("--assume", "--set"):
            taking = word
        elif word.startswith("-"):
            taking = ""
        elif taking and before != taking:
            name, equals, _ = word.partition("=")
            if equals and name and "/" not in name and "\\" not in name:
                spread.append(taking)
            else:
                taking = ""
        spread.append(word)
    return spread
