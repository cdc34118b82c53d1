"""`gradaudit fix`: a diff, or with `--write` the repaired file."""

from __future__ import annotations

import sys

from gradaudit.audit import FileResult, Options, audit_source
from gradaudit.cli.check import quoted
from gradaudit.cli.common import BadSettings, Run, UsageError, fault, options_of
from gradaudit.discover import Target, Unavailable, describe, discover
from gradaudit.findings import RECOMMENDED, SAFE, SPECULATIVE
from gradaudit.fix.engine import Outcome, fix_text
from gradaudit.fix.write import WriteFailed, write
from gradaudit.render.fix import fix_lines
from gradaudit.render.output import use_color, width_of, write_lines
from gradaudit.render.summary import exit_code
from gradaudit.settings import Finder
from gradaudit.source import Source, Unreadable, decode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.cli.options import CheckArguments
    from gradaudit.findings import Finding
    from gradaudit.settings import Settings
    from gradaudit.syntax.tree import Tree


class FixArguments:
    def __init__(self, write: bool, safe_only: bool, unsafe: bool) -> None:
        self.write = write
        self.safe_only = safe_only
        self.unsafe = unsafe

    @property
    def admitted(self) -> tuple[str, ...]:
        if self.safe_only:
            return (SAFE,)
        return (SAFE, RECOMMENDED, SPECULATIVE) if self.unsafe else (SAFE, RECOMMENDED)


class Fixed:
    """A file after fixing. `outcome` is None where the file was not parsed or not judged.

    before, after  what the audit found in the text as it was and as it is now.
    written        whether the file on disk was replaced.
    """

    def __init__(self, before: FileResult, after: FileResult, outcome: Outcome | None) -> None:
        self.before = before
        self.after = after
        self.outcome = outcome
        self.written = False

    @property
    def changed(self) -> bool:
        return self.outcome is not None and self.outcome.text != self.outcome.original.text


def run_fix(arguments: CheckArguments, own: FixArguments) -> int:
    try:
        options = options_of(arguments)
        finder = Finder(arguments.config, arguments.isolated)
        run, files = _fix_all(arguments, own, options, finder)
    except (BadSettings, UsageError) as error:
        return fault(str(error))
    to_stdout = "-" in arguments.paths and own.write
    width = width_of(sys.stdout)
    lines = fix_lines(files, run.problems, own, _again(arguments, own), width)
    stream = sys.stderr if to_stdout else sys.stdout
    write_lines(lines, use_color(arguments.color, stream), stream)
    code = exit_code(run.results, run.problems, run.fail_on)
    if code == 0 and not own.write and any(file.changed for file in files):
        code = 1
    return 0 if arguments.exit_zero and code == 1 else code


def _again(arguments: CheckArguments, own: FixArguments) -> str:
    """The same command with what it lacks to write."""
    words = [*(arguments.paths or ["."])]
    for name in ("select", "ignore", "assume", "source"):
        for value in getattr(arguments, name):
            words += [f"--{name}", value]
    if arguments.config:
        words += ["--config", arguments.config]
    flags = (["--safe-only"] if own.safe_only else []) + (["--unsafe"] if own.unsafe else [])
    return "gradaudit fix " + " ".join(map(quoted, [*words, *flags]))


def _fix_all(
    arguments: CheckArguments, own: FixArguments, options: Options, finder: Finder
) -> tuple[Run, list[Fixed]]:
    run = Run()
    files: list[Fixed] = []
    paths = arguments.paths or ["."]
    if "-" in paths:
        data = sys.stdin.buffer.read()
        name = arguments.stdin_filename or "-"
        fixed = fix_bytes(data, name, options, finder, own, named=True)
        if own.write:
            _print_fixed(fixed, data)
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
    from gradaudit.source import MAX_BYTES

    with open(target.path, "rb") as file:
        data = file.read(MAX_BYTES + 1)
    fixed = fix_bytes(data, target.path, options, finder, own, target.named)
    if fixed.changed and own.write:
        assert fixed.outcome is not None
        try:
            write(target.path, data, fixed.outcome.original.to_bytes(fixed.outcome.text))
            fixed.written = True
        except WriteFailed as error:
            run.problems.append((target.path, str(error)))
            fixed = Fixed(fixed.before, fixed.before, None)
    _record(run, files, fixed, arguments, finder)


def fix_bytes(
    data: bytes,
    path: str,
    options: Options,
    finder: Finder,
    own: FixArguments,
    named: bool,
) -> Fixed:
    """Fix a file's content; nothing is written.

    Raises: BadSettings.
    """
    from gradaudit.audit import unparsable

    settings = finder.for_file(path)
    try:
        source = decode(data, path)
    except Unreadable as error:
        result = unparsable(Source(path, ""), error, options, settings, named)
        return Fixed(result, result, None)
    before = audit_source(source, options, settings, named)
    if before.tree is None or before.skipped:
        return Fixed(before, before, None)
    last = before

    def find(text: Source) -> tuple[Tree, list[Finding]]:
        nonlocal last
        last = before if text is source else _audit_again(text, options, settings)
        assert last.tree is not None
        tree = last.tree
        return tree, [f for f in last.findings if f.place.source is tree.source]

    outcome = fix_text(source, find, own.admitted)
    after = (
        before
        if outcome.text == source.text
        else _audit_again(
            Source(path, outcome.text, source.encoding, source.bom), options, settings
        )
    )
    return Fixed(before, after, outcome)


def _audit_again(source: Source, options: Options, settings: Settings) -> FileResult:
    result = audit_source(source, options, settings)
    if result.tree is None:
        raise AssertionError("a verified fix does not parse")
    return result


def _record(
    run: Run, files: list[Fixed], fixed: Fixed, arguments: CheckArguments, finder: Finder
) -> None:
    files.append(fixed)
    run.results.append(fixed.after)
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
