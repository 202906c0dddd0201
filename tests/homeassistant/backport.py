"""Import Home Assistant's newest source on Python 3.11, as far as MQTT discovery needs it.

Home Assistant 2026.2 asks for Python 3.13 and for a hundred packages. Two shims make up for that:

* syntax: modules that use the type parameters of Python 3.12 and 3.13 are rewritten to plain
  TypeVars while they are imported, and names that typing lacks come from typing_extensions;
* stand-ins: web server, authentication, camera streams and a few packages, which no discovery
  schema and no template uses, are replaced by inert modules.

Only for the environment of `make homeassistant-schema`; everything that is checked is unmodified.
"""

import ast
import importlib.abc
import importlib.machinery
import importlib.util
import io
import sys
import tokenize
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Any

import typing_extensions

STAND_INS = (
    "aiohttp",
    "annotatedyaml",
    "httpx",
    "mashumaro",
    "turbojpeg",
    "webrtc_models",
    "homeassistant.auth",
    "homeassistant.components.http",
    "homeassistant.components.network",
    "homeassistant.components.repairs",
    "homeassistant.components.stream",
    "homeassistant.components.websocket_api",
    "homeassistant.helpers.aiohttp_client",
    "homeassistant.helpers.httpx_client",
    "homeassistant.helpers.network",
)

# Names that Python 3.11 lacks and typing_extensions has; None: any of that module.
_BACKPORTED: dict[str, set[str] | None] = {
    "typing": None,
    "warnings": {"deprecated"},
    "collections.abc": {"Buffer"},
}
_KINDS: dict[str, Any] = {
    "": typing_extensions.TypeVar,
    "*": typing_extensions.TypeVarTuple,
    "**": typing_extensions.ParamSpec,
}

Tokens = Sequence[tokenize.TokenInfo]
Place = tuple[int, int]  # line and column, as tokens say


def install() -> None:
    """Let `import homeassistant` work from here on."""
    sys.meta_path.insert(0, _Finder())


