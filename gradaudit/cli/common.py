"""What the commands share: from arguments to audited files, and the last words on the screen."""

from __future__ import annotations

import os
import sys

from gradaudit.audit import FileResult, audit_path, audit_source
from gradaudit.discover import Unavailable, describe, discover
from gradaudit.options import Options
from gradaudit.render.summary import Tally
from gradaudit.settings import Finder, did_you_mean, unknown_selector

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gradaudit.cli.options import CheckArguments
    from gradaudit.discover import Target
    from gradaudit.evidence.observed import Observed
    from gradaudit.evidence.record import Record
    from gradaudit.render.layout import Line
    from gradaudit.since import Since
    from gradaudit.source import Source

    Problems = list[tuple[str, str]]
    Drawn = tuple[list[Line], list[Line]]
    Judged = tuple[Tally, FileResult | Drawn] | str

SHARED_FROM = 100
"""Files from which on other processes take a share: below it, starting one costs more."""


MOST_IN_RUN = 8
"""Files named together that can be one run; longer lists are configs of their own."""


class UsageError(Exception):
    """A command line that cannot be meant; exit code 2."""


def options_of(arguments: CheckArguments, finder: Finder) -> Options:
    """Raises: UsageError, BadSettings."""
    options = Options()
    for name in ("select", "extend_select", "ignore"):
        chosen: list[str] = getattr(arguments, name)
        option = f"--{name.replace('_', '-')}"
        codes = [code for item in chosen for code in item.split(",") if code.strip()]
        for code in codes:
            problem = _unknown_code(code, arguments, finder)
            if problem:
                raise UsageError(f"{option}: {problem}")
        if chosen and not codes:
            raise UsageError(f"{option}: names no rule; leave it out to run all")
        if chosen:
            setattr(options, name, codes)
    options.profile = arguments.profile
    options.min_confidence = arguments.min_confidence
    for item in arguments.set:
        key, equals, text = item.partition("=")
        if not equals or not key:
            raise UsageError(f"--set {item}: takes KEY=VALUE")
        options.overrides.append((key, text))
    for item in arguments.assume:
        key, equals, text = item.partition("=")
        if not equals or not key:
            raise UsageError(f"--assume {item}: takes SETTING=VALUE, as in --assume norm=batch")
        _check_assumed(key)
        options.assume[key] = text
    for item in arguments.source:
        unit, equals, path = item.partition("=")
        options.sources.append((unit, path) if equals else (None, item))
    options.observed = _observed(arguments)
    if arguments.stdin_filename is not None and "-" not in arguments.paths:
        raise UsageError(
            "--stdin-filename says what standard input stands for, and it is not read here: "
            "give - as the path"
        )
    options.unit = arguments.unit
    options.named = tuple(arguments.paths or ["."])
    if arguments.record is not None:
        options.record = _record(arguments.record, options.named)
    if len(options.named) > 1:
        _find_run(options)
        if options.record is not None and not options.run and not options.launched:
            raise UsageError(
                "--record is of one training: name one config, or the files of one run"
            )
    return options


def _observed(arguments: CheckArguments) -> Observed | None:
    """Raises: UsageError."""
    epoch, step = arguments.observed_epoch, arguments.observed_step
    if arguments.observed_grad_norm is not None:
        from gradaudit.evidence.observed import Observed

        if epoch is not None and step is not None:
            raise UsageError("--observed-epoch and --observed-step: give one of the two")
        return Observed(arguments.observed_grad_norm, epoch, step)
    if epoch is not None or step is not None:
        raise UsageError("--observed-epoch and --observed-step need --observed-grad-norm")
    if arguments.unit is not None and arguments.record is None:
        raise UsageError(
            "--unit says which unit an observation is of: give --observed-grad-norm or --record too"
        )
    return None


def _record(directory: str, paths: tuple[str, ...]) -> Record:
    """Raises: UsageError."""
    from gradaudit.evidence.record_reader import BadRecord, read_record

    if any(os.path.isdir(path) for path in paths):
        raise UsageError("--record is of one training: name its config, not a directory")
    try:
        return read_record(directory)
    except BadRecord as error:
        raise UsageError(f"--record: {error}") from None


def _unknown_code(code: str, arguments: CheckArguments, finder: Finder) -> str:
    """Why a code selects no rule. It may be of a plugin that the settings of a path name."""
    problem = unknown_selector(code)
    if not problem:
        return ""
    for path in arguments.paths or ["."]:
        finder.for_file(os.path.join(path, "config.yaml") if os.path.isdir(path) else path)
    return unknown_selector(code)


