"""libyaml's events of a text as flat lists. Only the compiled wheel has it, where it was built with
libyaml's header (hatch_build.py); elsewhere the events come from PyYAML (yaml_events.py)."""

def flat_events(
    text: str, most: int, deepest: int
) -> tuple[bytes, list[int], list[str], dict[int, tuple[str | None, str | None]]] | None:
    """The events of all documents of a text in their order, or None.

    None: libyaml refuses the text, or it has more than `most` events, or collections nested deeper
    than `deepest`. What is wrong is not said: PyYAML, which reads the text again, says it.

    Returns:
        kinds       One byte an event: `-` a plain scalar, and `'`, `"`, `|`, `>` those of the other
                    styles; `{` and `m` the start of a mapping, in braces or as a block; `[` and `s`
                    that of a sequence; `}` and `]` their ends; `*` an alias.
        marks       Offsets into the text, in code points: the start and the end of a scalar and of
                    an alias, the start of a start, the end of an end.
        words       The value of each scalar and the name of each alias.
        properties  The index of an event in `kinds` -> its anchor and its tag, if it has either.

    Raises:
        UnicodeEncodeError: a lone surrogate in the text.
    """
