"""A client without manners: MQTT packets as bytes, for 3.1.1 and 5.

A library refuses to send what its author thought wrong, and that is what a hostile sender sends; it
also refuses to read some of it. Only what the corpus needs is here; the broker is a real one.
"""

import asyncio
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Self

Protocol = Literal["3.1.1", "5"]
#: Topic, payload, and whether the message was retained.
OnMessage = Callable[[str, bytes, bool], None]

_PUBLISH, _PUBACK, _PUBREC, _PUBCOMP, _SUBACK, _PINGRESP = 3, 4, 5, 7, 9, 13
_PUBREL = b"\x62\x02"
_PINGREQ = b"\xc0\x00"
_FAILURE = 0x80  # reason codes from here on


class RefusedError(Exception):
    """The broker refused a message, or hung up on its sender."""


def varint(number: int) -> bytes:
    """A variable byte integer."""
    encoded = bytearray()
    while True:
        number, digit = divmod(number, 128)
        encoded.append(digit | (128 if number else 0))
        if not number:
            return bytes(encoded)


def text(value: str | bytes) -> bytes:
    """A string with its length; bytes may be no UTF-8."""
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("!H", len(data)) + data


def packet(kind: int, body: bytes) -> bytes:
    """A packet; `kind` is the whole first byte."""
    return bytes([kind]) + varint(len(body)) + body


def user_property(name: str | bytes, value: str | bytes) -> bytes:
    return b"\x26" + text(name) + text(value)


def response_topic(topic: str | bytes) -> bytes:
    return b"\x08" + text(topic)


def correlation_data(data: bytes) -> bytes:
    return b"\x09" + text(data)


def message_expiry(seconds: int) -> bytes:
    return b"\x02" + struct.pack("!I", seconds)


def payload_format(indicator: int) -> bytes:
    return b"\x01" + bytes([indicator])


def content_type(value: str | bytes) -> bytes:
    return b"\x03" + text(value)


def topic_alias(alias: int) -> bytes:
    return b"\x23" + struct.pack("!H", alias)


def subscription_identifier(number: int) -> bytes:
    return b"\x0b" + varint(number)


@dataclass(frozen=True, slots=True)
class Publication:
    """What a PUBLISH packet says; nothing of it is checked."""

    topic: bytes
    payload: bytes = field(repr=False)
    qos: int = 0
    retain: bool = False
    dup: bool = False
    properties: bytes = b""  #: encoded; MQTT 5 only

    def encode(self, protocol: Protocol, packet_id: int) -> bytes:
        head = _PUBLISH << 4 | self.dup << 3 | self.qos << 1 | self.retain
        body = text(self.topic)
        if self.qos:
            body += struct.pack("!H", packet_id)
        return packet(head, body + _properties(protocol, self.properties) + self.payload)


