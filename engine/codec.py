"""Dataclasses as JSON and back, checked both ways.

What a side writes, the other side can read: a value of the wrong type is refused before it leaves,
and whatever arrives is either the dataclass or a `ValueError` that names the field.

Fields may be `str`, `int`, `float`, `bool`, `bytes` (as base64), a `Literal`, a dataclass, a union
of dataclasses (written with the name of the one it is), `tuple[X, ...]`, `dict[str, X]`, and any of
these or None. Every field is written and expected; defaults are for who makes the value.
"""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Generic, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

_T = TypeVar("_T")

_Convert = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class _Form:
    """How values of one type are written and read; both raise `ValueError`."""

    write: _Convert
    read: _Convert


class Codec(Generic[_T]):
    """Writes and reads values of one type.

    Args:
        kind: A dataclass, or a union of them.

    Raises:
        TypeError: A field has a type that is not among those above.
    """

    def __init__(self, kind: Any) -> None:
        self._form = _form_of(kind, "message")

    def encode(self, value: _T) -> bytes:
        """The value as JSON.

        Raises:
            ValueError: A field holds what its type does not allow.
        """
        return json.dumps(self._form.write(value)).encode()

    def decode(self, data: bytes | str) -> _T:
        """The value that `encode` was given.

        Raises:
            ValueError: It is none.
        """
        try:
            plain = json.loads(data)
        except RecursionError as error:
            raise ValueError("nested too deeply") from error
        value: _T = self._form.read(plain)
        return value


def _form_of(kind: Any, at: str) -> _Form:
    """The form of a type; `at` is the field that has it, for errors."""
    if kind in _SCALARS:
        return _scalar(kind, at)
    if is_dataclass(kind):
        return _record(kind)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in {Union, UnionType}:
        return _union(arguments, at)
    if origin is Literal:
        return _literal(arguments, at)
    if origin is tuple and arguments[1:] == (...,):
        return _sequence(_form_of(arguments[0], at), at)
    if origin is dict and arguments[0] is str:
        return _mapping(_form_of(arguments[1], at), at)
    raise TypeError(f"{at}: {kind} cannot travel")


_SCALARS = frozenset({str, int, float, bool, bytes})


def _scalar(kind: type[Any], at: str) -> _Form:
    if kind is bytes:
        return _Form(_checked(bytes, at, _to_base64), _checked(str, at, _from_base64(at)))
    check = _checked((float, int), at, _to_float(at)) if kind is float else _checked(kind, at)
    return _Form(check, check)


def _checked(
    kinds: type[Any] | tuple[type[Any], ...], at: str, convert: _Convert | None = None
) -> _Convert:
    """Refuse what is of none of these types; true and false are no numbers."""

    def check(value: Any) -> Any:
        if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool):
            raise _wrong(at, value)
        return value if convert is None else convert(value)

    return check


def _wrong(at: str, value: Any) -> ValueError:
    return ValueError(f"{at}: cannot be of type {type(value).__name__}")


def _to_float(at: str) -> _Convert:
    def convert(value: float) -> float:
        try:
            return float(value)
        except OverflowError as error:
            raise ValueError(f"{at}: too large") from error

    return convert


def _to_base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _from_base64(at: str) -> _Convert:
    def convert(text: str) -> bytes:
        try:
            return base64.b64decode(text, validate=True)
        except ValueError as error:
            raise ValueError(f"{at}: not base64") from error

    return convert


def _literal(choices: tuple[Any, ...], at: str) -> _Form:
    def check(value: Any) -> Any:
        if not any(value == choice and type(value) is type(choice) for choice in choices):
            raise ValueError(f"{at}: none of {', '.join(map(repr, choices))}")
        return value

    return _Form(check, check)


def _sequence(item: _Form, at: str) -> _Form:
    write = _checked(tuple, at, lambda value: [item.write(each) for each in value])
    read = _checked(list, at, lambda value: tuple(item.read(each) for each in value))
    return _Form(write, read)


def _mapping(item: _Form, at: str) -> _Form:
    name = _checked(str, at)

    def write(value: dict[Any, Any]) -> dict[str, Any]:
        return {name(key): item.write(each) for key, each in value.items()}

    def read(value: dict[str, Any]) -> dict[str, Any]:
        return {key: item.read(each) for key, each in value.items()}

    return _Form(_checked(dict, at, write), _checked(dict, at, read))


def _union(kinds: tuple[Any, ...], at: str) -> _Form:
    """None is null, one other type is itself, several dataclasses are told apart by their name."""
    others = [kind for kind in kinds if kind is not NoneType]
    form = _form_of(others[0], at) if len(others) == 1 else _named(others, at)
    return _optional(form) if NoneType in kinds else form


def _optional(form: _Form) -> _Form:
    return _Form(
        lambda value: None if value is None else form.write(value),
        lambda value: None if value is None else form.read(value),
    )


def _named(kinds: list[Any], at: str) -> _Form:
    if not all(map(is_dataclass, kinds)):
        raise TypeError(f"{at}: {kinds} cannot be told apart")
    forms = {kind.__name__: _record(kind) for kind in kinds}

    def write(value: Any) -> Any:
        name = type(value).__name__
        if type(value) not in kinds:
            raise _wrong(at, value)
        return [name, forms[name].write(value)]

    def read(plain: Any) -> Any:
        if not (isinstance(plain, list) and len(plain) == 2 and isinstance(plain[0], str)):
            raise ValueError(f"{at}: not a name and fields")
        name, content = plain
        if name not in forms:
            raise ValueError(f"{at}: {name[:40]!r} is unknown")
        return forms[name].read(content)

    return _Form(write, read)


@cache
def _record(cls: Any) -> _Form:
    """A dataclass is an object of exactly its fields."""
    hints = get_type_hints(cls)
    forms = {
        each.name: _form_of(hints[each.name], f"{cls.__name__}.{each.name}") for each in fields(cls)
    }

    def write(value: Any) -> dict[str, Any]:
        return {name: form.write(getattr(value, name)) for name, form in forms.items()}

    def read(plain: dict[str, Any]) -> Any:
        if plain.keys() != forms.keys():
            missing = [f"{name} is missing" for name in forms.keys() - plain.keys()]
            unknown = [f"{name[:40]!r} is unknown" for name in plain.keys() - forms.keys()]
            raise ValueError(f"{cls.__name__}: {', '.join(sorted(missing + unknown)[:5])}")
        return cls(**{name: form.read(plain[name]) for name, form in forms.items()})

    return _Form(_checked(cls, cls.__name__, write), _checked(dict, cls.__name__, read))
