"""GA0: the file itself and the tool's own comments. The engine reports these."""

from __future__ import annotations

from gradaudit.findings import ERROR, HIGH, INFO
from gradaudit.rules import rule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from gradaudit.findings import Finding
    from gradaudit.rules import Limits
    from gradaudit.syntax.tree import Tree


@rule(
    "GA001",
    "unparsable-file",
    scope="tool",
    severities=(ERROR,),
    confidence=HIGH,
    references=("https://yaml.org/spec/1.1/", "https://pyyaml.org/wiki/PyYAMLDocumentation"),
)
def unparsable_file(tree: Tree, limits: Limits) -> Iterable[Finding]:
    """The file cannot be read or parsed, so nothing in it is judged.

    Why:
        A training that loads this file ends with the same error, or a template engine was meant
        to run first. A file named on the command line is never skipped in silence: beside good
        files, too, this is an error.

    Bad:
        optimizer:
          lr: 1.0e-4
         betas: [0.9, 0.999]

    Good:
        optimizer:
          lr: 1.0e-4
          betas: [0.9, 0.999]

    Tell:
        `python -c "import sys, yaml; yaml.safe_load(open(sys.argv[1]))" FILE` fails on the same
        line.

    Symptoms:
        training ends with an error, or never starts

    Fix:
        None. What cannot be parsed is never edited.

    False positives:
        Templates (Jinja, Helm) are not YAML before they are rendered: check the rendered file. In
        a directory such files are skipped and counted. Text in UTF-16 is checked but not fixed.
        The bounds (5 MiB, 200 levels, 500,000 nodes) are far above any real config.
    """
    return ()


@rule(
    "GA002",
    "unused-suppression",
    scope="tool",
    severities=(INFO,),
    confidence=HIGH,
    references=("https://docs.astral.sh/ruff/rules/unused-noqa/",),
)
def unused_suppression(tree: Tree, limits: Limits) -> Iterable[Finding]:
    """A suppression comment suppresses nothing.

    Why:
        It hides the next fault of that kind on the line, which nobody has looked at yet. Reported
        only for rules that ran: a rule that was not selected, or whose settings are unknown in
        this file, leaves its suppressions alone.

    Bad:
        optimizer: adamw
        learning_rate: 1.0e-4  # gradaudit: ignore[GA201] checked with the team
        batch_size: 32

    Good:
        optimizer: adamw
        learning_rate: 1.0e-4
        batch_size: 32

    Tell:
        Delete the comment and check again: nothing new appears.

    Symptoms:
        None: the run is what it would be without the comment.

    Fix:
        None: the comment may hold other words worth keeping.

    False positives:
        A comment that is needed only with another `--select`, `--assume` or `--set`.
    """
    return ()
