"""`# gradaudit: ignore[GA101] reason`: which findings a file's own comments silence.

On the finding's line, on the line above, or on a parent key (then for all below it).
`# gradaudit: ignore-file[GA101]`, anywhere, is for the whole file. Without brackets all rules are
meant. In JSON with comments the sign is `//` or `/*`.
"""

from __future__ import annotations

from bisect import bisect_right

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from gradaudit.findings import Finding
    from gradaudit.rules import Rule
    from gradaudit.source import Source
    from gradaudit.syntax.tree import Tree


WORDS = ("ignore", "ignore-file")


class Suppression:
    """One comment: the lines it covers (from, to), the codes it names (empty for all).

    start, end  the comment itself, as offsets. whole_file: findings outside the file's text too.
    word        `ignore`, `ignore-file`, or what stands there instead: then nothing is covered.
    hits        of `codes`, those that silenced something. used: anything was silenced.
    """

    __slots__ = ("codes", "end", "first", "hits", "last", "start", "used", "whole_file", "word")

    def __init__(
        self, word: str, codes: list[str], first: int, last: int, start: int, end: int
    ) -> None:
        self.word = word
        self.codes = codes
        self.first = first
        self.last = last
        self.start = start
        self.end = end
        self.whole_file = word == "ignore-file"
        self.hits: set[str] = set()
        self.used = False

    def naming(self, rule: Rule) -> list[str]:
        """The codes that name a rule."""
        return [
            code
            for code in self.codes
            if rule.code.startswith(code.upper())
            or rule.name == code.lower()
            or code.upper() == "ALL"
        ]

    def names(self, rule: Rule) -> bool:
        return self.word in WORDS and (not self.codes or bool(self.naming(rule)))


def suppressions(tree: Tree) -> list[Suppression]:
    """The file's suppression comments, in file order."""
    import re

    source = tree.source
    text = source.text

    pattern = re.compile(
        (r"(?://|/\*)" if tree.format == "json" else "#")
        + r"[ \t]*gradaudit:[ \t]*([A-Za-z][\w-]*)(?:\[([^\]\r\n]*)\])?"
    )
    found = []
    in_comment = _comments(tree) if tree.format == "yaml" else _known_comments(tree)
    content = _lines_with_content(tree)
    sections = _sections(tree)
    for match in pattern.finditer(text):
        start = match.start()
        if not in_comment(start):
            continue
        codes = [code.strip() for code in (match.group(2) or "").split(",") if code.strip()]
        line = source.position(start)[0]
        word = match.group(1)
        if word == "ignore-file":
            first, last = 1, source.line_count
        else:
            first = line
            after = bisect_right(content, line)
            if after == 0 or content[after - 1] != line:  # it has its line for itself
                first = content[after] if after < len(content) else line
            last = sections.get(first, first)
        found.append(Suppression(word, codes, first, last, start, match.end()))
    return found


def silence(findings: list[Finding], comments: list[Suppression], source: Source) -> set[int]:
    """The `id` of each finding (they come in file order) that a comment covers."""
    if not comments:
        return set()
    silenced = set()
    waiting = sorted(comments, key=lambda comment: -comment.first)
    whole_file = [comment for comment in comments if comment.whole_file]
    here: list[Suppression] = []
    for finding in findings:
        covering = whole_file
        if finding.place.source is source:
            line = finding.place.line
            while waiting and waiting[-1].first <= line:
                here.append(waiting.pop())
            here = covering = [comment for comment in here if comment.last >= line]
        for comment in covering:
            if comment.names(finding.rule):
                comment.used = True
                comment.hits.update(comment.naming(finding.rule))
                silenced.add(id(finding))
    return silenced


def _comments(tree: Tree) -> Callable[[int], bool]:
    """Tells whether a `#` begins a comment, or stands in one."""
    starts, ends = _scalar_spans(tree)

    def in_comment(at: int) -> bool:
        before = bisect_right(starts, at) - 1
        return not (before >= 0 and at < ends[before]) and _begins_comment(tree.source.text, at)

    return in_comment


def _spans(tree: Tree) -> list[tuple[int, int]]:
    """The comments of a file whose reader tells them: of any but YAML."""
    if tree.format != "python":
        return tree.comments
    from gradaudit.syntax.python_spans import comment_spans

    return comment_spans(tree.source)


def _known_comments(tree: Tree) -> Callable[[int], bool]:
    """The same where the reader tells them: source text that is no value may hold strings."""
    spans = _spans(tree)
    starts = [start for start, _ in spans]

    def in_comment(at: int) -> bool:
        before = bisect_right(starts, at) - 1
        return before >= 0 and at < spans[before][1]

    return in_comment


def _begins_comment(text: str, at: int) -> bool:
    """A `#` begins a comment at the start of a line or after a blank; else it is inside one."""
    if at == 0 or text[at - 1] in " \t\n":
        return True
    line_start = text.rfind("\n", 0, at) + 1
    return " #" in text[line_start:at]


def _lines_with_content(tree: Tree) -> list[int]:
    """The numbers of the lines that hold more than a comment."""
    source = tree.source
    if tree.format == "json":  # the sign does not tell: `/*` may begin lines above
        at, pieces = 0, []
        for start, end in tree.comments:
            pieces += [source.text[at:start], "\n" * source.text.count("\n", start, end)]
            at = end
        lines = ("".join(pieces) + source.text[at:]).split("\n")
        return [number for number, text in enumerate(lines, 1) if text.strip()]
    found = []
    for number in range(1, source.line_count + 1):
        text = source.line(number).lstrip()
        if text and text[0] != "#":
            found.append(number)
    return found


def _scalar_spans(tree: Tree) -> tuple[list[int], list[int]]:
    """Starts and ends of the scalars that may hold a `#`, in file order."""
    from gradaudit.syntax.tree import Scalar, content_span, walk

    spans = [
        content_span(node, tree.source.text)
        for root in tree.roots
        for node in walk(root)
        if type(node) is Scalar and (node.style or "\n" in node.value)
    ]
    return [start for start, _ in spans], [end for _, end in spans]


def _sections(tree: Tree) -> dict[int, int]:
    """The line of each key that holds a section -> the section's last line."""
    from gradaudit.syntax.tree import Mapping, Sequence, walk

    source = tree.source
    found: dict[int, int] = {}
    for root in tree.roots:
        for node in walk(root):
            if type(node) is not Mapping:
                continue
            for key, value in node.pairs:
                if type(value) is Mapping or type(value) is Sequence:
                    line = source.position(key.start)[0]
                    last = source.position(max(value.end - 1, key.start))[0]
                    found[line] = max(last, found.get(line, line))
    return found
