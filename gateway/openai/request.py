"""What `chat/completions` is asked, read as far as this model can do something with it.

Whatever else a client sends (models, temperatures, tools) is left alone.
"""

import binascii
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from fastapi import Request

from gateway.chat.conversation import Conversation, Turn, pick
from gateway.filling.form import ANY_JSON, Form
from gateway.objects import read_with
from gateway.options import GatewayOptions
from gateway.problems import Problem
from schemas.data_uri import TEXT_HEAD

_MOST_MESSAGES = 1000
_MOST_PICTURES = 32  # of one message
_MOST_BYTES = 32 << 20  # of a body, where one picture may not be larger
_OTHER_BYTES = 1 << 20  # of a body besides its pictures

_TEXTS = frozenset({"text", "input_text"})
_PICTURES = frozenset({"image_url", "input_image"})


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One request."""

    conversation: Conversation  #: its pictures are not kept
    pictures: list[str | bytes]  #: those that are looked at; each is taken out when it is
    form: Form | None  #: what has to be filled; None: the answer is text
    is_streamed: bool
    wants_usage: bool  #: at the end of a stream


async def read_chat(request: Request, options: GatewayOptions) -> ChatRequest:
    """Read a request, a large one beside the event loop.

    Raises:
        Problem: It is too large, no JSON, or what counts in it is wrong.
    """
    one_picture = (options.max_image_bytes + 2) // 3 * 4
    max_bytes = max(_MOST_BYTES, one_picture + _OTHER_BYTES)
    read = partial(_read, which=options.images)
    return await read_with(request, max_bytes, read, may_be_empty=False)


def _read(content: dict[str, Any], which: str) -> ChatRequest:
    messages = content.get("messages")
    if not isinstance(messages, list) or not 0 < len(messages) <= _MOST_MESSAGES:
        raise _bad("messages", f"must be a list of 1 to {_MOST_MESSAGES} messages")
    turns = [_turn(message, f"messages.{n}") for n, message in enumerate(messages)]
    conversation = Conversation.of(turns)
    form = _form(content.get("response_format"), conversation.text)
    if form is not None and which == "each":
        which = "middle"  # one object is wanted
    picked = pick(conversation.pictures, which) if conversation.pictures else ()
    usage = content.get("stream_options")
    return ChatRequest(
        replace(conversation, pictures=()),
        [_decoded(picture) for picture in picked],
        form,
        content.get("stream") is True,
        isinstance(usage, dict) and usage.get("include_usage") is True,
    )


def _bad(path: str, message: str) -> Problem:
    return Problem("bad_field", f"{path}: {message}", param=path)


def _turn(message: object, path: str) -> Turn:
    if not isinstance(message, dict):
        raise _bad(path, "must be an object")
    role, content = message.get("role"), message.get("content")
    if not isinstance(role, str):
        raise _bad(f"{path}.role", "must be a text")
    if content is None or isinstance(content, str):
        return Turn(role, content or "")
    if not isinstance(content, list):
        raise _bad(f"{path}.content", "must be a text or a list of parts")
    parts = [_part(part, f"{path}.content.{n}") for n, part in enumerate(content)]
    pictures = tuple(value for is_picture, value in parts if is_picture)
    if len(pictures) > _MOST_PICTURES:
        raise _bad(f"{path}.content", f"at most {_MOST_PICTURES} pictures")
    return Turn(role, "\n".join(_texts(parts)), pictures)


def _part(part: object, path: str) -> tuple[bool, str]:
    """Whether it is a picture, and its text or address."""
    if not isinstance(part, dict):
        raise _bad(path, "must be an object")
    kind = part.get("type", "text" if "text" in part else "image_url")
    if kind in _TEXTS:
        value = part.get("text")
    elif kind in _PICTURES:
        value = part.get("image_url")
        value = value.get("url") if isinstance(value, dict) else value
    else:
        raise _bad(f"{path}.type", "only text and image_url are understood")
    if not isinstance(value, str):
        raise _bad(path, f"its {'text' if kind in _TEXTS else 'image_url.url'} is missing")
    return kind in _PICTURES, value


def _texts(parts: list[tuple[bool, str]]) -> Iterator[str]:
    """The texts; names of pictures, like `Image 1:` before each, are none."""
    for n, (is_picture, value) in enumerate(parts):
        is_name = value.rstrip().endswith(":") and n + 1 < len(parts) and parts[n + 1][0]
        if not is_picture and value.strip() and not is_name:
            yield value.strip()


def _form(wanted: object, question: str) -> Form | None:
    """What `response_format` wants to be filled.

    Raises:
        Problem: Its schema cannot be.
    """
    if wanted is None:
        return None
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if isinstance(wanted, dict) and kind == "json_schema":
        named = wanted.get("json_schema")
        named = named if isinstance(named, dict) else {}
        return Form.of(named.get("schema", ANY_JSON), question)
    if kind == "json_object":
        return Form.of(ANY_JSON, question)
    if kind in {"text", None} and isinstance(wanted, dict):
        return None
    raise _bad("response_format", "must be of the type text, json_object or json_schema")


def _decoded(picture: str) -> str | bytes:
    """The bytes of a data URI, decoded here because it takes milliseconds.

    Anything else stays as it is; what is wrong with it is said where frames are taken in.
    """
    found = TEXT_HEAD.match(picture)
    if found is None:
        return picture
    try:
        return binascii.a2b_base64(picture[found.end() :], strict_mode=True)
    except (binascii.Error, ValueError):
        return picture
