"""What gradaudit finds in a directory of real configs, by rule; and how they clip.

    python benchmarks/corpus.py DIRECTORY

Prints two Markdown tables. The directory is read, nothing in it is run or written.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from pathlib import Path

from gradaudit.audit import FileResult, audit_path
from gradaudit.discover import Target, discover
from gradaudit.options import Options
from gradaudit.settings import Finder

DEFAULT = Path(__file__).resolve().parent.parent.parent / "shared" / "corpus"


def audited(directory: str) -> list[FileResult]:
    """Every config below a directory, audited as `check DIRECTORY` does."""
    finder = Finder(isolated=True)
    return [
        audit_path(target.path, Options(), finder, target.named)
        for target in discover([directory])
        if isinstance(target, Target)
    ]


def rule_table(results: list[FileResult]) -> list[str]:
    judged = [result for result in results if not result.skipped]
    counts = Counter(
        (finding.rule.code, finding.rule.name, finding.severity)
        for result in judged
        for finding in result.findings
    )
    alarms = sum(count for (_, _, severity), count in counts.items() if severity != "info")
    rate = alarms / max(len(judged), 1)
    return [
        f"{len(judged)} of {len(results)} files judged, {rate:.3f} errors and warnings a file",
        "",
        "| rule | severity | findings |",
        "|---|---|---|",
        *(
            f"| {code} {name} | {severity} | {count} |"
            for (code, name, severity), count in sorted(counts.items())
        ),
    ]


def clip_table(results: list[FileResult]) -> list[str]:
    """How often each clip norm above 0 is written, in every unit that writes one."""
    norms = [
        value
        for result in results
        for unit in result.units
        if (value := unit.number("clip_norm")) is not None and value > 0
    ]
    counts = Counter(norms)
    return [
        f"{len(norms)} clip norms above 0",
        "",
        "| clip_norm | units | share |",
        "|---|---|---|",
        *(
            f"| {value:g} | {count} | {count / len(norms):.0%} |"
            for value, count in sorted(counts.items())
        ),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = os.environ.get("GRADAUDIT_CORPUS", str(DEFAULT))
    parser.add_argument("directory", nargs="?", default=default)
    directory = parser.parse_args().directory
    if not Path(directory).is_dir():
        sys.stderr.write(f"{directory}: no such directory; name one with configs\n")
        return 2
    results = audited(directory)
    print("\n".join([*rule_table(results), "", *clip_table(results)]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
