"""Requests as they travel over MQTT: which operation a topic names, where its answer goes.

With MQTT 5, the answer goes to the Response Topic with the Correlation Data (section 4.10), which
has to be below `<base>/response/requests/`; otherwise to `<base>/bridge/response/<operation>`.
"""

import re
from dataclasses import dataclass
from typing import Any

from broker.codec import PayloadError, read_json
from broker.handover import Publish
from broker.message import Message
from broker.pieces import split_array
from broker.topics import MAX_TOPIC_BYTES, MAX_TOPIC_LEVELS, Topics, valid_response_topic
from schemas.requests.envelope import MAX_TRANSACTION_CHARACTERS, Reply, Transaction
from schemas.requests.operation import Operation

_JSON = "application/json"
_MOST_BARE_CHARACTERS = 1024
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")  # of UTF-16: JSON can escape one, UTF-8 has none


@dataclass(frozen=True, slots=True)
class ReplyAddress:
    """Where an answer goes."""

    topic: str
    correlation_data: bytes | None
    is_refused: bool  #: the sender wanted it somewhere else, where it may not go


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request says, still unchecked."""

    content: dict[str, Any]
    transaction: Transaction


def operation_of(topic: str, topics: Topics) -> str | None:
    """The name of the operation; None for any other topic."""
    prefix = topics.request("")
    return topic[len(prefix) :] if topic.startswith(prefix) else None


def reply_address(message: Message, operation: str, topics: Topics) -> ReplyAddress:
    """Where the answer to a request goes, whatever it says."""
    wanted = message.properties.response_topic
    if wanted is not None and valid_response_topic(wanted, [topics.reply("+/#")], topics.base, ""):
        return ReplyAddress(wanted, message.properties.correlation_data, is_refused=False)
    topic = topics.response(operation)
    is_long = len(topic.encode(errors="replace")) > MAX_TOPIC_BYTES
    if is_long or topic.count("/") >= MAX_TOPIC_LEVELS or not operation.isprintable():
        topic = topics.response("unknown")
    return ReplyAddress(topic, None, is_refused=wanted is not None)


def read_request(payload: bytes, operation: Operation[Any, Any]) -> Asked:
    """Take a request apart: a JSON object, nothing, or the bare value of its one required field.

    Raises:
        PayloadError: `payload_too_large`, `bad_json` or `bad_field`.
    """
    if len(payload) > operation.max_bytes:
        raise PayloadError(
            "payload_too_large",
            f"{len(payload)} bytes; {operation.name} takes at most {operation.max_bytes}",
        )
    text = payload.strip()
    if not text:
        return Asked({}, None)
    if not text.startswith((b"{", b"\xef\xbb\xbf{")):
        return Asked(_read_bare(text, operation), None)
    content = _read_object(payload, operation)
    transaction = content.pop("transaction", None)
    if not isinstance(transaction, str | int | None) or isinstance(transaction, bool):
        raise PayloadError("bad_field", "transaction: must be a text or a whole number")
    if len(str(transaction)) > MAX_TRANSACTION_CHARACTERS:
        raise PayloadError(
            "bad_field", f"transaction: has more than {MAX_TRANSACTION_CHARACTERS} characters"
        )
    if isinstance(transaction, str) and _HALF_CHARACTER.search(transaction):
        raise PayloadError("bad_field", "transaction: has half a character")  # no answer holds it
    return Asked(content, transaction)


def _read_object(payload: bytes, operation: Operation[Any, Any]) -> dict[str, Any]:
    name = operation.array_field
    if name is None:
        content: dict[str, Any] = read_json(payload, max_bytes=operation.max_bytes)
        return content
    rest, elements = split_array(payload, name)
    content = read_json(rest)
    return content if elements is None else {**content, name: elements}


def publish_reply(reply: Reply, address: ReplyAddress) -> Publish:
    """The message that carries an answer."""
    return Publish(
        address.topic,
        reply.model_dump_json().encode(),
        qos=1,
        retain=False,
        correlation_data=address.correlation_data,
        content_type=_JSON,
    )


def _read_bare(text: bytes, operation: Operation[Any, Any]) -> dict[str, Any]:
    name = operation.bare_field
    if name is None or text.startswith(b"["):
        raise PayloadError("bad_json", "must be a JSON object")
    if len(text) > _MOST_BARE_CHARACTERS:
        raise PayloadError("bad_json", "is too long for a value without braces")
    try:
        value = text.decode()
    except UnicodeDecodeError as error:
        raise PayloadError("bad_json", f"is not UTF-8 at byte {error.start}") from error
    return {name: read_json(text) if value.startswith('"') else value}
