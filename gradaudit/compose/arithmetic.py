"""Arithmetic on plain numbers, as hyperpyyaml allows it after `!ref`; with Python's rules."""

from __future__ import annotations

import re

from gradaudit.syntax.scalars import yaml_float

_TOKEN = re.compile(
    r"\s*(?:(\d+\.\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+)"
    r"|(\d+)|(\*\*|//|[-+*/%()]))"
)
_LONGEST = 500
_DEEPEST = 50
_MOST_BITS = 256

_BINARY = {"+": 1, "-": 1, "*": 2, "/": 2, "//": 2, "%": 2}


class TooLarge(Exception):
    """A number that has no value, or more digits than a config needs."""


class _NoArithmetic(Exception):
    """The text is something else."""


def evaluate(text: str) -> str | None:
    """The number that an expression makes, spelled as every loader reads it; None for other text.

    Raises:
        TooLarge: a division by zero, or a number beyond what a config needs.
    """
    if not text or len(text) > _LONGEST or text[0] not in "0123456789.+-( ":
        return None
    tokens = _tokens(text)
    if tokens is None:
        return None
    try:
        value = _Expression(tokens).all()
    except _NoArithmetic:
        return None
    except (ArithmeticError, ValueError) as error:
        raise TooLarge(f"{error}".lower() or "no number") from None
    if isinstance(value, complex):
        raise TooLarge("no real number")
    return yaml_float(value)


def _tokens(text: str) -> list[int | float | str] | None:
    found: list[int | float | str] = []
    text = text.strip()
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            return None
        real, whole, sign = match.groups()
        if whole is not None:
            if len(whole) > 1 and whole[0] == "0" and whole.strip("0"):
                return None  # to Python `007` is no number
            found.append(int(whole))
        else:
            found.append(float(real) if real is not None else sign)
        at = match.end()
        if sign is None and at < len(text) and (text[at].isalnum() or text[at] in "._"):
            return None
    return found


class _Expression:
    """Precedence climbing over the tokens of one expression."""

    __slots__ = ("at", "depth", "tokens")

    def __init__(self, tokens: list[int | float | str]) -> None:
        self.tokens = tokens
        self.at = 0
        self.depth = 0

    def all(self) -> int | float:
        value = self.binary(1)
        if self.at < len(self.tokens):
            raise _NoArithmetic
        return value

    def next(self) -> int | float | str | None:
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def binary(self, weakest: int) -> int | float:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise _NoArithmetic
        left = self.unary()
        while True:
            sign = self.next()
            strength = _BINARY.get(sign, 0) if isinstance(sign, str) else 0
            if strength < weakest:
                self.depth -= 1
                return left
            assert isinstance(sign, str)
            self.at += 1
            left = _bounded(_combine(left, sign, self.binary(strength + 1)))

    def unary(self) -> int | float:
        """Signs bind weaker than a power on their right: `-2 ** 2` is -4."""
        signs = []
        while self.next() in ("+", "-"):
            signs.append(self.next())
            self.at += 1
        value = self.power()
        return -value if signs.count("-") % 2 else value

    def power(self) -> int | float:
        base = self.atom()
        if self.next() != "**":
            return base
        self.at += 1
        self.depth += 1
        if self.depth > _DEEPEST:
            raise _NoArithmetic
        exponent = self.unary()
        self.depth -= 1
        if isinstance(base, int) and isinstance(exponent, int):
            if base.bit_length() * abs(exponent) > _MOST_BITS:
                raise OverflowError("a number of too many digits")
        return _bounded(base**exponent)

    def atom(self) -> int | float:
        token = self.next()
        self.at += 1
        if token == "(":
            value = self.binary(1)
            if self.next() != ")":
                raise _NoArithmetic
            self.at += 1
            return value
        if token is None or isinstance(token, str):
            raise _NoArithmetic
        return token


def _combine(left: int | float, sign: str, right: int | float) -> int | float:
    if sign == "+":
        return left + right
    if sign == "-":
        return left - right
    if sign == "*":
        return left * right
    if sign == "/":
        return left / right
    return left // right if sign == "//" else left % right


def _bounded(value: int | float) -> int | float:
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        raise OverflowError("a number of too many digits")
    return value
