"""Turn what the decorators say of the rules into `table.py`, which a check loads in their place.

Importing thirty modules of rules at each start would cost more than judging a file. A test holds
the table fresh.

    python -m gradaudit.rules.compile [--check]
"""

from __future__ import annotations

import pprint
import sys
from pathlib import Path

from gradaudit.rules import RULES, STALE, import_families

TARGET = Path(__file__).parent / "table.py"


def render() -> str:
    """The text of `table.py`, from the modules themselves. In a process that has loaded no rule."""
    assert not RULES
    import_families()
    rows = tuple(RULES[code].row() for code in sorted(RULES))
    table = pprint.pformat(rows, width=100, sort_dicts=False, compact=True)
    return (
        '"""Made by `python -m gradaudit.rules.compile` from the modules of rules: a row a rule,\n'
        'as `Rule` takes it."""\n\nfrom __future__ import annotations\n\n'
        "TYPE_CHECKING = False\nif TYPE_CHECKING:\n    from typing import Any\n\n"
        f"TABLE: tuple[Any, ...] = {table}\n"
    )


def main() -> int:
    text = render()
    if TARGET.is_file() and TARGET.read_text(encoding="utf-8") == text:
        return 0
    if "--check" in sys.argv:
        sys.stderr.write(f"gradaudit/rules/table.py is stale; {STALE}\n")
        return 1
    TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
