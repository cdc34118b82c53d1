"""A rule's docstring as data, as a Markdown page, and as blocks for a terminal.

Cold path: `explain` and the docs site read docstrings, a plain check never does.
"""

from __future__ import annotations

import difflib
import inspect
import re
import textwrap
from dataclasses import dataclass

from gradaudit.findings import APPLICABILITIES
from gradaudit.rules import DOCS_URL, PROFILES
from gradaudit.rules.examples import RECORD, RECORD_NOTE, lead_in, split
from gradaudit.rules.symptoms import SYMPTOMS, anchor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gradaudit.rules import Rule

Block = tuple[str, str]
"""A kind (`heading`, `text`, `code` or `item`) and its text."""

REQUIRED = ("Why", "Bad", "Good", "Tell", "Fix", "False positives")
OPTIONAL = ("Symptoms", "Config", "Options", "With", "Limits")
SCRIPT = "train.py"
"""What the Python of an example is called."""

MEASUREMENTS = "docs/measurements.md"
PAGES = {MEASUREMENTS: "Measurements", "docs/measured.md": "What a record can tell"}
FAMILIES = {
    "GA0": "The file and the tool",
    "GA1": "Clipping",
    "GA2": "Learning rate and warm-up",
    "GA3": "Batch and normalisation",
    "GA4": "Loss",
    "GA5": "Precision",
    "GA6": "Optimiser, regularisation and evaluation",
    "GA7": "Names, types and values in the file",
    "GA8": "Across files and frameworks",
    "GA9": "Measured",
}

_HEADING = re.compile(r"([A-Z][A-Za-z ]*):\Z")
_LIMIT = re.compile(r"([a-z][a-z0-9-]*): (\S.*)\Z", re.DOTALL)
_CODE = re.compile(r"[A-Z]{2,4}\d{3}\Z")
_ANCHOR = re.compile(r"\bmeasurements#([a-z0-9_-]+)")
_URL = re.compile(r"(https://\S+?)(?: \((.*)\))?\Z", re.DOTALL)


class BadDocs(Exception):
    """A rule's docstring is not in the form that its page needs: names the rule and the mend."""

    def __init__(self, rule: Rule, problem: str) -> None:
        super().__init__(f"{rule.code} {rule.name}: {problem} (see CONTRIBUTING.md)")


@dataclass(frozen=True)
class RuleDoc:
    """What a rule's docstring says. Prose is paragraphs, each in one line; code is as written.

    bad, good        YAML; Python for a rule of scope `source`.
    config           the YAML beside such Python; empty for every other rule.
    options          the command line that the bad example needs; empty for none.
    with_codes       rules that fire beside this one on the bad example.
    limits           threshold as in `gradaudit.toml` -> what it means.
    bad_record, good_record  what was recorded, for a rule on records: lines of JSON, where `to` and
                     `every` stand for more steps like this one; empty for the others.
    applicabilities  those that its fixes can have, safest first; empty where it has none.
    symptoms         phrases of `symptoms.SYMPTOMS`; none where no run shows it.
    """

    title: str
    why: tuple[str, ...]
    bad: str
    good: str
    config: str
    options: str
    with_codes: tuple[str, ...]
    limits: dict[str, str]
    tell: tuple[str, ...]
    fix: tuple[str, ...]
    false_positives: tuple[str, ...]
    applicabilities: tuple[str, ...]
    symptoms: tuple[str, ...]
    bad_record: str = ""
    good_record: str = ""


def parse(rule: Rule) -> RuleDoc:
    """Read the docstring of a rule.

    Raises:
        BadDocs: a section is missing, unknown, empty or twice, or does not fit the rule.
    """
    title, sections = _sections(rule)
    fix = _paragraphs(sections["Fix"])
    codes = tuple(sections.get("With", "").replace(",", " ").split())
    if not all(_CODE.match(code) for code in codes):
        raise BadDocs(rule, "`With:` takes rule codes, such as GA301")
    bad, bad_record = _example(rule, sections["Bad"])
    good, good_record = _example(rule, sections["Good"])
    return RuleDoc(
        title=title,
        why=_paragraphs(sections["Why"]),
        bad=bad,
        good=good,
        config=_config(rule, sections),
        options=" ".join(sections.get("Options", "").split()),
        with_codes=codes,
        limits=_limits(rule, sections.get("Limits", "")),
        tell=_paragraphs(sections["Tell"]),
        fix=fix,
        false_positives=_paragraphs(sections["False positives"]),
        applicabilities=_applicabilities(rule, fix[0]),
        symptoms=_symptoms(rule, sections.get("Symptoms", "")),
        bad_record=bad_record,
        good_record=good_record,
    )


