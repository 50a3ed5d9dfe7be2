"""Inlining of simple functions into the generated code, where that is provably equivalent.

A lambda (or a ``def`` whose body is one ``return``) of one parameter is inlined when its source can be found
and, compiled again, gives the very same byte code and constants, and when its expression names nothing but
its parameter: then nothing outside can change what it means. Everything else is called.
"""

from __future__ import annotations

import ast
import linecache
from types import CodeType
from typing import Any

_ALLOWED = (
    ast.BinOp,
    ast.UnaryOp,
    ast.BoolOp,
    ast.Compare,
    ast.IfExp,
    ast.Constant,
    ast.Name,
    ast.Subscript,
    ast.Attribute,
    ast.Slice,
    ast.Tuple,
    ast.List,
    ast.Dict,
    ast.expr_context,
    ast.operator,
    ast.unaryop,
    ast.boolop,
    ast.cmpop,
)

PLACEHOLDER = "_0x_"
_files: dict[str, ast.Module | None] = {}


def inline_expression(function: Any) -> tuple[str, str] | None:
    """``(placeholder, expression)`` if ``function(x)`` may be written as the expression with ``x`` for the
    placeholder, else ``None``. The parameter must occur at least once.
    """
    code = getattr(function, "__code__", None)
    if (
        not isinstance(code, CodeType)
        or type(function).__name__ != "function"
        or code.co_argcount != 1
        or code.co_posonlyargcount
        or code.co_kwonlyargcount
        or code.co_flags & (0x04 | 0x08 | 0x20 | 0x80 | 0x200)
        or code.co_freevars
        or code.co_cellvars
        or function.__defaults__
        or hasattr(function, "__wrapped__")
        or code.co_nlocals != 1
    ):
        return None
    tree = _parse(code.co_filename)
    if tree is None:
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.Lambda) and node.lineno <= code.co_firstlineno:
            body: ast.expr | None = node.body
        elif isinstance(node, ast.FunctionDef) and not node.decorator_list:
            body = _single_return(node)
        else:
            continue
        if body is None or not node.lineno <= code.co_firstlineno <= (node.end_lineno or 0):
            continue
        parameter = code.co_varnames[0]
        if _simple(body, parameter) and _same_code(body, parameter, code):
            renamed = _Rename(parameter).visit(ast.parse(ast.unparse(body), mode="eval"))
            return PLACEHOLDER, f"({ast.unparse(renamed)})"
    return None


def _parse(filename: str) -> ast.Module | None:
    if filename not in _files:
        try:
            _files[filename] = ast.parse("".join(linecache.getlines(filename)))
        except (SyntaxError, ValueError):
            _files[filename] = None
    return _files[filename]


def _single_return(node: ast.FunctionDef) -> ast.expr | None:
    if len(node.body) == 1 and isinstance(node.body[0], ast.Return):
        return node.body[0].value
    return None


def _simple(body: ast.expr, parameter: str) -> bool:
    names = 0
    for node in ast.walk(body):
        if not isinstance(node, _ALLOWED):
            return False
        if isinstance(node, ast.Name):
            if node.id != parameter or not isinstance(node.ctx, ast.Load):
                return False
            names += 1
    return names > 0


def _same_code(body: ast.expr, parameter: str, code: CodeType) -> bool:
    """Whether the expression compiles to what the function really runs."""
    source = f"lambda {parameter}: ({ast.unparse(body)})"
    module = compile(source, "<inline>", "eval")
    candidate = next(c for c in module.co_consts if isinstance(c, CodeType))

    def constants(c: CodeType) -> tuple[tuple[type, Any], ...]:
        return tuple((type(k), k) for k in c.co_consts if k is not None)

    return (
        candidate.co_code == code.co_code
        and constants(candidate) == constants(code)
        and candidate.co_names == code.co_names
    )


class _Rename(ast.NodeTransformer):
    def __init__(self, parameter: str) -> None:
        self.parameter = parameter

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name(PLACEHOLDER, node.ctx) if node.id == self.parameter else node
