"""Pictures in JSON that is not ours: where foreign senders put the image, and when it was taken.

Only on the operator's `sources`, never on our own topic: there a wrong field is told to its sender.
Of a foreign object nothing is used but image and time; everything else in it is left alone.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from broker.codec import PayloadError, validate
from schemas.frame import FrameOptions
from service.intake.wrapping import IncomingFrame, unwrap_image

#: Where the image is looked for; the first that holds one counts.
IMAGE_PATHS = (
    "frame_data",
    "image",
    "data",
    "frame",
    "jpeg",
    "picture",
    "snapshot",
    "payload.value.image",
    "image_b64",
)
TIME_KEYS = ("timestamp", "time", "ts")

_MOST_URL_CHARACTERS = 2048
_MILLISECONDS_FROM = 1e11  # as seconds the year 5138, as milliseconds 1973


def read_foreign(
    content: Mapping[str, Any], image_path: str | None, max_image_bytes: int
) -> IncomingFrame:
    """Take the picture out of a foreign object.

    Args:
        content: As it was read.
        image_path: The only place of the image, names or numbers with dots between; None: any of
            `IMAGE_PATHS`.
        max_image_bytes: Of the image.

    Raises:
        PayloadError: `not_an_image`: it holds none; or what is wrong with the first that looks
            like one.
    """
    paths = IMAGE_PATHS if image_path is None else (image_path,)
    problem: PayloadError | None = None
    for path, text in _texts(content, paths):
        if text.startswith(("http://", "https://")) and len(text) <= _MOST_URL_CHARACTERS:
            return IncomingFrame(_options(content), None, text)
        try:
            image = unwrap_image(text.encode("ascii"), max_image_bytes)
        except UnicodeEncodeError:
            continue  # words
        except PayloadError as error:
            problem = problem or PayloadError(error.code, f"{path}: {error}")
        else:
            return IncomingFrame(_options(content), image, None)
    raise problem or PayloadError(
        "not_an_image", f"the JSON has no image under any of {', '.join(paths)}"
    )


def read_time(value: object) -> datetime | None:
    """A moment in any of the ways foreign senders say one; None where it says none."""
    number = _number(value)
    if number is not None:
        seconds = number / 1000.0 if abs(number) >= _MILLISECONDS_FROM else number
        with suppress(OverflowError, OSError, ValueError):
            return datetime.fromtimestamp(seconds, UTC)
        return None
    if isinstance(value, str):
        with suppress(PayloadError):
            return validate(FrameOptions, {"timestamp": value}).timestamp
    return None


def _number(value: object) -> float | None:
    """A number, also as text: pydantic would read that one in its own way."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    with suppress(ValueError, OverflowError):
        return float(value)
    return None


def _options(content: Mapping[str, Any]) -> FrameOptions:
    moments = (read_time(content.get(key)) for key in TIME_KEYS)
    return FrameOptions(timestamp=next((each for each in moments if each is not None), None))


def _texts(content: Mapping[str, Any], paths: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for path in paths:
        value = _at(content, path)
        if isinstance(value, str) and value:
            yield path, value


def _at(content: Any, path: str) -> Any:
    """What stands at a path; None where nothing does."""
    for part in path.split("."):
        if isinstance(content, dict):
            content = content.get(part)
        elif isinstance(content, list) and part.isdecimal() and len(part) < 5:
            content = content[int(part)] if int(part) < len(content) else None
        else:
            return None
    return content