class RawClient:
    """One connection.

    Args:
        port: Of the broker, on this machine.
        protocol: What it speaks.
        name: Its client id.
        will: What the broker publishes when the client is lost.

    Attributes:
        is_lost: The broker has hung up.
    """

    def __init__(
        self, port: int, protocol: Protocol, name: str, *, will: Publication | None = None
    ) -> None:
        self.protocol: Protocol = protocol
        self._port = port
        self._name = name
        self._will = will
        self._packet_id = 0
        self._publishing: dict[int, asyncio.Future[None]] = {}
        self._pings: list[asyncio.Future[None]] = []
        self.is_lost = False

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writer.write(self._connect())
        _, body = await self._read()
        if body[1]:
            raise RefusedError(f"CONNACK says {body[1]}")
        self._listening = asyncio.create_task(self._listen(), name=f"raw client {self._name}")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self.is_lost:
            self._writer.write(b"\xe0\x00")
        await self.vanish()

    async def vanish(self) -> None:
        """Close without a word, so that the broker publishes the will."""
        self.is_lost = True
        self._listening.cancel()
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()

    async def write_last(self, data: bytes) -> None:
        """Send bytes, hang up, and return when the broker has done so too."""
        self._writer.write(data)
        self._writer.write_eof()
        await asyncio.wait([self._listening])

    def publish(self, publication: Publication) -> asyncio.Future[None]:
        """Send a message; the result is there when the broker has it, at any QoS.

        Raises:
            RefusedError: In the result: the broker does not take it.
        """
        self._packet_id = self._packet_id % 65535 + 1
        self.write(publication.encode(self.protocol, self._packet_id))
        if publication.qos not in {1, 2}:
            return self.ping()
        done = self._promise()
        if not done.done():
            self._publishing[self._packet_id] = done
        return done

    async def subscribe(self, topic_filter: str, on_message: OnMessage) -> None:
        """Get messages, with MQTT 3.1.1 only: their properties are not read."""
        assert self.protocol == "3.1.1"
        self._on_message = on_message
        self._subscribed = self._promise()
        self.write(packet(0x82, b"\x00\x01" + text(topic_filter) + b"\x01"))
        await self._subscribed

    def write(self, data: bytes) -> None:
        """Send bytes as they are."""
        if not self.is_lost:
            self._writer.write(data)

    def ping(self) -> asyncio.Future[None]:
        """The result is there when the broker has read everything sent so far.

        Raises:
            RefusedError: In the result: it has hung up.
        """
        self.write(_PINGREQ)
        done = self._promise()
        if not done.done():
            self._pings.append(done)
        return done

    def _promise(self) -> asyncio.Future[None]:
        promise: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.is_lost:
            promise.set_exception(RefusedError("the broker has hung up"))
        return promise

    def _connect(self) -> bytes:
        flags, payload = 0x02, text(self._name)
        if self._will is not None:
            flags |= 0x04 | self._will.qos << 3 | self._will.retain << 5
            payload += _properties(self.protocol, self._will.properties)
            payload += text(self._will.topic) + text(self._will.payload)
        level = 5 if self.protocol == "5" else 4
        head = text(b"MQTT") + bytes([level, flags]) + struct.pack("!H", 0)
        return packet(0x10, head + _properties(self.protocol, b"") + payload)

    async def _listen(self) -> None:
        try:
            while True:
                head, body = await self._read()
                self._take(head, body)
        except (OSError, asyncio.IncompleteReadError):
            self._lose()

    def _take(self, head: int, body: bytes) -> None:
        kind = head >> 4
        if kind == _PINGRESP:
            self._pings.pop(0).set_result(None)
        elif kind == _SUBACK:
            self._subscribed.set_result(None)
        elif kind == _PUBLISH:
            self._take_message(head, body)
        elif kind in {_PUBACK, _PUBREC, _PUBCOMP}:
            self._take_answer(kind, body)

    def _take_message(self, head: int, body: bytes) -> None:
        end = 2 + int.from_bytes(body[:2])
        start = end
        if head & 0x06:
            start += 2
            self._writer.write(b"\x40\x02" + body[end:start])
        self._on_message(body[2:end].decode(), body[start:], bool(head & 0x01))

    def _take_answer(self, kind: int, body: bytes) -> None:
        done = self._publishing.get(int.from_bytes(body[:2]))
        if done is None:  # of a packet that was written as bytes
            return
        if kind == _PUBREC and not _is_failure(body):
            self._writer.write(_PUBREL + body[:2])
            return
        del self._publishing[int.from_bytes(body[:2])]
        if _is_failure(body):
            done.set_exception(RefusedError(f"reason code {body[2]:#x}"))
        else:
            done.set_result(None)

    def _lose(self) -> None:
        self.is_lost = True
        waiting = [*self._publishing.values(), *self._pings]
        self._publishing.clear()
        self._pings.clear()
        for each in waiting:
            if not each.done():
                each.set_exception(RefusedError("the broker has hung up"))

    async def _read(self) -> tuple[int, bytes]:
        """A packet: its first byte and its body."""
        head = (await self._reader.readexactly(1))[0]
        length = shift = 0
        while True:
            digit = (await self._reader.readexactly(1))[0]
            length |= (digit & 127) << shift
            shift += 7
            if digit < 128:
                break
        return head, await self._reader.readexactly(length)


def _is_failure(body: bytes) -> bool:
    return len(body) > 2 and body[2] >= _FAILURE


def _properties(protocol: Protocol, encoded: bytes) -> bytes:
    return varint(len(encoded)) + encoded if protocol == "5" else b""
