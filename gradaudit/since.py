"""`check --since`: of a file's findings those that the changes since a revision brought in."""

from __future__ import annotations

import os

from gradaudit.audit import audit_source, unparsable
from gradaudit.compare.pairs import pair_units, split_findings
from gradaudit.revision import NoRevision, Revision, RevisionOpener, top_around, top_of
from gradaudit.source import Source, Unreadable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.audit import FileResult
    from gradaudit.options import Options
    from gradaudit.settings import Finder


class Since:
    """Judges files as they were at a revision, where they or what they are built on changed.

    Each repository that files lie in is asked once. Both times today's settings are used: what a
    change of the settings brings in is not the config's doing.
    """

    def __init__(self, name: str, options: Options, finder: Finder, named: list[str]) -> None:
        """Raises: NoRevision: a named path is in no repository, or the revision not in it."""
        self.name = name
        self.options = options
        self.finder = finder
        self._by_top: dict[str, tuple[Revision, Options]] = {}
        self._tops: dict[str, str] = {}
        self._refused: dict[str, NoRevision] = {}
        for path in named:
            if os.path.isdir(path):
                top = top_of(path)
                if top is None:
                    raise NoRevision(f"{path} is in no git repository")
                self._at(top)
            else:
                self._of(path)

    def leave_out_earlier(self, result: FileResult) -> str:
        """Count the findings that the file had at the revision, and keep the others; returns why
        that cannot be done, or nothing."""
        if not result.skipped and result.findings:
            try:
                self._leave_out(result)
            except NoRevision as error:
                return f"--since: {error}"
        return ""

    def close(self) -> None:
        for revision, _ in self._by_top.values():
            revision.close()

    def _leave_out(self, result: FileResult) -> None:
        revision, options = self._of(result.path)
        if self._is_as_it_was(result, revision):
            result.earlier += len(result.findings)
            result.findings = []
            return
        before = self._judged(result.path, options)
        if before is None:
            return
        names = {
            new.name: old.name
            for old, new in pair_units(before.units, result.units)
            if old is not None and new is not None
        }
        brought, _, kept = split_findings(before.findings, result.findings, names)
        result.earlier += len(kept)
        left = {id(finding) for finding in brought}
        result.findings = [finding for finding in result.findings if id(finding) in left]

    def _of(self, path: str) -> tuple[Revision, Options]:
        folder = os.path.dirname(path)
        top = self._tops.get(folder)
        if top is None:
            top = self._tops[folder] = top_around(path)
        return self._at(top)

    def _at(self, top: str) -> tuple[Revision, Options]:
        if top in self._refused:
            raise self._refused[top]
        known = self._by_top.get(top)
        if known is None:
            try:
                revision = Revision(top, self._name_in(top))
            except NoRevision as error:
                self._refused[top] = error
                raise
            options = self.options.opened_by(RevisionOpener(revision, *self.options.named))
            if options.run:
                from gradaudit.compose.runs import find_run

                opener = options.opener_for(options.run[0])
                assert opener is not None
                options.run_dialect, options.run = find_run(self.options.run, opener)
            known = self._by_top[top] = revision, options
        return known

    def _name_in(self, top: str) -> str:
        """The revision's name; in a submodule the commit that the repository around it had."""
        for outer, (revision, _) in self._by_top.items():
            place = revision.place_of(top)
            if place and outer != top and place in revision.entries:
                return revision.entries[place][1]
        return self.name

    def _is_as_it_was(self, result: FileResult, revision: Revision) -> bool:
        """Whether the file and all that was read for it has the bytes that it had."""
        sources = [result.source] if result.composed is None else []
        if result.composed is not None:
            sources += [tree.source for tree in result.composed.trees]
        if self.options.sources or self.finder.for_file(result.path).sources:
            return False  # a Python source matters too, even where nothing is found in it
        if any(source is None or not revision.holds(source) for source in sources):
            return False
        return not revision.lost_files

    def _judged(self, path: str, options: Options) -> FileResult | None:
        """The file as it was; None where it was not there, or cannot be had."""
        opener = options.opener_for(path)
        assert opener is not None
        settings = self.finder.for_file(path)
        try:
            source = opener.read(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise NoRevision(f"{path} as it was: {error.strerror or error}") from None
        except Unreadable as error:
            return unparsable(Source(path, error.text), error, options, settings, True)
        return audit_source(source, options, settings)
