"""A client that sends frames and remembers everything that is said below a base topic."""

import asyncio
import base64
import json
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

PATIENCE_S = 40.0  # generous: a loaded machine is no failure


@dataclass(frozen=True, slots=True)
class Heard:
    """One message."""

    topic: str
    payload: bytes
    retain: bool
    user: dict[str, str]
    correlation_data: bytes | None

    @property
    def json(self) -> Any:
        return json.loads(self.payload)

    def has(self, fields: dict[str, Any]) -> bool:
        """Whether it is an object with these fields; what clears a retained topic is none."""
        return bool(self.payload) and fields.items() <= plain_fields(self.json).items()


class Conversation:
    """Speaks MQTT 5 to a broker on 127.0.0.1.

    Args:
        port: Of the broker.
        base: Base topic of the service.
    """

    def __init__(self, port: int, base: str) -> None:
        self.base = base
        self.heard: list[Heard] = []
        self._client = aiomqtt.Client("127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V5)
        self._stack = AsyncExitStack()
        self._news = asyncio.Condition()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self._client)
        await self._client.subscribe(f"{self.base}/#", qos=1)
        listener = asyncio.create_task(self._listen(), name="conversation")
        self._stack.push_async_callback(asyncio.wait, {listener})
        self._stack.callback(listener.cancel)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def send(
        self,
        camera_id: str,
        payload: bytes | dict[str, Any],
        *,
        retain: bool = False,
        topic: str | None = None,
        user: dict[str, str] | None = None,
        **properties: Any,
    ) -> None:
        """Publish a frame: bytes as they are, or a JSON document."""
        sent = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        for name, value in properties.items():
            setattr(sent, name, value)
        if user:
            sent.UserProperty = list(user.items())
        content = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        await self._client.publish(
            topic or f"{self.base}/{camera_id}/frame",
            content,
            qos=1,
            retain=retain,
            properties=sent,
        )

    async def until_online(self) -> None:
        """Wait until the service says that it hears, whatever was retained of an earlier run."""
        async with asyncio.timeout(60), self._news:
            while not any(each.payload == b"online" for each in self.said("bridge/state")):
                await self._news.wait()

    async def wait_for(self, name: str, **fields: Any) -> Heard:
        """The first message below the base on `name` whose JSON has these fields, now or soon."""
        return (await self.wait_for_many(1, name, **fields))[0]

    async def wait_for_many(self, count: int, name: str, **fields: Any) -> list[Heard]:
        """As `wait_for`, but several."""
        async with asyncio.timeout(PATIENCE_S), self._news:
            while len(found := self.said(name, **fields)) < count:
                await self._news.wait()
        return found

    def said(self, name: str, **fields: Any) -> list[Heard]:
        """What was said on `name` with these fields, so far."""
        topic = f"{self.base}/{name}"
        return [
            each for each in self.heard if each.topic == topic and (not fields or each.has(fields))
        ]

    def statuses(self, camera_id: str, job_id: str | None = None) -> list[str]:
        """The statuses of a camera, or of one job, in the order in which they came."""
        return [
            each.json["status"]
            for each in self.said(f"{camera_id}/status")
            if job_id is None or each.json["job_id"] == job_id
        ]

    async def _listen(self) -> None:
        async for message in self._client.messages:
            found = vars(message.properties) if message.properties else {}
            assert isinstance(message.payload, bytes)
            heard = Heard(
                topic=str(message.topic),
                payload=message.payload,
                retain=bool(message.retain),
                user=dict(found.get("UserProperty", [])),
                correlation_data=found.get("CorrelationData"),
            )
            async with self._news:
                self.heard.append(heard)
                self._news.notify_all()


def plain_fields(document: dict[str, Any]) -> dict[str, Any]:
    """Texts and numbers of a document, and its error's code as `code`."""
    plain = {name: value for name, value in document.items() if not isinstance(value, dict | list)}
    return {**plain, "code": (document.get("error") or {}).get("code")}


def json_frame(image: bytes, **fields: Any) -> dict[str, Any]:
    """The JSON form of a frame."""
    return {"frame_data": base64.b64encode(image).decode(), **fields}
