"""Reads from the code which error codes it can make, and which ends of a frame carry them.

A code is made in one of three ways: an exception is raised with it (or its class has it), an
`ErrorDetail` is built with it, or it is handed to a function that ends frames. Which end that is
follows from who catches the exception, or from the `JobStatus` named nearest to the code.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from schemas.job import JobStatus

_Ends = frozenset[JobStatus]
_CODE = re.compile(r"[a-z]+(_[a-z0-9]+)*")

_REJECTED = frozenset({JobStatus.REJECTED})
_FAILED = frozenset({JobStatus.FAILED})
_DROPPED = frozenset({JobStatus.DROPPED})
_LETTER: _Ends = frozenset()  # it stands in dead letters only

#: Exceptions that are raised with a code: intake rejects, after a frame is accepted it fails.
_RAISED_WITH = {
    "PayloadError": _REJECTED,
    "FrameError": _REJECTED,
    "ImageError": _REJECTED | _FAILED,
    "ImageTooLargeError": _REJECTED | _FAILED,
    "ImageDecodeError": _REJECTED | _FAILED,
}
#: Files that see accepted frames only.
_AFTER_ACCEPTANCE = {Path("engine/pixels.py")}
#: Files that see accepted frames, and such as are not frames yet.
_ON_BOTH_SIDES = {Path("service/intake/fetch.py")}
#: Exceptions whose class has the code.
_OF_CLASS = {
    "UrlRefusedError": _REJECTED | _FAILED,
    "EngineError": _FAILED,
    "MoondreamError": _FAILED,
    "PromptError": _FAILED,
    "OutOfMemoryError": _FAILED,
    "NotANumberError": _FAILED,
    "DeliveryError": _LETTER,
    "ReceiverGoneError": _LETTER,
}
#: Raised towards the operator or inside the service: in the log, never in a document.
_INSIDE = {
    "AnswerTooLargeError",
    "ConfigurationError",
    "DeviceError",
    "DownloadError",
    "FrameError",  # always raised with another
    "FrigateAccessError",
    "FrigateError",
    "FrigateUnknownError",
    "HostError",
    "InstanceInUseError",
    "ModelFileError",
    "QuantizeError",
    "ServiceError",
    "StoreError",
    "StoreFullError",
}
#: Functions that end frames with a code they are given, private or not.
_ENDING = {"drop": _DROPPED, "failed": _FAILED, "Failed": _FAILED}
#: Made where no end is in sight.
_KNOWN = {
    "internal": _REJECTED | _FAILED,  # service.boundary: whoever has the frame in hand ends it
    "unreadable": _FAILED,  # service.store.set_aside: the job of the row, where it is one
    "unsendable": _LETTER,
    "outbox_full": _LETTER,
    "write_back": _LETTER,
}


class Made(NamedTuple):
    """A code at one place."""

    code: str
    ends: _Ends  #: of frames that carry it from there
    where: str


def codes(root: Path) -> Iterator[Made]:
    """Every code that can be seen outside, by the places below `root` where it is made.

    Raises:
        LookupError: Where one leads is not known; the tables above are to be completed.
    """
    answering = _answering(root)
    for package in ("broker", "engine", "moondream2", "service"):
        for path in sorted((root / package).rglob("*.py")):
            # These speak to the operator, and to whoever asks.
            if "commands" not in path.parts and path not in answering:
                yield from _codes_in(path.read_text(encoding="utf-8"), path.relative_to(root))


def codes_of_answers(root: Path) -> Iterator[tuple[str, str]]:
    """Every code that the error of an answer is made with, and where."""
    for path in _answering(root):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and _name(node.func) in {"OperationError", "ErrorDetail"}:
                given = [*node.args[:1], *(each.value for each in node.keywords)]
                for code in filter(_CODE.fullmatch, map(_text, given)):
                    yield code, f"{path.relative_to(root)}:{node.lineno}"


def _answering(root: Path) -> list[Path]:
    """The files that answer requests; what becomes of a frame is not theirs to say."""
    operations = sorted((root / "service/operations").glob("*.py"))
    return [root / "broker/requests.py", root / "service/sources/requests.py", *operations]


def _codes_in(text: str, path: Path) -> Iterator[Made]:
    tree = ast.parse(text)
    around = {inner: outer for outer in ast.walk(tree) for inner in ast.iter_child_nodes(outer)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            found = list(_of_class(node))
        elif isinstance(node, ast.Call):
            found = list(_of_call(node, around))
        else:
            continue
        for code, ends in found:
            where = f"{path}:{node.lineno}"
            if ends is None:
                raise LookupError(f"{where}: what becomes of a frame with {code!r}?")
            is_late = path in _AFTER_ACCEPTANCE and ends
            if path in _ON_BOTH_SIDES and ends:
                ends = _REJECTED | _FAILED
            yield Made(code, _FAILED if is_late else ends, where)


def _of_class(node: ast.ClassDef) -> Iterator[tuple[str, _Ends | None]]:
    for statement in node.body:
        is_code = isinstance(statement, ast.Assign) and "code" in map(_name, statement.targets)
        if is_code and node.name not in _INSIDE:
            assert isinstance(statement, ast.Assign)
            yield _text(statement.value), _OF_CLASS.get(node.name)


def _of_call(node: ast.Call, around: dict[ast.AST, ast.AST]) -> Iterator[tuple[str, _Ends | None]]:
    called = _name(node.func).lstrip("_")
    given = [*node.args, *(each.value for each in node.keywords if each.arg == "code")]
    for code in filter(_CODE.fullmatch, map(_text, given)):
        if called in _RAISED_WITH:
            yield code, _RAISED_WITH[called]
        elif called in _ENDING:
            yield code, _ENDING[called]
        elif called == "ErrorDetail":
            yield code, _KNOWN.get(code, _nearest(node, around))
        elif ends := frozenset(filter(None, map(_end, node.args))):  # an end and its code
            yield code, ends


def _nearest(node: ast.AST, around: dict[ast.AST, ast.AST]) -> _Ends | None:
    """The ends named in the smallest piece of code around it, at most its function."""
    for piece in _pieces(node, around):
        inside = [each for part in piece for each in ast.walk(part)]
        if ends := frozenset(filter(None, map(_end, inside))):
            return ends
    return None


def _pieces(node: ast.AST, around: dict[ast.AST, ast.AST]) -> Iterator[list[ast.AST]]:
    """What is around it, from the inside out: expressions, then blocks of statements."""
    while not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Module):
        outer = around[node]
        lists = [value for _, value in ast.iter_fields(outer) if isinstance(value, list)]
        is_statement = isinstance(node, ast.stmt)
        yield next((each for each in lists if is_statement and node in each), [outer])
        node = outer


def _end(node: ast.AST) -> JobStatus | None:
    """The final status that a node names, e.g. `JobStatus.FAILED`."""
    if not (isinstance(node, ast.Attribute) and _name(node.value) == "JobStatus"):
        return None
    status = JobStatus.__members__.get(node.attr)
    return status if status is not None and status.is_final else None


def _name(node: ast.AST) -> str:
    """Of a name or an attribute."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _text(node: ast.AST) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
