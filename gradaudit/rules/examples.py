"""The two parts of an example of a rule on records: a config, and what was recorded beside it."""

from __future__ import annotations

RECORD = "--- record"
"""Begins the second part. `of 2 ranks` may follow: then a norm is a list, an item a rank."""

RECORD_NOTE = "`to` and `every` stand for more steps like this one; a later line replaces a step."


def split(text: str) -> tuple[str, str]:
    """The config, and the record with the line that begins it; empty where there is none."""
    config, mark, record = f"{text}\n".partition(f"\n{RECORD}")
    return (f"{config}\n", f"{RECORD}{record}") if mark else (config, "")


def lead_in(record: str) -> tuple[str, str]:
    """What a page says before the lines of a record, and these lines."""
    head, _, lines = record.partition("\n")
    of = head.removeprefix(RECORD).strip()
    return f"with this record{' ' + of if of else ''} (`--record DIR`). {RECORD_NOTE}", lines
