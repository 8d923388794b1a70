"""Arithmetic for a model, bounded: no expression takes more than a moment, whatever it says.

It runs on the loop of everybody's replies, so each number stays under thirty digits, also on the
way: Python would work out `round(7, -20000000)` or `9**9**9` without a pause. Python's own parser
reads the expression.
"""

import ast
import math
import operator
from collections.abc import Callable
from typing import Any

MOST_CHARS = 200
MOST_DIGITS = 30
MOST_PLACES = 15

_BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod,
}  # fmt: skip
_UNARY: dict[type, Callable[[Any], Any]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}
_CONSTANTS = {"pi": math.pi, "e": math.e}


def evaluate(expression: str) -> float | int:
    """The value of an arithmetic expression. Raises `ValueError` with words for the model."""
    if len(expression) > MOST_CHARS:
        raise ValueError("the expression is too long")
    try:
        value: float | int = _value(ast.parse(expression.replace("^", "**").strip(), mode="eval").body)
        return value
    except (SyntaxError, TypeError, ArithmeticError, RecursionError, MemoryError) as error:
        raise ValueError("this is not an expression that can be worked out") from error


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return _small(number)
        case ast.Name(id=name) if name in _CONSTANTS:
            return _CONSTANTS[name]
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
            return _UNARY[type(op)](_value(operand))
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _small(_power(_value(left), _value(right)))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _small(_BINARY[type(op)](_value(left), _value(right)))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _FUNCTIONS:
            return _small(_FUNCTIONS[name](*[_value(argument) for argument in arguments]))
    raise ValueError("only numbers, + - * / // % **, brackets and a few functions are understood")


def _power(base: Any, exponent: Any) -> Any:
    if base and exponent * math.log10(abs(base)) > MOST_DIGITS:
        raise ValueError("the power is too large")
    return base**exponent


def _round(number: Any, places: Any = None) -> Any:
    if places is not None and abs(places) > MOST_PLACES:
        raise ValueError(f"round takes at most {MOST_PLACES} places")
    return round(number, places)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "sqrt": math.sqrt, "log": math.log, "sin": math.sin, "cos": math.cos, "tan": math.tan,
    "abs": abs, "round": _round, "min": min, "max": max,
}  # fmt: skip


def _small(number: Any) -> Any:
    if isinstance(number, complex) or not abs(number) <= 10.0**MOST_DIGITS:
        raise ValueError("the number is too large")
    return number
