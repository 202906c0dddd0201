"""What `/api/generate` and `/api/chat` are asked, as far as this model can do something with it.

Options, tools, templates and whatever else a client sends are left alone.
"""

from dataclasses import dataclass, field, replace
from typing import Any

from fastapi import Request

from gateway.chat.conversation import Conversation, Turn, pick
from gateway.objects import read_object
from gateway.options import GatewayOptions
from gateway.problems import Problem

MOST_PICTURES = 16
_MOST_MESSAGES = 1000


@dataclass(frozen=True, slots=True)
class Question:
    """One request."""

    conversation: Conversation  #: without its pictures
    pictures: list[str | bytes] = field(repr=False)  #: each is taken out when it is looked at
    is_streamed: bool
    is_empty: bool  #: nothing is asked: the model is to be loaded
    format: dict[str, Any] | str | None  #: a JSON schema, "json", or None for text


async def read_generate(request: Request, options: GatewayOptions) -> Question:
    """Read a prompt with its pictures.

    Raises:
        Problem: A field that counts has a bad value.
    """
    said = await read_object(request, options, MOST_PICTURES)
    prompt, system = _text(said, "prompt"), _text(said, "system")
    turns = [Turn("system", system), Turn("user", prompt, _pictures(said))]
    return _question(said, turns, options.images)


async def read_chat(request: Request, options: GatewayOptions) -> Question:
    """Read messages. Pictures count in messages only: LLM Vision sends them beside them again.

    Raises:
        Problem: A field that counts has a bad value.
    """
    said = await read_object(request, options, 2 * MOST_PICTURES)
    messages = said.get("messages") or []
    if not isinstance(messages, list) or len(messages) > _MOST_MESSAGES:
        raise Problem("bad_field", f"messages: must be a list of at most {_MOST_MESSAGES}")
    turns = [_turn(each, f"messages.{n}.") for n, each in enumerate(messages)]
    return _question(said, turns, options.images)


def _turn(message: Any, path: str) -> Turn:
    if not isinstance(message, dict):
        raise Problem("bad_field", f"{path.rstrip('.')}: must be an object")
    role = _text(message, "role", path)
    text = _text(message, "content", path)
    return Turn(role, text, _pictures(message, path))


def _question(said: dict[str, Any], turns: list[Turn], which: str) -> Question:
    conversation, wanted = Conversation.of(turns), _format(said)
    if wanted is not None and which == "each":
        which = "middle"  # one object is wanted
    return Question(
        replace(conversation, pictures=()),
        list(pick(conversation.pictures, which)) if conversation.pictures else [],
        said.get("stream") is not False,  # what is not said means yes
        not (conversation.pictures or conversation.system or _says_anything(turns)),
        wanted,
    )


def _says_anything(turns: list[Turn]) -> bool:
    return any(turn.text for turn in turns if turn.role != "system")


def _format(said: dict[str, Any]) -> dict[str, Any] | str | None:
    wanted = said.get("format")
    if not wanted:
        return None
    if wanted == "json":
        return "json"
    if isinstance(wanted, dict):
        return wanted
    raise Problem("bad_field", 'format: must be "json" or a JSON schema')


def _text(said: dict[str, Any], name: str, path: str = "") -> str:
    value = said.get(name)
    if value is not None and not isinstance(value, str):
        raise Problem("bad_field", f"{path}{name}: must be a text")
    return value or ""


def _pictures(said: dict[str, Any], path: str = "") -> tuple[str, ...]:
    pictures = said.get("images") or []
    if not isinstance(pictures, list) or not all(isinstance(each, str) for each in pictures):
        raise Problem("bad_field", f"{path}images: must be a list of base64 texts")
    if len(pictures) > MOST_PICTURES:
        raise Problem("bad_field", f"{path}images: at most {MOST_PICTURES} pictures")
    return tuple(each for each in pictures if each)
