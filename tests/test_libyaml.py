"""PyYAML as we import it: without its regular expressions, and as good as any other."""

from __future__ import annotations

import json
import re
import subprocess
import sys

from gradaudit.syntax import pattern

SAYS = """\
import json, re, sys
if sys.argv[1] == "ours":
    from gradaudit.syntax import libyaml, pattern
    assert isinstance(sys.modules["yaml.reader"].Reader.NON_PRINTABLE, pattern.Later)
import yaml
said = []
for loader in (yaml.SafeLoader, yaml.CSafeLoader):
    for text in (
        "[1, 0x1F, 0o7, 017, 1_000, 190:20:30, 1.5, 1e-4, 1.0e-4, .inf, -.INF, .nan]",
        "[yes, No, on, OFF, true, null, ~, '', =, <<, !!str 1]",
        "[2001-12-14, 2001-12-14t21:59:43.10-05:00, 2001-12-15 2:59:43.10]",
        "{a: &x {b: 1}, c: {<<: *x, d: 2}}",
        "bell: \\x07",
    ):
        try:
            said.append(repr(yaml.load(text, loader)))
        except yaml.YAMLError as error:
            said.append(type(error).__name__)
said.append(yaml.safe_dump({"a": "2001-12-14", "b": "1e3", "c": "yes", "d": [1.5, None]}))
print(json.dumps(said))
"""


def said(who: str) -> list[str]:
    ran = subprocess.run(
        [sys.executable, "-c", SAYS, who], capture_output=True, text=True, timeout=60, check=True
    )
    found: list[str] = json.loads(ran.stdout)
    return found


def test_yaml_says_what_it_says_elsewhere() -> None:
    """In a process that imported it through us, and in one that did not."""
    assert said("ours") == said("theirs")
    assert "datetime.date(2001, 12, 14)" in said("ours")[2]
    assert said("ours")[4] == "ReaderError"


def test_a_later_expression_is_the_expression() -> None:
    later = pattern.Later("a(B)c", re.IGNORECASE)
    match = later.match("ABC")
    assert match is not None
    assert match.group(1) == "B"
    assert later.pattern == "a(B)c"


def test_others_make_theirs_at_once() -> None:
    assert re.compile.__module__ == "re"
    assert isinstance(re.compile("a"), re.Pattern)