def _example(rule: Rule, text: str) -> tuple[str, str]:
    config, record = split(text)
    if bool(record) != (rule.scope == "record"):
        raise BadDocs(rule, f"an example has a part `{RECORD}` where the rule is on records")
    return config, record


def _sections(rule: Rule) -> tuple[str, dict[str, str]]:
    text = inspect.getdoc(rule.check)
    if not text:
        raise BadDocs(rule, "it has no docstring")
    title, *lines = text.splitlines()
    if not title.endswith(".") or (lines and lines[0]):
        raise BadDocs(rule, "the first line is one sentence, then comes a blank line")
    bodies: dict[str, list[str]] = {}
    body: list[str] | None = None
    for line in lines:
        if line and not line.startswith(" "):
            heading = _HEADING.match(line)
            if not heading:
                raise BadDocs(rule, f"`{line}` is no section; indent it by four blanks")
            name = heading.group(1)
            if name not in REQUIRED + OPTIONAL:
                known = ", ".join(f"`{known}:`" for known in REQUIRED + OPTIONAL)
                raise BadDocs(rule, f"unknown section `{name}:`; there are {known}")
            if name in bodies:
                raise BadDocs(rule, f"the section `{name}:` stands twice; join the two")
            body = bodies[name] = []
        elif body is not None:
            body.append(line)
    sections = {name: textwrap.dedent("\n".join(body)).strip("\n") for name, body in bodies.items()}
    for name in REQUIRED:
        if name not in sections:
            raise BadDocs(rule, f"it has no section `{name}:`; add one")
    for name, content in sections.items():
        if not content.strip():
            raise BadDocs(rule, f"the section `{name}:` is empty; fill it or drop it")
    return title, sections


def _config(rule: Rule, sections: dict[str, str]) -> str:
    """Its examples are Python, so one YAML stands beside both: a source is never judged alone."""
    if ("Config" in sections) is not (rule.scope == "source"):
        raise BadDocs(
            rule, "`Config:` (YAML) stands beside the Python of scope `source`, only there"
        )
    return sections["Config"] + "\n" if "Config" in sections else ""


def _paragraphs(text: str) -> tuple[str, ...]:
    return tuple(" ".join(part.split()) for part in re.split(r"\n\s*\n", text) if part.strip())


def _limits(rule: Rule, text: str) -> dict[str, str]:
    """Entries begin at the margin as `name: meaning`; what is indented goes on."""
    found: dict[str, str] = {}
    for entry in re.split(r"\n(?=\S)", text) if text else []:
        match = _LIMIT.match(entry)
        if not match:
            raise BadDocs(
                rule, f"`Limits:` takes `name: meaning`, the name with hyphens, not {entry!r}"
            )
        found[match.group(1)] = " ".join(match.group(2).split())
    wanted = [name.replace("_", "-") for name in rule.limits]
    if sorted(found) != sorted(wanted):
        have = ", ".join(wanted) or "none"
        raise BadDocs(rule, f"`Limits:` must explain the rule's thresholds, which are: {have}")
    return {name: found[name] for name in wanted}


def _symptoms(rule: Rule, text: str) -> tuple[str, ...]:
    """One phrase of the vocabulary a line, or `None` and why."""
    found = tuple(line.strip() for line in text.splitlines() if line.strip())
    if found and found[0].startswith("None"):
        return ()
    for phrase in found:
        if phrase not in SYMPTOMS:
            close = difflib.get_close_matches(phrase, SYMPTOMS, 1, 0.5)
            hint = f"; did you mean `{close[0]}`?" if close else ""
            raise BadDocs(
                rule,
                f"`Symptoms:` takes phrases of rules/symptoms.py, one a line, not `{phrase}`{hint}",
            )
    return found