def _find_run(options: Options) -> None:
    """Files named together that one launcher reads side by side."""
    files = [path for path in options.named if path.endswith((".yml", ".yaml"))]
    opener = options.opener_for(files[0]) if 1 < len(files) <= MOST_IN_RUN else None
    if opener is not None:
        from gradaudit.compose.runs import find_launched, find_run

        options.run_dialect, options.run = find_run(files, opener)
        if not options.run:
            options.launched = find_launched(files, opener)


def _check_assumed(key: str) -> None:
    from gradaudit.dialects import GENERIC

    name = key.rpartition(".")[2]
    kinds = tuple(GENERIC["kinds"])
    if name not in kinds:
        raise UsageError(f"--assume {key}: no such setting{did_you_mean(name, kinds)}")


class Run:
    """The files of one command, audited, in order.

    results  with their trees, where they are kept. tallies: always.
    drawn    what `draw` made of each result; empty where nothing was to be drawn.
    fail_on  path -> severity from which the exit code is 1.
    """

    def __init__(self) -> None:
        self.results: list[FileResult] = []
        self.tallies: list[Tally] = []
        self.drawn: list[Drawn] = []
        self.problems: Problems = []
        self.fail_on: dict[str, str] = {}


def read_stdin(arguments: CheckArguments) -> Source:
    """Raises: source.Unreadable."""
    from gradaudit.source import decode

    return decode(sys.stdin.buffer.read(), arguments.stdin_filename or "-")


def audit_all(arguments: CheckArguments, draw: Callable[[FileResult], Drawn] | None = None) -> Run:
    """Audit every file that the arguments name.

    With `draw` each result is drawn and let go at once, many files on several processors;
    without it the results are kept.

    Raises:
        UsageError, BadSettings: the command line or a settings file cannot be used.
    """
    run = Run()
    finder = Finder(arguments.config, arguments.isolated)
    options = options_of(arguments, finder)
    since = _since(arguments, options, finder) if arguments.since is not None else None

    def kept(result: FileResult) -> Judged:
        problem = since.leave_out_earlier(result) if since is not None else ""
        return problem or _kept(result, draw)

    def judge(target: Target) -> Judged:
        try:
            result = audit_path(target.path, options, finder, target.named)
        except OSError as error:
            return describe(error, target.path)
        return kept(result)

    paths = arguments.paths or ["."]
    if "-" in paths:
        judged = kept(_audit_stdin(arguments, options, finder))
        if isinstance(judged, str):
            run.problems.append(("-", judged))
        else:
            _add(run, judged)
    targets: list[Target] = []
    for found in discover([path for path in paths if path != "-"], finder.saw):
        if isinstance(found, Unavailable):
            run.problems.append((found.path, found.message))
        else:
            targets.append(found)
    for target, judged in zip(targets, _judge_all(targets, judge, draw is not None), strict=True):
        if isinstance(judged, str):
            run.problems.append((target.path, judged))
        else:
            _add(run, judged)
    if since is not None:
        since.close()
    for tally in run.tallies:
        level = arguments.fail_on or finder.for_file(tally.path).fail_on
        run.fail_on[tally.path] = level or "warning"
    _requests_met(run, options)
    check_select(run, options, finder)
    return run


def check_select(run: Run, options: Options, finder: Finder) -> None:
    """Where `--select` names rules, and the profile, `--ignore` or the settings let none of them
    run, an empty result would say that all is well.

    Raises: UsageError.
    """
    if options.select is None or not run.tallies:
        return
    known = [finder.for_file(tally.path) for tally in run.tallies]
    if any(options.active_rules(settings) for settings in known):
        return
    from gradaudit.rules import PROFILES, load
    from gradaudit.settings import is_selected

    meant = [
        PROFILES.index(rule.profile)
        for rule in load().values()
        if rule.is_of(known[0].plugins) and is_selected(rule, options.select, options.ignore or [])
    ]
    named = f"--select {','.join(options.select)}"
    if not meant:
        raise UsageError(f"{named}: --ignore takes all of these rules away")
    least = PROFILES[min(meant)]
    if least == PROFILES[0]:
        raise UsageError(f"{named}: the settings ignore all of these rules, or turn them off")
    raise UsageError(
        f"{named}: none of these rules runs below profile {least}; "
        f"add `--profile {least}`, or name them by their whole codes"
    )


