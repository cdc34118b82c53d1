"""Whose fault an error is, the script's, torch's or gradaudit's, and how it is told in a line."""

from __future__ import annotations

import os
import traceback


def users_fault(error: BaseException) -> str:
    """What to say of an error that came up under the user's own code, or in torch on its behalf;
    empty for one that is gradaudit's."""
    if own_frames(error):
        return f"your code failed: {said(error)}"
    frames = traceback.extract_tb(error.__traceback__)
    in_torch = bool(frames) and f"{os.sep}torch{os.sep}" in frames[-1].filename
    if not in_torch:
        return ""
    # what follows is for torch's developers: for an operation that a backend has not, a page
    first = str(error).strip().split("\n")[0]
    if len(first) > 400:
        first = first.split(". ")[0][:400]
    return f"torch refused: {type(error).__name__}: {first}"


def own_frames(error: BaseException) -> list[traceback.FrameSummary]:
    """The frames that are neither gradaudit's nor an installed package's or Python's."""
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
    python = os.path.dirname(os.path.abspath(os.__file__)) + os.sep
    return [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((here, python, "<"))
        and f"{os.sep}site-packages{os.sep}" not in frame.filename
        and f"{os.sep}bin{os.sep}" not in frame.filename
    ]


def said(error: BaseException) -> str:
    """The error and the line of the user's code that led to it."""
    own = own_frames(error)
    where = f" ({os.path.relpath(own[-1].filename)}:{own[-1].lineno})" if own else ""
    return f"{type(error).__name__}: {error}{where}"