def _applicabilities(rule: Rule, text: str) -> tuple[str, ...]:
    """What stands before the first colon or full stop says how far a fix can be trusted."""
    opening = re.split(r"[:.]", text, maxsplit=1)[0].lower()
    found = tuple(kind for kind in APPLICABILITIES if re.search(rf"\b{kind}\b", opening))
    if not found and not opening.startswith("none"):
        kinds = ", ".join(f"`{kind.capitalize()}`" for kind in APPLICABILITIES)
        raise BadDocs(rule, f"`Fix:` begins with {kinds} or `None`, then a colon or full stop")
    return found


def facts(rule: Rule, doc: RuleDoc) -> str:
    """One line: severity, confidence, fix, and what must be known for the rule to judge."""
    parts = [
        f"{' or '.join(rule.severities)}",
        f"confidence {rule.confidence}",
        f"fix: {' or '.join(doc.applicabilities)}" if doc.applicabilities else "no fix",
    ]
    if rule.needs:
        needs = [
            " or ".join(f"`{name}`" for name in need) if isinstance(need, tuple) else f"`{need}`"
            for need in rule.needs
        ]
        parts.append("needs " + ", ".join(needs))
    if rule.scope == "record":
        parts.append("needs a record (`--record`)")
    if rule.package:
        parts.append(f"of the plugin `{rule.package}`")
    if rule.profile != PROFILES[0]:
        parts.append(f"from profile `{rule.profile}` on, or where it is selected by its code")
    return "; ".join(parts)


def as_markdown(rule: Rule) -> str:
    """The rule's page.

    Raises:
        BadDocs: its docstring cannot be read.
    """
    doc = parse(rule)
    parts = [f"# {rule.code} {rule.name}", f"*{facts(rule, doc)}*"]

    def section(heading: str, *content: str) -> None:
        parts.append(f"## {heading}")
        parts.extend(content)

    section("What", _linked(doc.title))
    section("Why it hurts", *map(_linked, doc.why))
    if doc.symptoms:
        links = [f"- [{phrase}](symptoms.md#{anchor(phrase)})" for phrase in doc.symptoms]
        section("Symptoms", "\n".join(links))
    beside = [f"This example also shows {_codes(doc)}."] if doc.with_codes else []
    options = " ".join(filter(None, (doc.options, f"--source {SCRIPT}" if doc.config else "")))
    command = (
        ["Checked with:", _fenced("console", f"$ gradaudit check {options} config.yaml\n")]
        if options
        else []
    )
    if doc.config:
        command += ["The config, here and below:", _fenced("yaml", doc.config)]
    language = "python" if doc.config else "yaml"
    section("Bad", _fenced(language, doc.bad), *_recorded(doc.bad_record), *command, *beside)
    section("Good", _fenced(language, doc.good), *_recorded(doc.good_record))
    section("How to tell on your own run", *map(_linked, doc.tell))
    section("Fix", *map(_linked, doc.fix))
    if doc.limits:
        section("Thresholds", *_thresholds(rule, doc))
    section("Known false positives", *map(_linked, doc.false_positives))
    section("How to silence it", *_silence(rule))
    section("References", "\n".join(f"- {_reference(text)}" for text in rule.references))
    return "\n\n".join(parts) + "\n"


def _recorded(record: str) -> list[str]:
    """The second part of an example, as blocks of its page."""
    if not record:
        return []
    said, lines = lead_in(record)
    return [said, _fenced("json", lines)]


def _codes(doc: RuleDoc) -> str:
    from gradaudit.rules import load

    rules = load()
    return ", ".join(f"[{code}]({rules[code].name}.md)" for code in doc.with_codes)


def _fenced(language: str, code: str) -> str:
    return f"```{language}\n{code.rstrip()}\n```"


def _linked(text: str) -> str:
    return _ANCHOR.sub(r"[measurements](../measurements.md#\1)", text)


def _thresholds(rule: Rule, doc: RuleDoc) -> list[str]:
    rows = ["| name | default | meaning |", "|---|---|---|"]
    for name, meaning in doc.limits.items():
        default = _number(rule.limits[name.replace("-", "_")])
        rows.append(f"| `{name}` | {default} | {_linked(meaning)} |")
    first = next(iter(doc.limits))
    default = _number(rule.limits[first.replace("-", "_")])
    return [
        "\n".join(rows),
        (
            "To change one, in `gradaudit.toml` (in `pyproject.toml` the table is "
            f"`[tool.gradaudit.rules.{rule.name}]`):"
        ),
        _fenced("toml", f"[rules.{rule.name}]\n{first} = {default}"),
    ]


