"""`gradaudit` and `python -m gradaudit`: the entry point."""

from __future__ import annotations

import sys


def main(words: list[str] | None = None) -> int:
    """Run a command; returns the exit code (0, 1, 2 or 3; see docs/usage.md)."""
    words = sys.argv[1:] if words is None else words
    if words in (["--version"], ["-V"]):
        from gradaudit import version_line

        print(version_line())
        return 0
    try:
        code = _dispatch(words)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The reader of a pipe went away (`| head`): nothing is wrong here.
        _drop_output()
        return 0
    except OSError as error:  # files are read and written elsewhere, with words of their own
        _drop_output()
        sys.stderr.write(f"gradaudit: error: cannot write the output: {error.strerror}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    except Exception:
        import traceback

        traceback.print_exc()
        sys.stderr.write(
            "gradaudit: this is a fault in gradaudit, not in your file; please report it with the "
            "lines above: https://github.com/gradaudit/gradaudit/issues\n"
        )
        return 3


def _drop_output() -> None:
    """What is still buffered cannot be written, and must not be tried again at exit."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _open_what_is_closed() -> None:
    """A stream that the shell closed (`>&-`) goes nowhere. Left so, the next file that is opened
    would get its number: a record, say, and what the training prints would be written into it."""
    import os

    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            os.set_inheritable(number, True)  # for the command of a `probe`
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8"))


def _dispatch(words: list[str]) -> int:
    import gc

    # Trees are cyclic and short-lived: collecting in the middle costs a third of a check.
    gc.disable()
    # The words of a command that `probe` runs are its own.
    if ("--assume" in words or "--set" in words) and words[0] != "probe":
        from gradaudit.cli.options import spread_pairs

        words = spread_pairs(words)
    if words and words[0] == "check":
        from gradaudit.cli.options import read_check

        arguments = read_check(words[1:])
        if arguments is not None:
            from gradaudit.cli.check import run_check

            return run_check(arguments)
    from gradaudit.cli.app import run

    return run(words)


def entry() -> None:
    """The console script.

    It leaves without tearing down what it built, as mypy does: a twelfth of the time of one file.
    """
    import os

    _open_what_is_closed()
    code = main()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


if __name__ == "__main__":
    entry()
