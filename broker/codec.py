"""The only JSON of the wire: documents to bytes, hostile bytes to values within limits.

Everything from outside is bounded before it is built: size, number of values, depth. What is wrong
is said with the path of the field and never with its value, which may be an image or a secret.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from schemas.frame import JOB_ID_PATTERN, FrameOptions

MAX_JSON_BYTES = 64 * 1024  # of a document without an image
MAX_DEPTH = 16
# A frame needs a few dozen of each, 8 KiB of metadata at most 4,096; millions would fit into the
# bytes of one image and cost a hundred times their size in memory.
_MAX_CONTAINERS = 4096
_MAX_COMMAS = 32768
_MAX_FOREIGN_CONTAINERS = 50_000  # 5 MB: the path of an object has two for each step

# Each takes its hundred nanoseconds in one call that lets no other thread run.
_MAX_ESCAPES = 300_000  # \uXXXX
# Checked against a schema, metadata aside; a wrong one takes microseconds of such a call.
_MAX_CHECKED = 2000
_MAX_LISTED = 100  # mistakes beyond which none is named

_MAX_PROBLEMS = 3  # named in one message; a sender mends the first ones first
_JSON_PROPERTIES = frozenset({"tasks", "metadata", "webhook_headers"})
_NUMBER_PROPERTIES = frozenset({"motion_intensity", "max_age", "max_attempts"})

Model = TypeVar("Model", bound=BaseModel)


class PayloadError(Exception):
    """A payload that cannot be accepted as it is.

    Args:
        code: For programs, e.g. `bad_field`.
        message: What is wrong and what would be right; names the field.
        job_id: The sender's id of the frame, where it could still be read.
    """

    def __init__(self, code: str, message: str, job_id: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.job_id = job_id


def encode(document: BaseModel) -> bytes:
    """The document as UTF-8 JSON."""
    return document.model_dump_json().encode()


def read_json(payload: bytes, *, max_bytes: int = MAX_JSON_BYTES) -> Any:
    """Read JSON from outside.

    Of duplicate keys the last one counts.

    Raises:
        PayloadError: `payload_too_large`, or `bad_json` with the place of the mistake.
    """
    if len(payload) > max_bytes:
        raise PayloadError(
            "payload_too_large", f"{len(payload)} bytes of JSON; at most {max_bytes} are accepted"
        )
    num_containers = payload.count(b"{") + payload.count(b"[")
    if num_containers > _MAX_CONTAINERS or payload.count(b",") > _MAX_COMMAS:
        raise PayloadError("bad_json", "has too many values")
    if payload.count(b"\\u") > _MAX_ESCAPES:
        raise PayloadError("bad_json", "has too many escaped characters")
    try:
        value = json.loads(payload.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise PayloadError("bad_json", f"is not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise PayloadError("bad_json", f"{error.msg} at character {error.pos}") from error
    except (ValueError, RecursionError) as error:
        raise PayloadError("bad_json", "has a number or a depth that is not accepted") from error
    _check_value(value, MAX_DEPTH)
    return value


def read_foreign_json(payload: bytes, *, max_bytes: int) -> Any:
    """Read JSON of another system, of which a few values are looked at and the others are left.

    It may be larger, and hold what JSON has not (NaN is read as null): no value is checked, so who
    looks at one does. A fifth of the time of `read_json`.

    Raises:
        PayloadError: `payload_too_large`, or `bad_json`.
    """
    if len(payload) > max_bytes:
        raise PayloadError(
            "payload_too_large", f"{len(payload)} bytes of JSON; at most {max_bytes} are accepted"
        )
    if payload.count(b"{") + payload.count(b"[") > _MAX_FOREIGN_CONTAINERS:
        raise PayloadError("bad_json", "has too many values")
    try:
        return json.loads(payload.decode("utf-8-sig"), parse_constant=lambda _: None)
    except (ValueError, RecursionError) as error:
        raise PayloadError("bad_json", "is not JSON") from error


def read_properties(properties: Iterable[tuple[str, str]]) -> FrameOptions:
    """Options of a binary frame from its MQTT 5 user properties.

    The names are those of the JSON form; lists and objects are JSON text. Other names are left
    alone: bridges and tracing tools add their own. Of duplicates the last one counts.

    Raises:
        PayloadError: `bad_field`, or `bad_json` in one of them.
    """
    texts = {name: text for name, text in properties if name in FrameOptions.model_fields}
    job_id = readable_job_id(texts.get("job_id"))
    try:
        return validate(FrameOptions, read_texts(texts))
    except PayloadError as error:
        error.job_id = job_id
        raise


def read_texts(texts: Mapping[str, str]) -> dict[str, Any]:
    """Values of a frame's options that came as texts: as MQTT properties, in a query, in a form.

    Raises:
        PayloadError: `bad_field`, or `bad_json` in one of them.
    """
    return {name: _read(name, text) for name, text in texts.items()}


def validate(model: type[Model], content: dict[str, Any]) -> Model:
    """Check `content` against a schema.

    Raises:
        PayloadError: `bad_field`; the message names the paths.
    """
    checked = {name: value for name, value in content.items() if name != "metadata"}
    if _take_values(checked, _MAX_CHECKED) < 0:
        raise PayloadError("bad_field", "frame: has too many values")
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise PayloadError("bad_field", _explain(error)) from error


def readable_job_id(value: object) -> str | None:
    """`value` when it can be a job id, for the answer to a frame that is refused."""
    if isinstance(value, str) and re.fullmatch(JOB_ID_PATTERN, value):
        return value
    return None


def _read(name: str, text: str) -> Any:
    if name in _JSON_PROPERTIES:
        try:
            return read_json(text.encode())
        except UnicodeEncodeError as error:
            raise PayloadError("bad_field", f"{name}: is not UTF-8") from error
        except PayloadError as error:
            raise PayloadError(error.code, f"{name}: {error}") from error
    if name in _NUMBER_PROPERTIES:
        return _read_number(name, text)
    return text


def _read_number(name: str, text: str) -> float | int:
    try:
        number = float(text)
    except ValueError as error:
        raise PayloadError("bad_field", f"{name}: must be a number") from error
    if not math.isfinite(number):
        raise PayloadError("bad_field", f"{name}: must be a finite number")
    return int(number) if number.is_integer() and name == "max_attempts" else number


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _check_value(value: Any, left: int) -> None:
    if isinstance(value, float) and not math.isfinite(value):  # 1e999 is valid JSON
        raise PayloadError("bad_json", "has a number that is too large")
    if not isinstance(value, dict | list):
        return
    if left == 0:
        raise PayloadError("bad_json", f"is nested deeper than {MAX_DEPTH} levels")
    for inner in value.values() if isinstance(value, dict) else value:
        _check_value(inner, left - 1)


def _take_values(value: Any, left: int) -> int:
    """What is left of a number of values after those in `value`; negative where it has more."""
    if isinstance(value, dict | list):
        left -= len(value)
        for inner in value.values() if isinstance(value, dict) else value:
            if left < 0:
                break
            left = _take_values(inner, left)
    return left


def _explain(error: ValidationError) -> str:
    if error.error_count() > _MAX_LISTED:
        return f"frame: has {error.error_count()} mistakes"
    problems = error.errors(include_input=False, include_url=False, include_context=False)
    return "; ".join(
        f"{_path(problem['loc'])}: "
        + ("unknown field" if problem["type"] == "extra_forbidden" else problem["msg"])
        for problem in problems[:_MAX_PROBLEMS]
    )


def _path(parts: tuple[int | str, ...]) -> str:
    # A key can hold a lone surrogate, which no answer could be encoded with.
    path = ".".join(str(part)[:64] for part in parts) or "frame"
    return path.encode("utf-8", "backslashreplace").decode()
