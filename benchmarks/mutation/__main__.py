"""Prove the rules on configs that are broken on purpose.

python -m benchmarks.mutation [DIRECTORY] [--operator NAME] [--write]
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from datetime import date
from pathlib import Path

from gradaudit.audit import audit_source
from gradaudit.options import Options
from gradaudit.settings import Settings
from gradaudit.source import read

from . import report
from .model import Operator, Tally
from .operators import OPERATORS
from .run import Corpus, all_outcomes, known

ROOT = Path(__file__).resolve().parent.parent.parent
DEFAULT = ROOT.parent / "shared" / "corpus"
PAGE = ROOT / "docs" / "accuracy.md"
RECIPES = ROOT / "tests" / "recipes"

BY_DESIGN = {
    "pix2pix": "batch 1 by design: an info in a GAN",
    "reported_run": "the run that was reported: it must be accused",
    "reported_run_uncertainty_010": "the same with one weight lower: it must be accused",
}

INTRODUCTION = """
{configs:,} published configs ([the corpus](corpus.md)) and {own} of the project's own are taken as
sound: short versions of published recipes in `tests/recipes`, and `benchmarks/mutation/sound`, for
what published configs hardly write in a file (losses of several weighed terms, BatchNorm). Each is
broken in {count} ways, byte by byte and one at a time, where the way applies: every suitable file,
no sample, at most one mutant of a file for each operator. `python -m benchmarks.mutation --write`
writes this page for any directory with an index. Of {day}.

- *applied*: mutants. *equivalent*: those that train as the original does, or are what others
  publish: decided from what frameworks and optimisers make of a value, never by a rule. All others
  are faults.
- *caught*: faults that the expected rule reports and that it did not report before. *by another*:
  faults of which only another rule speaks. *share*: caught, of the faults.
- *unrelated*: mutants with a new finding that is neither expected nor declared with the operator.
- *fixed*: of the mutants whose finding has a safe or recommended fix, those that are clean of it
  after the fix, with no line changed but the broken one and those declared with the operator.

That a value is broken by a factor from a list says nothing of how often people make that slip, and
what a rule does not know (a setting that the file does not have) is not among the mutants. The
share is one of *visible* faults. Rules on records (GA9) judge a run and not a file: no operator
breaks one for them, their own examples and tests hold them.
"""


def recipes() -> tuple[list[str], int]:
    """What the check says of the published recipes, and how many are accused wrongly."""
    lines = ["| recipe | errors and warnings | infos | |", "|---|---|---|---|"]
    wrong = 0
    for path in sorted(RECIPES.glob("*.yaml")):
        found = audit_source(read(str(path)), Options(), Settings()).findings
        loud = [f.rule.code for f in found if f.severity != "info"]
        quiet = [f.rule.code for f in found if f.severity == "info"]
        word = BY_DESIGN.get(path.stem, "")
        wrong += bool(loud) is not path.stem.startswith("reported_run")
        wrong += bool(quiet) and not word
        lines.append(
            f"| {path.stem} | {', '.join(loud) or '-'} | {', '.join(quiet) or '-'} | {word} |"
        )
    return lines, wrong


def page(configs: int, own: int, counted: list[Tally], waiting: list[Operator]) -> str:
    found, wrong = recipes()
    silent = "as they should be" if not wrong else f"**{wrong} are not as they should be**"
    parts = [
        "# Accuracy",
        "<!-- Written by `python -m benchmarks.mutation --write`. -->",
        INTRODUCTION.format(
            configs=configs, own=own, count=len(counted), day=date.today().isoformat()
        ).strip(),
        "\n".join(report.goal_lines(counted)),
        "\n".join(report.main_table(counted)),
        "## The operators",
        "\n".join(report.legend(counted)),
        *(["\n".join(report.waiting_lines(waiting))] if waiting else []),
        "## Faults that are missed",
        "\n".join(report.missed_table(counted)),
        "## Unrelated new findings",
        "\n".join(report.unrelated_table(counted)),
        "## Fixes that do not hold, or are refused",
        "\n".join(report.broken_fixes(counted)),
        "## Published recipes",
        f"The {len(found) - 2} recipes of `tests/recipes`, {silent}.",
        "\n".join(found),
    ]
    return "\n\n".join(parts) + "\n"


def main() -> int:
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    default = os.environ.get("GRADAUDIT_CORPUS", str(DEFAULT))
    parser.add_argument("directory", nargs="?", default=default)
    parser.add_argument("--operator", action="append", help="only this operator (repeatable)")
    parser.add_argument("--summary", action="store_true", help="print the goals and the table only")
    parser.add_argument("--missed", action="store_true", help="list what is missed, by reading")
    parser.add_argument("--write", action="store_true", help="write docs/accuracy.md")
    parser.add_argument("--processes", type=int, help="as many as cores where not given")
    options = parser.parse_args()
    directory = Path(options.directory)
    if not (directory / "INDEX.tsv").is_file():
        sys.stderr.write(f"{directory}: has no INDEX.tsv; name a directory of configs with one\n")
        return 2
    names = [operator.name for operator in OPERATORS]
    for name in options.operator or ():
        if name not in names:
            sys.stderr.write(f"no operator {name}; there are: {', '.join(names)}\n")
            return 2
    chosen = [o for o in OPERATORS if not options.operator or o.name in options.operator]
    start = time.perf_counter()
    alive, waiting = known(chosen)
    corpus = Corpus(directory)
    counted = report.tallies(alive, all_outcomes(corpus, alive, options.processes))
    if options.missed:
        print("\n".join(report.missed_by_reading(counted)))
        return 0
    text = page(len(corpus.paths) - corpus.own, corpus.own, counted, waiting)
    if options.summary:
        print("\n".join([*report.goal_lines(counted), "", *report.main_table(counted)]))
    elif options.write:
        PAGE.write_text(text, encoding="utf-8")
    else:
        print(text)
    sys.stderr.write(f"{time.perf_counter() - start:.0f} s\n")
    _, wrong = recipes()
    return 0 if all(met for _, met in report.goals(counted)) and not wrong else 1


if __name__ == "__main__":
    sys.exit(main())
