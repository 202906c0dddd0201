"""What the service publishes, as a subscriber of its own sees it."""

import asyncio
import json
from collections import defaultdict
from types import TracebackType
from typing import Any, Self

from paho.mqtt.client import MQTTMessage

from broker.topics import matches
from schemas.job import JobStatus
from tests.homeassistant.accounts import Account
from tests.support.checker import until
from tests.support.client import Client

PATIENCE_S = 60.0  # for what must happen; a test that passes waits no longer than it takes


class Listener:
    """Keeps the newest payload of each topic, and all statuses of each job.

    Args:
        port: Of the broker.
        base: Of the service's topics.
        prefix: Of the discovery topics.
        account: Where the broker wants one.

    Attributes:
        newest: By topic; an empty payload says that nothing is retained any more.
    """

    def __init__(
        self,
        port: int,
        base: str,
        prefix: str = "homeassistant",
        account: Account | None = None,
    ) -> None:
        self.base = base
        self.prefix = prefix
        self._birth = f"{prefix}/status"
        self.newest: dict[str, bytes] = {}
        self._statuses: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        filters = (f"{base}/#", f"{prefix}/#")
        self._client = Client(port, "listener", filters=filters, on_message=self._hear)
        if account is not None:
            self._client.paho.username_pw_set(account.username, account.password)

    async def __aenter__(self) -> Self:
        self._client.__enter__()
        await until(lambda: self._client.num_subscribed > 0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self._client.__exit__, kind, error, traceback)

    def publish(self, topic: str, payload: bytes | str) -> None:
        """Send at QoS 1 to a topic below the base."""
        self._client.paho.publish(f"{self.base}/{topic}", payload, qos=1)

    def publish_json(self, topic: str, document: dict[str, Any]) -> None:
        """Send a document there."""
        self.publish(topic, json.dumps(document))

    def document(self, topic: str) -> dict[str, Any]:
        """The newest JSON of a topic below the base; empty where there is none."""
        payload = self.newest.get(f"{self.base}/{topic}")
        document: dict[str, Any] = json.loads(payload) if payload else {}
        return document

    async def settings(self, camera_id: str, **wanted: Any) -> None:
        """Wait until a camera's retained settings are these.

        Raises:
            AssertionError: They never were.
        """
        await self._until(f"{camera_id}/settings", wanted)

    async def stats(self, **wanted: Any) -> None:
        """The same for `bridge/stats`."""
        await self._until("bridge/stats", wanted)

    async def queued(self, job_id: str) -> None:
        """Wait until a job waits."""
        await until(lambda: bool(self._statuses.get(job_id)), PATIENCE_S)

    async def end(self, job_id: str) -> dict[str, Any]:
        """The final status of a job."""

        def ends() -> list[dict[str, Any]]:
            heard = list(self._statuses[job_id])
            return [each for each in heard if JobStatus(each["status"]).is_final]

        await until(lambda: bool(ends()), PATIENCE_S)
        return ends()[0]

    async def result(self, camera_id: str, job_id: str) -> dict[str, Any]:
        """Wait for the result document of a job, unless a newer one has taken its place."""
        topic = f"{camera_id}/caption"
        await until(lambda: self.document(topic).get("job_id") == job_id, PATIENCE_S)
        return self.document(topic)

    async def ready(self) -> None:
        """Wait until the service is online and its model takes frames."""

        def is_ready() -> bool:
            is_online = self.newest.get(f"{self.base}/bridge/state") == b"online"
            model = self.document("bridge/info").get("model", {})
            return is_online and model.get("state") == "ready"

        await until(is_ready, PATIENCE_S)

    def discovered(self) -> set[str]:
        """Discovery topics that something is published on."""
        found = [topic for topic, payload in list(self.newest.items()) if payload]
        return {each for each in found if matches(each, f"{self.prefix}/#")} - {self._birth}

    async def _until(self, topic: str, wanted: dict[str, Any]) -> None:
        def seen() -> dict[str, Any]:
            document = self.document(topic)
            return {name: document.get(name) for name in wanted}

        try:
            await until(lambda: seen() == wanted, PATIENCE_S)
        except TimeoutError:
            raise AssertionError(f"{topic} has {seen()}, not {wanted}") from None

    def _hear(self, message: MQTTMessage) -> None:
        self.newest[message.topic] = bytes(message.payload)
        if message.topic.endswith("/status") and message.topic.startswith(f"{self.base}/"):
            document = json.loads(message.payload)
            self._statuses[document["job_id"]].append(document)
