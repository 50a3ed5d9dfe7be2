"""Inlining of simple functions into the generated code, where that is provably equivalent.

A lambda, or a ``def`` or method that is a straight line of assignments ending in ``return``, is
inlined when its source can be found and, compiled again, gives the very same byte code and
constants. It may name its parameters and own variables (renamed, and never read before they are
assigned), variables of the enclosing function (read through the same cell as the function reads
them) and globals (read from the same dictionary at the same moment). Builtins are not inlined: a
global of the same name could appear later, or disappear. Neither are calls as statements, unless
they are all there is: they are made for an effect, and what they call may look at its caller, as
logging does. Everything else is called.
"""

from __future__ import annotations

import ast
import builtins
import linecache
import sys
from collections.abc import Iterator, Sequence
from types import CodeType, MethodType
from typing import Any

from sage.kernel.compiler.writer import CELL

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
    ast.Return,
)

_UNUSUAL = 0x04 | 0x08 | 0x20 | 0x80 | 0x200
"""Code flags of ``*args``, ``**kwargs``, generators and coroutines."""

_LONGEST = 512
"""Bytes of code from which on a call is a small part of what a function costs."""

_files: dict[str, list[ast.AST]] = {}


class Inlined:
    """Body of a function, ready to be pasted.

    Attributes:
        names: Names it uses besides -> objects they stand for: dictionaries of globals, the object
            of a method, and cells, which the generated function gets as its own closure.
    """

    __slots__ = ("_before", "_code", "_value", "names")

    def __init__(
        self, before: list[str], value: str, names: dict[str, Any], code: CodeType
    ) -> None:
        self._before = before
        self._value = value
        self._code = code
        self.names = names

    def before(self, *arguments: str) -> list[str]:
        """Statements to run first, with variables for the parameters."""
        return [_with_arguments(line, arguments) for line in self._before]

    def value(self, *arguments: str) -> str:
        """The expression of what the function returns, with variables for the parameters."""
        return _with_arguments(self._value, arguments)

    def note(self, error: Exception) -> Exception:
        """The error of the function, which says where that is if its pasted body raised it."""
        trace = error.__traceback__
        called = trace.tb_next if trace is not None else None
        if called is None and isinstance(error, KeyError) and self._lacks(error.args[:1]):
            (name,) = error.args
            error = NameError(f"name {name!r} is not defined", name=name).with_traceback(trace)
        if called is None or called.tb_frame.f_code is not self._code:
            code = self._code
            at = f"{code.co_filename}:{code.co_firstlineno}"
            note = f"raised in {code.co_qualname} ({at}), which runs inlined"
            if note not in getattr(error, "__notes__", ()):  # one object may be raised many times
                error.add_note(note)
        return error

    def _lacks(self, key: tuple[Any, ...]) -> bool:
        """Whether that is a global which was there and has been deleted."""
        found = (value for name, value in self.names.items() if name.startswith("globals"))
        return bool(key) and any(
            key[0] in self._code.co_names and key[0] not in namespace for namespace in found
        )


def _placeholder(nth: int) -> str:
    return f"\0{nth}\0"  # in no source text, and in no repr of a constant


def _with_arguments(text: str, arguments: Sequence[str]) -> str:
    for nth, argument in enumerate(arguments):
        text = text.replace(_placeholder(nth), argument)
    return text


def is_watched() -> bool:
    """Whether a debugger, profiler or coverage tool watches the calls of this thread."""
    monitoring: Any = getattr(sys, "monitoring", None)
    tools = range(6) if monitoring is not None else ()
    return (
        sys.gettrace() is not None
        or sys.getprofile() is not None
        or any(monitoring.get_tool(tool) is not None for tool in tools)
    )


def inline_body(
    function: Any, label: int, *, parameters: int = 1, statements: bool = True
) -> Inlined | None:
    """The body of ``function`` for pasting, or ``None`` when it must be called.

    Args:
        function: What a step calls.
        label: Makes names unique.
        parameters: How many arguments it is called with.
        statements: Whether there is room for statements before the expression of the value.
    """
    owner: tuple[Any, ...] = ()
    if type(function) is MethodType:
        owner, function = (function.__self__,), function.__func__
    code = getattr(function, "__code__", None)
    if (
        not isinstance(code, CodeType)
        or type(function).__name__ != "function"
        or code.co_argcount != parameters + len(owner)
        or code.co_posonlyargcount
        or code.co_kwonlyargcount
        or code.co_flags & _UNUSUAL
        or code.co_cellvars
        or len(code.co_code) > _LONGEST
        or function.__defaults__
        or hasattr(function, "__wrapped__")
        or (code.co_nlocals != code.co_argcount and not statements)
    ):
        return None
    for node in _functions(code.co_filename):
        if not node.lineno <= code.co_firstlineno <= (node.end_lineno or 0):  # type: ignore[attr-defined]
            continue
        body = _body(node)
        lines = _without_docstring(body)
        if not lines or (len(lines) > 1 and not statements):
            continue
        if _simple(lines, code, function.__globals__) and _same_code(body, code):
            return _paste(lines, function, owner, label)
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


