"""The parts of `docs/http.md` that are written from the routes and the codes."""

from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from typing import Any

from gateway.problems import STATUSES
from schemas.requests.table import TABLE
from tests.docs.markdown import table
from tests.support.described import described, operations

_OTHERS = ("media", "other systems")
_OTHER_PATHS = ("/api/visage/",)


def ours() -> str:
    """Every path of ours."""
    return _paths(is_ours=True)


def of_others() -> str:
    """Every path that is there for clients of other systems."""
    return _paths(is_ours=False)


def statuses() -> str:
    """Every status of HTTP, with the codes that have it."""
    codes = defaultdict(list)
    for code, status in STATUSES.items():
        codes[status].append(f"`{code}`")
    rows = ((str(status), ", ".join(sorted(codes[status]))) for status in sorted(codes))
    return "\n".join(table(("Status", "Codes"), rows))


def _paths(*, is_ours: bool) -> str:
    rows = (
        (f"`{name}`", _link(asked), said)
        for name, asked, said in _rows()
        if _is_ours(name) is is_ours
    )
    return "\n".join(table(("Path", "Operation", "What"), rows))


def _link(asked: str) -> str:
    """Where an operation is described; a frame is none."""
    is_known = asked in {each.name for each in TABLE}
    return f"[`{asked}`](requests.md#{asked.replace('/', '')})" if is_known else f"`{asked}`"


def _rows() -> Iterator[tuple[str, str, str]]:
    for name, operation in _operations().items():
        sentence = operation["description"].partition(". ")[0].rstrip(".")
        yield name, operation["x-operation"], sentence


def _is_ours(name: str) -> bool:
    operation = _operations()[name]
    path = name.split()[1]
    return operation["tags"][0] not in _OTHERS and not path.startswith(_OTHER_PATHS)


@cache
def _operations() -> dict[str, dict[str, Any]]:
    return operations(described())
