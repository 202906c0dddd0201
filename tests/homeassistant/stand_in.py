"""In the service's place: what it publishes, said by a test, so that every caption is known."""

import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from paho.mqtt.client import MQTTMessage

from broker.codec import validate
from broker.topics import Topics
from schemas.camera import CameraSettings
from schemas.job import JobStatus
from schemas.requests.cameras import DescribeRequest
from schemas.result import Answer, ModelInfo, Result, ResultDocument, shorten
from service.homeassistant.camera import camera_device
from service.homeassistant.messages import device_messages
from service.homeassistant.words import Words
from tests.support.client import Client

_PREFIX = "homeassistant"


class StandIn:
    """Discovery as the service makes it, and captions, pictures and answers as told.

    Args:
        port: Of the broker.
        base: Of the topics.

    Attributes:
        asked: The requests `camera/describe`.
        describe: Answers them, and may publish a caption. None: nothing does.
    """

    def __init__(self, port: int, base: str) -> None:
        self._topics = Topics(base)
        self.asked: list[dict[str, Any]] = []
        self.describe: Callable[[dict[str, Any]], dict[str, Any]] | None = None
        requests = (self._topics.request("camera/describe"),)
        self._client = Client(port, "stand-in", filters=requests, on_message=self._hear)

    def __enter__(self) -> Self:
        self._client.__enter__()
        self.is_online(True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._client.__exit__(kind, error, traceback)

    def is_online(self, online: bool) -> None:
        """What `bridge/state` says."""
        self._publish(self._topics.bridge("state"), "online" if online else "offline")

    def discover(self, camera_id: str, **settings: Any) -> None:
        """A camera with its entities; its `location` is its name."""
        device = camera_device(
            self._topics,
            Words("en"),
            camera_id,
            CameraSettings(publish_image=True, **settings),
            version="1",
            is_in_file=True,
        )
        for topic, payload in device_messages(device, _PREFIX, gone={}).items():
            self._publish(topic, payload)
        self._publish(self._topics.image(camera_id), b"\xff\xd8\xff")

    def discover_other(self, object_id: str, **message: Any) -> None:
        """An entity that is none of ours."""
        self._publish(f"{_PREFIX}/{object_id}/config", json.dumps(message))

    def publish(self, topic: str, payload: str) -> None:
        """Anything, anywhere, retained."""
        self._publish(topic, payload)

    def caption(
        self,
        camera_id: str,
        text: str,
        *,
        priority: Any = "normal",
        taken_at: datetime | None = None,
        at: datetime | None = None,
        job_id: str | None = None,
        answers: tuple[Answer, ...] = (),
    ) -> str:
        """Publish a caption of now, or of another time, and return its job id."""
        now = at or datetime.now(UTC)
        document = ResultDocument(
            job_id=job_id or str(uuid.uuid4()),
            camera_id=camera_id,
            status=JobStatus.COMPLETED,
            result=Result(
                caption=text,
                short_caption=shorten(text),
                confidence=0.9,
                answers=answers,
                processing_time=0.5,
                queue_time=0.1,
                model_info=ModelInfo(
                    model="a-model",
                    revision="1",
                    device="cpu",
                    camera_id=camera_id,
                    motion_intensity=0.5,
                    priority=priority,
                ),
            ),
            error_message=None,
            timestamp=now,
            taken_at=taken_at or now,
            location=None,
            metadata={},
        )
        self._publish(self._topics.caption(camera_id), document.model_dump_json())
        return document.job_id

    def _publish(self, topic: str, payload: bytes | str) -> None:
        self._client.paho.publish(topic, payload, qos=1, retain=True)

    def _hear(self, message: MQTTMessage) -> None:
        request = json.loads(message.payload)
        self.asked.append(request)
        if self.describe is not None:
            question = {name: each for name, each in request.items() if name != "transaction"}
            validate(DescribeRequest, question)
            answer = {**self.describe(request), "transaction": request.get("transaction")}
            topic = self._topics.response("camera/describe")
            self._client.paho.publish(topic, json.dumps(answer), qos=1)
