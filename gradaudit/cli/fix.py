"""`gradaudit fix`: a diff, or with `--write` the repaired file."""

from __future__ import annotations

import sys

from gradaudit.cli.common import (
    Run,
    UsageError,
    check_select,
    command,
    fault,
    name_is_met,
    options_of,
)
from gradaudit.discover import Target, Unavailable, describe, discover
from gradaudit.findings import RECOMMENDED, SAFE, SPECULATIVE
from gradaudit.fix.write import WriteFailed, write
from gradaudit.fixing import Fixed, fix_bytes
from gradaudit.render.fix import fix_lines
from gradaudit.render.output import use_color, width_of, write_lines
from gradaudit.render.summary import Tally, exit_code
from gradaudit.settings import BadSettings, Finder
from gradaudit.source import MAX_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.cli.options import CheckArguments
    from gradaudit.options import Options


class FixArguments:
    """What only `fix` takes."""

    def __init__(self, write: bool, safe_only: bool, unsafe: bool) -> None:
        self.write = write
        self.safe_only = safe_only
        self.unsafe = unsafe

    @property
    def words(self) -> list[str]:
        """The options that were given, but `--write`."""
        named = (("--safe-only", self.safe_only), ("--unsafe", self.unsafe))
        return [word for word, given in named if given]

    @property
    def admitted(self) -> tuple[str, ...]:
        if self.safe_only:
            return (SAFE,)
        return (SAFE, RECOMMENDED, SPECULATIVE) if self.unsafe else (SAFE, RECOMMENDED)


def run_fix(arguments: CheckArguments, own: FixArguments) -> int:
    try:
        finder = Finder(arguments.config, arguments.isolated)
        options = options_of(arguments, finder)
        run, files = _fix_all(arguments, own, options, finder)
        check_select(run, options, finder)
        name_is_met(run, options)
    except (BadSettings, UsageError) as error:
        return fault(str(error))
    to_stdout = "-" in arguments.paths and own.write
    width = width_of(sys.stdout)
    lines = fix_lines(
        files, run.problems, admitted=own.admitted, write=own.write,
        command=command("fix", arguments, *own.words), check=command("check", arguments),
        width=width,
    )  # fmt: skip
    stream = sys.stderr if to_stdout else sys.stdout
    write_lines(lines, use_color(arguments.color, stream), stream)
    code = exit_code(run.tallies, run.problems, run.fail_on)
    if code == 0 and not own.write and any(file.changed for file in files):
        code = 1
    return 0 if arguments.exit_zero and code == 1 else code


def _fix_all(
    arguments: CheckArguments, own: FixArguments, options: Options, finder: Finder
) -> tuple[Run, list[Fixed]]:
    run = Run()
    files: list[Fixed] = []
    paths = arguments.paths or ["."]
    if "-" in paths:
        data = sys.stdin.buffer.read()
        name = arguments.stdin_filename or "-"
        fixed = fix_bytes(data, name, options, finder.for_file(name), own.admitted, named=True)
        if own.write:
            if _is_another(fixed, options):  # what came in is piped on
                fixed = Fixed(fixed.before, fixed.before, None)
            _print_fixed(fixed, data)
            fixed.written = fixed.changed
        _record(run, files, fixed, arguments, finder)
    for target in discover([path for path in paths if path != "-"]):
        if isinstance(target, Unavailable):
            run.problems.append((target.path, target.message))
            continue
        try:
            _fix_file(target, run, files, arguments, own, options, finder)
        except OSError as error:
            run.problems.append((target.path, describe(error, target.path)))
    return run, files


def _fix_file(
    target: Target,
    run: Run,
    files: list[Fixed],
    arguments: CheckArguments,
    own: FixArguments,
    options: Options,
    finder: Finder,
) -> None:
    with open(target.path, "rb") as file:
        data = file.read(MAX_BYTES + 1)
    fixed = fix_bytes(
        data, target.path, options, finder.for_file(target.path), own.admitted, target.named
    )
    if fixed.changed and own.write and not _is_another(fixed, options):
        assert fixed.outcome is not None
        try:
            write(target.path, data, fixed.outcome.original.to_bytes(fixed.outcome.text))
            fixed.written = True
        except WriteFailed as error:
            run.problems.append((target.path, str(error)))
            fixed = Fixed(fixed.before, fixed.before, None)
    _record(run, files, fixed, arguments, finder)


def _is_another(fixed: Fixed, options: Options) -> bool:
    """Whether the file lacks the unit that `--unit` names: a mistyped one writes nothing."""
    names = [unit.name for unit in fixed.before.units]
    return options.unit is not None and options.unit not in names


def _record(
    run: Run, files: list[Fixed], fixed: Fixed, arguments: CheckArguments, finder: Finder
) -> None:
    files.append(fixed)
    run.tallies.append(Tally(fixed.after))
    path = fixed.after.path
    settings = finder.for_file(path)
    run.fail_on[path] = arguments.fail_on or settings.fail_on or "warning"
    run.problems.extend((path, problem) for problem in fixed.before.problems)


def _print_fixed(fixed: Fixed, data: bytes) -> None:
    """`fix - --write`: the repaired text on standard output, as it came where nothing changed."""
    if fixed.changed:
        assert fixed.outcome is not None
        data = fixed.outcome.original.to_bytes(fixed.outcome.text)
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