def _silence(rule: Rule) -> list[str]:
    settings = f'[per-file-ignores]\n"old/*.yaml" = ["{rule.code}"]'
    everywhere = f'ignore = ["{rule.code}"]'
    if rule.scope == "tool":
        return [
            "In the settings only: no comment in the file can silence it.",
            _fenced("toml", f"{everywhere}\n\n# or for some files\n{settings}"),
        ]
    where = (
        "In the Python file, on the line of the finding or on the line above:"
        if rule.scope == "source"
        else "On the line of the finding, on the line above, or on the key of a section for all "
        "that stands in it:"
    )
    return [
        where,
        _fenced(
            "python" if rule.scope == "source" else "yaml",
            f"# gradaudit: ignore[{rule.code}] the reason",
        ),
        (
            "Everywhere, in `gradaudit.toml` (JSON has no comments; `per-key-ignores` takes its "
            "place):"
        ),
        _fenced("toml", everywhere),
    ]


def _number(value: float) -> str:
    return f"{value:g}" if value != int(value) else str(int(value))


def _reference(text: str) -> str:
    if text in PAGES:
        return f"[{PAGES[text]}](../{text.removeprefix('docs/')})"
    match = _URL.match(text)
    if not match:
        return text
    url, note = match.groups()
    shown = url.removeprefix("https://").removesuffix("/")
    return f"[{shown}]({url})" + (f": {note}" if note else "")


def as_text(rule: Rule) -> list[Block]:
    """The same for a terminal: one block a paragraph, entry or example; prose in one line each.

    Raises:
        BadDocs: the rule's docstring cannot be read.
    """
    doc = parse(rule)
    blocks: list[Block] = [("heading", f"{rule.code} {rule.name}")]

    def text(*paragraphs: str) -> None:
        blocks.extend(("text", paragraph) for paragraph in paragraphs)

    def heading(words: str) -> None:
        blocks.append(("heading", words))

    def items(entries: list[str]) -> None:
        blocks.extend(("item", entry) for entry in entries)

    text(doc.title, facts(rule, doc))
    heading("Why it hurts")
    text(*doc.why)
    if doc.symptoms:
        heading("Symptoms")
        items(list(doc.symptoms))
    heading("Bad")
    blocks.append(("code", (doc.bad + doc.bad_record).rstrip()))
    if doc.bad_record:
        text(RECORD_NOTE)
    if doc.config:
        text(f"checked with --source {SCRIPT} {doc.options}".rstrip() + ", and this config:")
        blocks.append(("code", doc.config.rstrip()))
    elif doc.options:
        text(f"checked with {doc.options}")
    if doc.with_codes:
        text(f"also shows {', '.join(doc.with_codes)}")
    heading("Good")
    blocks.append(("code", (doc.good + doc.good_record).rstrip()))
    heading("How to tell on your own run")
    text(*doc.tell)
    heading("Fix")
    text(*doc.fix)
    if doc.limits:
        heading("Thresholds")
        items(
            [
                f"{name} = {_number(rule.limits[name.replace('-', '_')])}: {meaning}"
                for name, meaning in doc.limits.items()
            ]
        )
    heading("Known false positives")
    text(*doc.false_positives)
    heading("How to silence it")
    if rule.scope == "tool":
        text("In gradaudit.toml; no comment can:")
    else:
        where = "On the line, the line above, or the section's key"
        if rule.scope == "source":
            where = "In the Python file, on the line or the line above"
        text(f"{where}; or in gradaudit.toml:")
        blocks.append(("code", f"# gradaudit: ignore[{rule.code}] the reason"))
    blocks.append(("code", f'ignore = ["{rule.code}"]'))
    if rule.references:
        heading("References")
    site = DOCS_URL.removesuffix("rules/")
    pages = {page: site + page.removeprefix("docs/").removesuffix(".md") + "/" for page in PAGES}
    items([pages.get(entry, entry) for entry in rule.references])
    return blocks
