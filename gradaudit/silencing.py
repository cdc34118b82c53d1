"""What comments and settings silence of a file's findings, and comments that silence nothing.

Only files that have such a comment, or whose settings ignore something somewhere, come here.
"""

from __future__ import annotations

from gradaudit.findings import HIGH, INFO, Finding, Place
from gradaudit.rules import load
from gradaudit.settings import did_you_mean, is_selected, matches, unknown_selector
from gradaudit.suppress import WORDS, silence, suppressions
from gradaudit.syntax.tree import Tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.audit import FileResult
    from gradaudit.options import Options
    from gradaudit.rules import Rule
    from gradaudit.settings import Settings
    from gradaudit.suppress import Suppression


def drop_silenced(result: FileResult, options: Options, settings: Settings) -> None:
    """Drop what comments and settings silence, and report comments that silence nothing."""
    tree = result.tree
    assert tree is not None
    comments = suppressions(tree)
    seen_path = settings.shown_to_globs(result.path)
    ignored_here = ignored_in(seen_path, settings)
    silenced = silence(result.findings, comments, tree.source) if comments else set()
    silenced |= _silenced_in_sources(result)
    kept = [
        finding
        for finding in result.findings
        if id(finding) not in silenced
        and is_selected(finding.rule, None, ignored_here)
        and not _key_ignored(finding, seen_path, settings)
    ]
    result.suppressed = len(result.findings) - len(kept)
    result.findings = kept
    rule = load()["GA002"]
    if rule in options.active_rules(settings) and is_selected(rule, None, ignored_here):
        judged = [
            *(other for other, _ in options.called(settings, "file")),
            *(
                other
                for other, _ in options.called(settings, "source")
                if any(unit.sources for unit in result.units)
            ),
            *(o for have, _, rules in result.known.values() for o, _ in rules if o.can_judge(have)),
        ]
        for comment in comments:
            problem = _stale(comment, judged, settings.plugins)
            if problem:
                _report_comment(comment, problem, rule, result, settings)


def _silenced_in_sources(result: FileResult) -> set[int]:
    """What comments in the Python sources silence there, by the same words.

    One that silences nothing is not reported: another config may have the source too.
    """
    silenced: set[int] = set()
    sources = {id(c.source): c.source for unit in result.units for c in unit.sources}
    for source in sources.values():
        here = [finding for finding in result.findings if finding.place.source is source]
        if here:
            comments = suppressions(Tree(source, [], [], set(), "python"))
            silenced |= silence(here, comments, source)
    return silenced


def _stale(comment: Suppression, judged: list[Rule], plugins: tuple[str, ...]) -> str:
    """What is wrong with a comment; empty where it silences something, or may elsewhere."""
    if comment.word not in WORDS:
        return f"`{comment.word}` is no word of gradaudit{did_you_mean(comment.word, WORDS)}"
    unknown = [problem for code in comment.codes if (problem := unknown_selector(code, plugins))]
    if unknown:
        return f"suppresses nothing: {unknown[0]}"
    ran = {code for rule in judged for code in comment.naming(rule)}
    stale = [code for code in comment.codes if code in ran and code not in comment.hits]
    return f"suppresses nothing: no {', '.join(stale)} here" if stale else ""


def _report_comment(
    comment: Suppression, problem: str, rule: Rule, result: FileResult, settings: Settings
) -> None:
    assert result.source is not None
    finding = Finding(
        Place(result.source, comment.start, comment.end),
        problem,
        severity=settings.severity.get(rule.code, INFO),
        confidence=HIGH,
        label="delete this comment",
        why=["It would hide the next such fault on this line, which nobody has looked at."],
        no_fix="the comment may hold words worth keeping",
    )
    finding.rule = rule
    result.findings.append(finding)


def ignored_in(seen_path: str, settings: Settings) -> list[str]:
    """What `per-file-ignores` says of a file."""
    return [
        code
        for pattern, codes in settings.per_file_ignores.items()
        if matches(pattern, seen_path)
        for code in codes
    ]


def _key_ignored(finding: Finding, seen_path: str, settings: Settings) -> bool:
    key = finding.key
    if key is None:
        return False
    for pattern, codes in settings.per_key_ignores.items():
        file_glob, colon, wanted = pattern.rpartition(":")
        if colon and not matches(file_glob, seen_path):
            continue
        if (key == wanted or key.startswith(wanted + ".")) and not is_selected(
            finding.rule, None, codes
        ):
            return True
    return False