def _body(node: ast.AST) -> list[ast.stmt]:
    if isinstance(node, ast.Lambda):
        return [ast.Return(node.body)]
    if not isinstance(node, ast.FunctionDef) or node.decorator_list:
        return []
    return node.body


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0] if body else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        return body[1:]
    return body


def _simple(lines: list[ast.stmt], code: CodeType, namespace: dict[str, Any]) -> bool:
    """Whether it is a straight line over names whose meaning is known."""
    known = {*code.co_varnames[: code.co_argcount], *code.co_freevars}
    own = set(code.co_varnames)
    for line in lines:
        last = line is lines[-1]
        if isinstance(line, ast.Return) and not last:
            return False
        if isinstance(line, ast.Expr) and len(lines) > 1:
            return False
        for node in ast.walk(line):
            if not isinstance(node, _ALLOWED) or (isinstance(node, ast.Call) and _starred(node)):
                return False
        for name, stored in _names(line):
            if stored:
                if name not in own:  # a ``global`` or ``nonlocal`` name
                    return False
                known.add(name)
            elif name not in known and (
                name in own or name not in namespace or hasattr(builtins, name)
            ):
                return False
    return True


def _names(line: ast.stmt) -> Iterator[tuple[str, bool]]:
    """Names in the order in which they are read and stored, each with whether it is stored."""
    parts: list[ast.AST] = [line]
    if isinstance(line, ast.Assign):
        parts = [line.value, *line.targets]
    elif isinstance(line, ast.AugAssign):
        if isinstance(line.target, ast.Name):
            yield line.target.id, False
        parts = [line.value, line.target]
    for part in parts:
        found = [node for node in ast.walk(part) if isinstance(node, ast.Name)]
        yield from ((node.id, False) for node in found if isinstance(node.ctx, ast.Load))
        yield from ((node.id, True) for node in found if isinstance(node.ctx, ast.Store))


def _starred(call: ast.Call) -> bool:
    return any(isinstance(a, ast.Starred) for a in call.args) or any(
        keyword.arg is None for keyword in call.keywords
    )


def _same_code(body: list[ast.stmt], code: CodeType) -> bool:
    """Whether the body compiles to what the function really runs."""
    free = "".join(f"    {name} = 0\n" for name in code.co_freevars)
    inner = "".join(f"        {ast.unparse(line)}\n" for line in body)
    parameters = ", ".join(code.co_varnames[: code.co_argcount])
    source = f"def outer():\n{free}    def f({parameters}):\n{inner}"
    try:
        outer = next(c for c in compile(source, "<inline>", "exec").co_consts if _is_code(c))
    except SyntaxError:  # a line that cannot be moved, as a docstring of several lines
        return False
    candidate = next(c for c in outer.co_consts if _is_code(c))

    return (
        candidate.co_code == code.co_code
        and repr(candidate.co_consts) == repr(code.co_consts)  # (1, 0.0) == (True, -0.0)
        and candidate.co_names == code.co_names
        and candidate.co_varnames == code.co_varnames
        and candidate.co_freevars == code.co_freevars
    )


def _is_code(value: Any) -> bool:
    return isinstance(value, CodeType)


def _paste(lines: list[ast.stmt], function: Any, owner: tuple[Any, ...], label: int) -> Inlined:
    code = function.__code__
    cells = dict(zip(code.co_freevars, function.__closure__ or (), strict=True))
    parameters = code.co_varnames[: code.co_argcount]
    stored = {name for line in lines for name, is_stored in _names(line) if is_stored}
    names: dict[str, Any] = {f"self{label}": each for each in owner}
    passed = dict(zip(parameters, names, strict=False))
    passed |= {name: _placeholder(nth) for nth, name in enumerate(parameters[len(owner) :])}

    class Rename(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.expr:
            if node.id in stored:
                return ast.Name(f"own{label}_{node.id}", node.ctx)
            if node.id in passed:
                return ast.Name(passed[node.id], node.ctx)
            if node.id in cells:
                name = f"{CELL}{label}_{node.id}"
                names[name] = cells[node.id]
                return ast.Name(name, node.ctx)
            name = f"globals{label}"
            names[name] = function.__globals__
            return ast.Subscript(ast.Name(name, ast.Load()), ast.Constant(node.id), node.ctx)

    def text(node: ast.AST) -> str:
        copied = ast.parse(ast.unparse(node)).body[0]
        return ast.unparse(ast.fix_missing_locations(Rename().visit(copied)))

    before = [f"own{label}_{name} = {passed[name]}" for name in parameters if name in stored]
    *first, last = lines
    value = "None"
    if not isinstance(last, ast.Return):
        first = lines
    elif last.value is not None:
        value = f"({text(last.value)})"
    before += [text(line) for line in first]
    result = last.value if isinstance(last, ast.Return) else None
    if isinstance(result, ast.Name):
        stored.discard(result.id)
    elif stored:
        before.append(f"out{label} = {value}")
        value = f"out{label}"
    if stored:  # what they hold must not live longer than the call
        before.append(" = ".join([*(f"own{label}_{name}" for name in sorted(stored)), "None"]))
    return Inlined(before, value, names, code)
