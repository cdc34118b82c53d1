"""`gradaudit compare`: two configs, or one at a revision and now."""

from __future__ import annotations

import os
import sys

from gradaudit.audit import audit_path, audit_source
from gradaudit.cli.common import UsageError, command, fault, options_of
from gradaudit.compare.changes import compare
from gradaudit.discover import describe
from gradaudit.render.output import use_color, width_of, write_lines
from gradaudit.revision import NoRevision, Revision, RevisionOpener, top_of
from gradaudit.settings import BadSettings, Finder
from gradaudit.source import NOT_REGULAR, Unreadable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.audit import FileResult
    from gradaudit.cli.options import CheckArguments
    from gradaudit.options import Options

_GIT = "git:"


class _Typed:
    """One of the two as typed: a path, or `git:REV:PATH`.

    path      in the working tree. revision, place: of `git:` only; the path from the top.
    """

    def __init__(self, word: str) -> None:
        """Raises: UsageError, NoRevision."""
        self.word = word
        self.path = word
        self.place = ""
        self.revision: Revision | None = None
        if word == "-":
            raise UsageError("compare takes files, and git:REV:PATH; not standard input")
        if not word.startswith(_GIT):
            return
        name, path = _parted(word)
        top = top_of(os.curdir)
        if top is None:
            raise UsageError(f"{word}: this directory is in no git repository")
        try:
            self.revision = Revision(top, name)
        except NoRevision as error:
            raise UsageError(f"{word}: {error}") from None
        top = self.revision.top
        near = path.startswith(("./", "../"))
        real = os.path.normpath(os.path.join(os.path.realpath(os.curdir) if near else top, path))
        self.path = os.path.relpath(real, os.path.realpath(os.curdir))
        self.place = self.revision.place_of(real) or ""
        opener = RevisionOpener(self.revision, self.path)
        if not opener.exists(self.path, self.path):
            raise UsageError(f"{word}: {_missing(self.revision, self.place, path)}")

    def audit(self, options: Options, finder: Finder) -> FileResult:
        """Raises: UsageError, BadSettings."""
        try:
            if self.revision is None:
                return audit_path(self.path, options, finder)
            opener = RevisionOpener(self.revision, self.path)
            source = opener.read(self.path)
            result = audit_source(source, options.opened_by(opener), finder.for_file(self.path))
        except OSError as error:
            raise UsageError(f"{self.word}: {_unread(error, self.path)}") from None
        except Unreadable as error:
            said = f"cannot be read: line {error.line}: {error.message}"
            raise UsageError(f"{self.word}: {said}") from None
        _rename(result, self.revision)
        return result


def _unread(error: OSError, path: str) -> str:
    """Why there is no text: a directory, or a pipe such as `<(ssh host cat train.yaml)` is."""
    if isinstance(error, IsADirectoryError):
        return "is a directory; compare takes two files"
    if error.strerror == NOT_REGULAR:
        return "is not a regular file; save its text to one first"
    return describe(error, path)


def _parted(word: str) -> tuple[str, str]:
    """The revision and the path; a `:` inside of braces is the revision's: HEAD^{/fix: it}."""
    depth = 0
    rest = word.removeprefix(_GIT)
    for at, char in enumerate(rest):
        depth += (char == "{") - (char == "}")
        if char == ":" and depth <= 0:
            if at and rest[at + 1 :]:
                return rest[:at], rest[at + 1 :]
            break
    raise UsageError(f"{word}: takes git:REV:PATH, as in git:HEAD~1:configs/train.yaml")


def _missing(revision: Revision, place: str, typed: str) -> str:
    """That a path is not there, and which is near."""
    said = f"no file {place or typed} at {revision.name}"
    here = revision.place_of(os.path.join(os.path.realpath(os.curdir), typed))
    if here in revision.entries and here != place:
        return f"{said}; from this directory: git:{revision.name}:./{typed}"
    near = revision.near(place)
    return f"{said}; did you mean git:{revision.name}:{near}?" if near else said


def _rename(result: FileResult, revision: Revision) -> None:
    """Show the files of a revision as `git:REV:PATH` from here on."""
    assert result.composed is not None or result.tree is None
    trees = result.composed.trees if result.composed is not None else []
    sources = [tree.source for tree in trees]
    sources += [code.source for unit in result.units for code in unit.sources]
    if result.source is not None:
        sources.append(result.source)
    named: dict[str, str] = {}
    for source in sources:
        place = revision.place_of(os.path.realpath(source.path))
        if place is not None and not source.path.startswith(_GIT):
            named[source.path] = f"{_GIT}{revision.name}:{place}"
    for source in {id(source): source for source in sources}.values():
        source.path = named.get(source.path, source.path)
    result.path = named.get(result.path, result.path)
    for finding in result.findings:
        finding.evidence = tuple(_renamed(text, named) for text in finding.evidence)
        finding.no_fix = _renamed(finding.no_fix, named)
        finding.fix = None  # a revision is not edited


def _renamed(text: str, named: dict[str, str]) -> str:
    return " ".join(named.get(word, word) for word in text.split(" "))


def run_compare(arguments: CheckArguments, old: str, new: str | None) -> int:
    typed: list[_Typed] = []
    try:
        before = _Typed(old)
        typed.append(before)
        if new is None and before.revision is None:
            raise UsageError(f"compare {old}: with what? Name a second file, or git:REV:PATH")
        after = _Typed(new if new is not None else before.path)
        typed.append(after)
        finder = Finder(arguments.config, arguments.isolated)
        options = options_of(arguments, finder)
        options.named = (before.path, after.path)
        results = [one.audit(options, finder) for one in typed]
        for one, result in zip(typed, results, strict=True):
            if result.tree is None:
                said = result.findings[0] if result.findings else None
                where = f"line {said.place.line}: {said.message}" if said else "it does not parse"
                raise UsageError(f"{one.word}: cannot be read: {where}")
    except (BadSettings, UsageError) as error:
        return fault(str(error))
    finally:
        for one in typed:
            if one.revision is not None:
                one.revision.close()
    found = compare(*results)
    if arguments.format == "json":
        from gradaudit.render.compare import compare_document

        sys.stdout.write(compare_document(found) + "\n")
    elif arguments.format == "markdown":
        from gradaudit.render.compare import compare_markdown

        sys.stdout.write(compare_markdown(found) + "\n")
    else:
        from gradaudit.render.compare import compare_lines

        arguments.paths = [after.word]
        check = command("check", arguments) if after.revision is None else ""
        lines = compare_lines(found, check, width_of(sys.stdout))
        write_lines(lines, use_color(arguments.color, sys.stdout))
    for one, result in zip(typed, results, strict=True):
        for problem in result.problems:
            fault(f"{one.word}: {problem}")
    return 2 if any(result.problems for result in results) else 0
