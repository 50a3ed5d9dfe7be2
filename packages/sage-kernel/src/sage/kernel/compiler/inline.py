"""Inlining of simple functions into the generated code, where that is provably equivalent.

A function of one or two parameters that is a lambda, or a ``def`` of one statement, is inlined
when its source can be found and, compiled again, gives the very same byte code and constants. Its
expression may name its parameter, variables of the enclosing function (read through the same cell
as the function reads them) and globals (read from the same dictionary at the same moment).
Builtins are not inlined: a global of the same name could appear later. Everything else is called.
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
    ast.Call,
    ast.expr_context,
    ast.operator,
    ast.unaryop,
    ast.boolop,
    ast.cmpop,
    ast.Expression,
    ast.AugAssign,
    ast.Assign,
    ast.Expr,
    ast.Module,
)

_UNUSUAL = 0x04 | 0x08 | 0x20 | 0x80 | 0x200
"""Code flags of ``*args``, ``**kwargs``, generators and coroutines."""

_files: dict[str, list[ast.AST]] = {}


class Inlined:
    """Body of a function, ready to be pasted.

    Attributes:
        text: An expression, or one statement for sinks, over placeholders of the parameters.
        names: Names it uses besides -> objects they stand for: dictionaries of globals, and cells,
            which the generated function gets as its own closure.
    """

    __slots__ = ("names", "text")

    def __init__(self, text: str, names: dict[str, Any]) -> None:
        self.text = text
        self.names = names

    def with_arguments(self, *arguments: str) -> str:
        """The text with variables for the parameters."""
        text = self.text
        for nth, argument in enumerate(arguments):
            text = text.replace(f"_{nth}x_", argument)
        return text


def inline_body(
    function: Any, label: int, *, parameters: int = 1, statement: bool = False
) -> Inlined | None:
    """The body of ``function`` for pasting, or ``None`` when it must be called.

    Args:
        function: What a step calls.
        label: Makes names unique.
        parameters: How many arguments it is called with.
        statement: The value is not used (sinks): one statement will do.
    """
    code = getattr(function, "__code__", None)
    if (
        not isinstance(code, CodeType)
        or type(function).__name__ != "function"
        or code.co_argcount != parameters
        or code.co_posonlyargcount
        or code.co_kwonlyargcount
        or code.co_flags & _UNUSUAL
        or code.co_cellvars
        or function.__defaults__
        or hasattr(function, "__wrapped__")
        or code.co_nlocals != parameters
    ):
        return None
    names = code.co_varnames
    for node in _functions(code.co_filename):
        if not node.lineno <= code.co_firstlineno <= (node.end_lineno or 0):  # type: ignore[attr-defined]
            continue
        body = _body(node, statement)
        if body is None or not _simple(body, names, code, function.__globals__):
            continue
        if _same_code(body, names, code):
            return _paste(body, names, function, label)
    return None


def _functions(filename: str) -> list[ast.AST]:
    found = _files.get(filename)
    if found is None:
        try:
            tree = ast.parse("".join(linecache.getlines(filename)))
        except (SyntaxError, ValueError):
            tree = ast.Module([], [])
        found = [n for n in ast.walk(tree) if isinstance(n, (ast.Lambda, ast.FunctionDef))]
        _files[filename] = found
    return found


def _body(node: ast.AST, statement: bool) -> ast.expr | ast.stmt | None:
    if isinstance(node, ast.Lambda):
        return node.body
    if not isinstance(node, ast.FunctionDef) or node.decorator_list or len(node.body) != 1:
        return None
    only = node.body[0]
    if isinstance(only, ast.Return):
        return only.value
    if statement and isinstance(only, (ast.AugAssign, ast.Expr)):
        return only
    return None


def _simple(
    body: ast.expr | ast.stmt,
    parameters: tuple[str, ...],
    code: CodeType,
    namespace: dict[str, Any],
) -> bool:
    for node in ast.walk(body):
        if not isinstance(node, _ALLOWED) or (isinstance(node, ast.Call) and _starred(node)):
            return False
        if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            return False
        if isinstance(node, ast.Name):
            if not isinstance(node.ctx, ast.Load):
                return False
            if (
                node.id not in parameters
                and node.id not in code.co_freevars
                and node.id not in namespace
            ):
                return False
    return True


def _starred(call: ast.Call) -> bool:
    return any(isinstance(a, ast.Starred) for a in call.args) or any(
        keyword.arg is None for keyword in call.keywords
    )


def _same_code(body: ast.expr | ast.stmt, parameters: tuple[str, ...], code: CodeType) -> bool:
    """Whether the body compiles to what the function really runs."""
    free = "".join(f"    {name} = 0\n" for name in code.co_freevars)
    text = ast.unparse(body)
    inner = text if isinstance(body, ast.stmt) else f"return ({text})"
    source = f"def outer():\n{free}    def f({', '.join(parameters)}):\n        {inner}\n"
    outer = next(c for c in compile(source, "<inline>", "exec").co_consts if _is_code(c))
    candidate = next(c for c in outer.co_consts if _is_code(c))

    def constants(c: CodeType) -> list[tuple[type, Any]]:
        return [(type(k), k) for k in c.co_consts if k is not None]

    return (
        candidate.co_code == code.co_code
        and constants(candidate) == constants(code)
        and candidate.co_names == code.co_names
        and candidate.co_freevars == code.co_freevars
    )


def _is_code(value: Any) -> bool:
    return isinstance(value, CodeType)


def _paste(
    body: ast.expr | ast.stmt, parameters: tuple[str, ...], function: Any, label: int
) -> Inlined:
    code = function.__code__
    cells = dict(zip(code.co_freevars, function.__closure__ or (), strict=True))
    names: dict[str, Any] = {}

    class Rename(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.expr:
            if node.id in parameters:
                return ast.Name(f"_{parameters.index(node.id)}x_", node.ctx)
            if node.id in cells:
                name = f"cell{label}_{node.id}"
                names[name] = cells[node.id]
                return ast.Name(name, node.ctx)
            name = f"globals{label}"
            names[name] = function.__globals__
            return ast.Subscript(ast.Name(name, ast.Load()), ast.Constant(node.id), node.ctx)

    parsed = ast.parse(ast.unparse(body))
    text = ast.unparse(ast.fix_missing_locations(Rename().visit(parsed)))
    return Inlined(text if isinstance(body, ast.stmt) else f"({text})", names)