class _InertMeta(type):
    """Classes that stand for any type, base class, decorator or exception."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _inert(name)

    def __getitem__(cls, item: object) -> Any:
        return cls

    def __or__(cls, other: object) -> Any:
        return cls

    __ror__ = __or__


class _Inert(Exception, metaclass=_InertMeta):  # noqa: N818 - stands for more than errors
    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__()

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__()

    def __call__(self, *args: object, **kwargs: object) -> object:
        return args[0] if args else None  # as a decorator: leaves the function alone


def _inert(name: str) -> Any:
    return _InertMeta(name, (_Inert,), {})


class _InertLoader(importlib.abc.Loader):
    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        return None

    def exec_module(self, module: types.ModuleType) -> None:
        def module_getattr(name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            return _inert(name)

        module.__getattr__ = module_getattr  # type: ignore[method-assign]


class _BackportLoader(importlib.machinery.SourceFileLoader):
    """Compiles modules so that this Python can run them."""

    def exec_module(self, module: types.ModuleType) -> None:
        path = self.get_filename(module.__name__)
        source = importlib.util.decode_source(self.get_data(path))
        parameters: dict[str, str] = {}
        try:
            tree = ast.parse(source, path)
        except SyntaxError:
            source, parameters = without_type_parameters(source)
            tree = ast.parse(source, path)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and _is_backported(node):
                node.module = "typing_extensions"
        module.__dict__.update(__typing__=typing, __inert__=_inert)
        module.__dict__.update({name: _KINDS[kind](name) for name, kind in parameters.items()})
        code = compile(tree, path, "exec", dont_inherit=True)
        exec(code, module.__dict__)  # noqa: S102 - what an import does


def _is_backported(node: ast.ImportFrom) -> bool:
    if node.level or node.module not in _BACKPORTED:
        return False
    names = _BACKPORTED[node.module]
    return names is None or any(alias.name in names for alias in node.names)


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if any(fullname == name or fullname.startswith(f"{name}.") for name in STAND_INS):
            return importlib.machinery.ModuleSpec(fullname, _InertLoader(), is_package=True)
        if fullname.partition(".")[0] != "homeassistant":
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _BackportLoader(spec.loader.name, spec.loader.path)
        return spec


def without_type_parameters(source: str) -> tuple[str, dict[str, str]]:
    """Rewrite `type X = …`, `def f[T]()` and `class C[T]` for Python 3.11.

    Returns:
        The new source, and the type parameters it uses with their kind: "", "*" or "**".
    """
    tokens = _significant(source)
    edits: list[tuple[Place, Place, str]] = []
    parameters: dict[str, str] = {}
    for index in _statements(tokens):
        keyword, after_name = tokens[index].string, tokens[index + 2]
        if keyword == "type" and _is_one_of(after_name, "=["):
            name = tokens[index + 1].string
            end = next(token for token in tokens[index:] if token.type == tokenize.NEWLINE)
            edits.append((tokens[index].start, end.start, f"{name} = __inert__({name!r})"))
        elif keyword in {"def", "class"} and _is_one_of(after_name, "["):
            closing = _closing(tokens, index + 2)
            own = dict(_type_parameters(tokens[index + 3 : closing]))
            parameters |= own
            edits.append((after_name.start, tokens[closing].end, ""))
            if keyword == "class":
                edits.append(_generic_base(tokens, closing, own))
    return _edited(source, edits), parameters


def _significant(source: str) -> list[tokenize.TokenInfo]:
    return [
        token
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type not in (tokenize.NL, tokenize.COMMENT)
    ]


def _statements(tokens: Tokens) -> Iterator[int]:
    """Where a statement begins with two names, like `class C`; `async` is passed over."""
    is_first = True
    for index, token in enumerate(tokens):
        if token.type in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT):
            is_first = True
        elif is_first and token.string != "async":
            is_first = False
            if token.type == tokenize.NAME == tokens[index + 1].type:
                yield index


def _edited(source: str, edits: list[tuple[Place, Place, str]]) -> str:
    starts = [0]
    for each in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(each))
    for (line, column), (end_line, end_column), text in sorted(edits, reverse=True):
        head = source[: starts[line - 1] + column]
        source = head + text + source[starts[end_line - 1] + end_column :]
    return source


def _is_one_of(token: tokenize.TokenInfo, characters: str) -> bool:
    return token.type == tokenize.OP and len(token.string) == 1 and token.string in characters


def _closing(tokens: Tokens, opening: int) -> int:
    """Index of the bracket that closes the one at `opening`."""
    depth = 0
    for index in range(opening, len(tokens)):
        if _is_one_of(tokens[index], "([{"):
            depth += 1
        elif _is_one_of(tokens[index], ")]}"):
            depth -= 1
            if depth == 0:
                return index
    raise SyntaxError("unbalanced brackets")


def _type_parameters(tokens: Tokens) -> Iterator[tuple[str, str]]:
    """Name and kind of each, from the tokens between [ and ]."""
    depth, kind, is_name_next = 0, "", True
    for token in tokens:
        if _is_one_of(token, "([{"):
            depth += 1
        elif _is_one_of(token, ")]}"):
            depth -= 1
        elif depth == 0 and _is_one_of(token, ","):
            kind, is_name_next = "", True
        elif is_name_next and token.string in ("*", "**"):
            kind = token.string
        elif is_name_next and token.type == tokenize.NAME:
            yield token.string, kind
            is_name_next = False


def _generic_base(
    tokens: Tokens, closing: int, parameters: dict[str, str]
) -> tuple[Place, Place, str]:
    """The edit that makes a class generic in `parameters`; `closing` ends their brackets."""
    names = ", ".join("*" * (kind == "*") + name for name, kind in parameters.items())
    base = f"__typing__.Generic[{names}]"
    opening = closing + 1
    if not _is_one_of(tokens[opening], "("):
        return tokens[closing].end, tokens[closing].end, f"({base})"
    end = _closing(tokens, opening)
    depth, argument = 0, opening + 1
    for index in range(opening, end):
        if _is_one_of(tokens[index], "([{"):
            depth += 1
        elif _is_one_of(tokens[index], ")]}"):
            depth -= 1
        elif depth == 1 and _is_one_of(tokens[index], ","):
            argument = index + 1
        elif depth == 1 and _is_one_of(tokens[index], "="):  # the first keyword, e.g. metaclass
            return tokens[argument].start, tokens[argument].start, f"{base}, "
    comma = "" if tokens[end - 1].string in ("(", ",") else ", "
    return tokens[end].start, tokens[end].start, f"{comma}{base}"
