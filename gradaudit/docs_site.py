"""Write the pages of docs/rules and docs/dialects, and the README's picture.

    python -m gradaudit.docs_site


With `--check` nothing is written: stale, missing and left-over pages are named, and it ends with 1.
"""

from __future__ import annotations

import contextlib
import re
import sys
from pathlib import Path

from gradaudit.dialects import page
from gradaudit.rules import PROFILES, coverage_page, load, symptoms
from gradaudit.rules.docs import FAMILIES, BadDocs, as_markdown, parse

COMMAND = "python -m gradaudit.docs_site"
MARK = f"<!-- Generated from the rule's docstring: edit that, then run `{COMMAND}`. -->"
DIALECT_MARK = f"<!-- Generated from the dialect's file: edit that, then run `{COMMAND}`. -->"
COVERAGE_MARK = f"<!-- Generated from the rules' needs and the dialects' files: `{COMMAND}`. -->"
NAV = ("      # {}, generated: " + COMMAND, "      # end of {}")

FOLDERS = ("rules", "dialects")
"""Below docs/: every page in them is generated."""

PICTURE = "docs/screen.svg"
PICTURE_WORDS = ["check", "sample_configs/enhanced_training.yaml", "--select", "GA301,GA401"]
PICTURE_WIDTH = 96


def picture(root: Path) -> str:
    """The README's picture: what this command prints in a terminal, drawn by rich's recorder."""
    from gradaudit.cli.check import screen
    from gradaudit.cli.options import read_check
    from gradaudit.render.picture import svg

    arguments = read_check(PICTURE_WORDS[1:])
    assert arguments is not None
    with contextlib.chdir(root):
        lines = screen(arguments, PICTURE_WIDTH)
    return svg("gradaudit " + " ".join(PICTURE_WORDS), lines, PICTURE_WIDTH)


def same(path: Path, text: str) -> bool:
    """Whether a generated file is up to date. Of a picture only the words count: how rich draws
    them differs from release to release."""
    present = path.read_text(encoding="utf-8")
    if path.suffix == ".svg":
        return _words(present) == _words(text)
    return present == text


def _words(picture: str) -> list[str]:
    return re.findall(r">([^<>]+)</text>", picture)


def pages(root: Path) -> dict[Path, str]:
    """Every generated file below `root`, a checkout, with the text that it should have."""
    rules = load()
    folder = root / "docs" / "rules"
    found = {
        folder / f"{rule.name}.md": f"{MARK}\n\n{as_markdown(rule)}" for rule in rules.values()
    }
    found[folder / "index.md"] = f"{MARK}\n\n{_index()}"
    found[folder / "symptoms.md"] = f"{MARK}\n\n{symptoms.page(list(rules.values()))}"
    found[folder / "coverage.md"] = f"{COVERAGE_MARK}\n\n{coverage_page.page()}"
    folder = root / "docs" / "dialects"
    frameworks = page.dialects()
    for name, raw in frameworks.items():
        found[folder / f"{name}.md"] = (
            f"{DIALECT_MARK}\n\n{page.page(raw)}\n{coverage_page.of_dialect(raw)}"
        )
    found[folder / "index.md"] = f"{DIALECT_MARK}\n\n{page.index()}"
    found[root / PICTURE] = picture(root)
    config = root / "mkdocs.yml"
    nav = config.read_text(encoding="utf-8")
    nav = _with_nav(
        nav, "rules", [f"{rule.code} {rule.name}: rules/{rule.name}.md" for rule in rules.values()]
    )
    nav = _with_nav(
        nav, "dialects",
        [f"{raw['title']}: dialects/{name}.md" for name, raw in frameworks.items()],
    )  # fmt: skip
    found[config] = nav
    return found


def _index() -> str:
    lines = [
        "# Rules",
        "",
        (
            "Something is wrong with your run: [rules by symptom](symptoms.md). What is judged in "
            "your framework's configs: [by framework](coverage.md)."
        ),
        "",
        (
            "Codes and names are accepted alike: `--select GA1,warmup-exceeds-training`. "
            "`gradaudit explain GA101` shows a page in the terminal. Those marked *strict* or "
            "*pedantic* run in that [profile](../usage.md#profiles-and-confidence) only, or by "
            "name."
        ),
        "",
        (
            "*fix* is what a fix can be: *safe* where the run stays as it is or could not have "
            "started, *recommended* where it changes the training and a reference or a "
            "measurement speaks for it, *speculative* where it has to be measured first. A page "
            "says which of them when, and why there is none."
        ),
    ]
    for prefix, title in FAMILIES.items():
        family = [rule for code, rule in load().items() if code.startswith(prefix)]
        if not family:
            continue
        lines += ["", f"## {prefix} {title}", ""]
        lines += ["| code | name | severity | fix | what |", "|---|---|---|---|---|"]
        for rule in family:
            severity = ", ".join(rule.severities)
            doc = parse(rule)
            fix = ", ".join(doc.applicabilities) or "-"
            link = f"[{rule.name}]({rule.name}.md)"
            link += f" *{rule.profile}*" if rule.profile != PROFILES[0] else ""
            lines.append(f"| {rule.code} | {link} | {severity} | {fix} | {doc.title} |")
    return "\n".join(lines) + "\n"


def _with_nav(config: str, group: str, entries: list[str]) -> str:
    """mkdocs.yml with the group's navigation entries between its two marks."""
    begin, end = (mark.format(group) for mark in NAV)
    before, found_begin, rest = config.partition(begin + "\n")
    _, found_end, after = rest.partition(end + "\n")
    if not found_begin or not found_end:
        raise ValueError(f"mkdocs.yml has no lines `{begin}` and `{end}`")
    lines = "".join(f"      - {entry}\n" for entry in entries)
    return before + begin + "\n" + lines + end + "\n" + after


def problems(root: Path) -> list[str]:
    """What `--check` would say: one line a stale, missing or left-over page."""
    wanted = pages(root)
    found = []
    for path, text in wanted.items():
        name = path.relative_to(root)
        if not path.is_file():
            found.append(f"{name}: missing")
        elif not same(path, text):
            found.append(f"{name}: stale")
    found += [f"{path.relative_to(root)}: left over" for path in _left_over(root, wanted)]
    return found


def _left_over(root: Path, wanted: dict[Path, str]) -> list[Path]:
    return sorted(
        path
        for folder in FOLDERS
        for path in (root / "docs" / folder).glob("*.md")
        if path not in wanted
    )


def write(root: Path) -> None:
    """Write what differs, and delete the pages of what is no more."""
    wanted = pages(root)
    for folder in FOLDERS:
        (root / "docs" / folder).mkdir(parents=True, exist_ok=True)
    for path, text in wanted.items():
        if not path.is_file() or not same(path, text):
            path.write_text(text, encoding="utf-8")
    for path in _left_over(root, wanted):
        path.unlink()


def main(arguments: list[str], root: Path | None = None) -> int:
    if arguments not in ([], ["--check"]):
        sys.stderr.write(f"usage: {COMMAND} [--check]\n")
        return 2
    root = root or Path(__file__).resolve().parent.parent
    if not (root / "mkdocs.yml").is_file():
        sys.stderr.write(f"{root} is no checkout: it has no mkdocs.yml\n")
        return 2
    try:
        if arguments:
            found = problems(root)
            for line in found:
                sys.stdout.write(f"{line}\n")
            if found:
                sys.stdout.write(f"run: {COMMAND}\n")
            return 1 if found else 0
        write(root)
    except BadDocs as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
