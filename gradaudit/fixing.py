"""The whole flow of a fix in one page: audit, fix, audit again until nothing changes."""

from __future__ import annotations

from gradaudit.audit import FileResult, audit_source, unparsable
from gradaudit.fix.engine import Outcome, fix_text
from gradaudit.source import Source, Unreadable, decode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from gradaudit.findings import Finding
    from gradaudit.options import Options
    from gradaudit.settings import Settings
    from gradaudit.syntax.tree import Tree


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


def fix_bytes(
    data: bytes,
    path: str,
    options: Options,
    settings: Settings,
    admitted: Collection[str],
    named: bool,
) -> Fixed:
    """Fix a file's content with the fixes of the admitted applicabilities; nothing is written."""
    try:
        source = decode(data, path)
    except Unreadable as error:
        result = unparsable(Source(path, error.text), error, options, settings, named)
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
        return tree, [f for f in last.findings if _is_of(f, tree)]

    outcome = fix_text(source, find, admitted)
    after = last  # the text was audited last where the fixes settled
    if after.tree is None or after.tree.source.text != outcome.text:
        kept = Source(path, outcome.text, source.encoding, source.bom)
        after = _audit_again(kept, options, settings)
    return Fixed(before, after, outcome)


def _is_of(finding: Finding, tree: Tree) -> bool:
    """Whether a finding can be mended in this file: it stands here, or is overridden here."""
    if finding.fix is None:
        return finding.place.source is tree.source
    return all(edit.tree is tree for edit in finding.fix.edits)


def _audit_again(source: Source, options: Options, settings: Settings) -> FileResult:
    result = audit_source(source, options.after_an_edit(), settings)
    if result.tree is None:
        raise AssertionError("a verified fix does not parse")
    return result