def _since(arguments: CheckArguments, options: Options, finder: Finder) -> Since:
    """What leaves out the findings that a file had at a revision.

    Raises: UsageError.
    """
    from gradaudit.revision import NoRevision
    from gradaudit.since import Since

    paths = arguments.paths or ["."]
    if "-" in paths and arguments.stdin_filename is None:
        raise UsageError("--since: where is standard input from? Say so with --stdin-filename")
    named = [arguments.stdin_filename or path if path == "-" else path for path in paths]
    try:
        return Since(arguments.since or "", options, finder, named)
    except NoRevision as error:
        raise UsageError(f"--since: {error}") from None


def _judge_all(
    targets: list[Target], judge: Callable[[Target], Judged], drawn: bool
) -> Iterable[Judged]:
    if drawn and len(targets) >= SHARED_FROM:
        from gradaudit.cli import parallel

        if parallel.possible():
            return parallel.judge_in_parallel(targets, judge)
    return map(judge, targets)


def _kept(result: FileResult, draw: Callable[[FileResult], Drawn] | None) -> Judged:
    if draw is None:
        return Tally(result), result
    return Tally(result), draw(result)


def _add(run: Run, judged: Judged) -> None:
    assert not isinstance(judged, str)
    tally, kept = judged
    run.tallies.append(tally)
    if isinstance(kept, FileResult):
        run.results.append(kept)
    else:
        run.drawn.append(kept)


def _audit_stdin(arguments: CheckArguments, options: Options, finder: Finder) -> FileResult:
    from gradaudit.audit import unparsable
    from gradaudit.source import Source, Unreadable

    name = arguments.stdin_filename or "-"
    settings = finder.for_file(name if name != "-" else "stdin.yaml")
    try:
        return audit_source(read_stdin(arguments), options, settings)
    except Unreadable as error:
        return unparsable(Source(name, error.text), error, options, settings, True)


def _requests_met(run: Run, options: Options) -> None:
    """What was asked of the files, and no file could do: said once, with the file if it is one."""
    judged = [tally for tally in run.tallies if not tally.skipped and tally.parsed]
    common: set[str] | None = None
    for tally in judged:
        common = set(tally.problems) if common is None else common & set(tally.problems)
    for tally in judged:
        for problem in tally.problems:
            if problem in (common or set()) or not problem.startswith("--"):
                run.problems.append((tally.path, problem))
                if len(judged) > 1:
                    (common or set()).discard(problem)
    name_is_met(run, options)


def name_is_met(run: Run, options: Options) -> None:
    """A problem of the run where no file has a unit of the name that `--unit` gives."""
    judged = [tally for tally in run.tallies if not tally.skipped and tally.parsed]
    names = tuple(name for tally in judged for name in tally.units)
    problem = unknown_unit(options.unit, names) if judged else ""
    if problem:
        run.problems.append((judged[0].path, problem))


def unknown_unit(wanted: str | None, names: tuple[str, ...]) -> str:
    """What is wrong with `--unit`; empty where nothing is."""
    if wanted is None or wanted in names:
        return ""
    known = f"; units: {', '.join(dict.fromkeys(names))}" if names else ""
    return f"--unit: no unit `{wanted}`{did_you_mean(wanted, names) or known}"


def command(name: str, arguments: CheckArguments, *more: str) -> str:
    """`gradaudit NAME` as a shell takes it, with the paths and all that decides what is found."""
    words = [*(arguments.paths or ["."])]
    for option in ("select", "extend_select", "ignore", "assume", "source"):
        for value in getattr(arguments, option):
            words += [f"--{option.replace('_', '-')}", value]
    for option in ("profile", "min_confidence", "config", "stdin_filename"):
        value = getattr(arguments, option)
        if value is not None:
            words += [f"--{option.replace('_', '-')}", value]
    if arguments.record is not None:
        words += ["--record", arguments.record]
        words += ["--unit", arguments.unit] if arguments.unit is not None else []
    if arguments.isolated:
        words.append("--isolated")
    return " ".join(["gradaudit", name, *map(quoted, [*words, *more])])


def quoted(word: str) -> str:
    """A word as a shell takes it."""
    safe = word and all(char.isalnum() or char in "-_./=,:@%+~" for char in word)
    return word if safe else "'" + word.replace("'", "'\\''") + "'"


def fault(message: str) -> int:
    """Say what stopped the command; exit code 2."""
    sys.stdout.flush()
    sys.stderr.write(f"gradaudit: error: {message}\n")
    return 2
