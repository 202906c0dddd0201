"""Frames of one camera on their way: sent one after the other, and followed to their ends."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import aiomqtt
import typer
from pydantic import ValidationError

from broker.topics import ONLINE, Topics
from schemas.requests.jobs import JOB_GET, JobDetail
from schemas.result import ResultDocument
from schemas.status import BridgeInfo, StatusDocument
from service.commands.ask import ask
from service.commands.client import Client, connect_newest, retained
from service.commands.display import Display
from service.commands.outcomes import Outcomes
from service.errors import ServiceError
from service.settings import MqttSettings

_PATIENCE_S = 10.0  # for the caption of a frame that came before


class Sending:
    """Frames of one camera, sent one after the other.

    Args:
        mqtt: Where the broker is.
        camera: Whose frames they are.
        frames: Job id to file.
        make_frame: The payload of a frame from its own fields.
        every_s: Pause between two.
    """

    def __init__(
        self,
        mqtt: MqttSettings,
        camera: str,
        frames: dict[str, Path],
        make_frame: Callable[..., bytes],
        every_s: float,
    ) -> None:
        self._mqtt = mqtt
        self._camera = camera
        self._frames = frames
        self._make_frame = make_frame
        self._every_s = every_s
        self._topics = Topics(mqtt.base_topic)
        self._display = Display(len(frames))
        self._outcomes = Outcomes(frames, self._display)
        self._may_ask = True

    async def send_all(self) -> None:
        """Send them and print their job ids.

        Raises:
            ServiceError: The broker refused one, or nobody listens.
        """
        with self._display:
            async with connect_newest(self._mqtt) as (client, _):
                async for job_id in self._send(client):
                    self._display.advance()
                    typer.echo(job_id)
        self._sum_up()

    async def send_and_wait(self, timeout_s: float) -> str:
        """Send them, print their captions, and return what failed; empty: nothing.

        Raises:
            ServiceError: As `send_all`; or no service is online.
        """
        topics, camera = self._topics, self._camera
        with self._display:
            async with connect_newest(self._mqtt) as (client, _):
                await self._check_online(client)
                of_camera = (topics.status(camera), topics.caption(camera))
                heard = (*of_camera, topics.bridge("state"), topics.bridge("info"))
                await client.subscribe([(topic, 1) for topic in heard])
                following = asyncio.create_task(self._follow(client), name="outcomes")
                try:
                    async for _ in self._send(client):
                        if following.done():
                            break
                    await asyncio.wait({following}, timeout=timeout_s)
                    if following.done():
                        following.result()
                finally:
                    following.cancel()
                    await asyncio.wait({following})
        self._sum_up()
        return self._outcomes.problems(timeout_s)

    async def _check_online(self, client: aiomqtt.Client) -> None:
        topic = self._topics.bridge("state")
        state = await retained(client, topic)
        if state and state != ONLINE.decode():
            raise ServiceError(f"no service is online: {topic} says {state}; nothing was sent")

    async def _send(self, client: Client) -> AsyncIterator[str]:
        """Yield the job id of each frame that the broker has taken."""
        topic = self._topics.frame(self._camera)
        for number, (job_id, path) in enumerate(self._frames.items()):
            if number and self._every_s:
                await asyncio.sleep(self._every_s)
            try:
                image = await asyncio.to_thread(path.read_bytes)
            except OSError as error:  # gone since it was looked at
                raise ServiceError(f"{path}: {error.strerror}") from error
            frame = self._make_frame(
                job_id=job_id,
                timestamp=datetime.now(UTC),
                frame_data=base64.b64encode(image).decode(),
            )
            await client.publish(topic, frame, qos=1)
            if not client.is_heard:
                raise ServiceError(f"no service is online: nobody has subscribed to {topic}")
            self._outcomes.sent()
            yield job_id

    async def _follow(self, client: aiomqtt.Client) -> None:
        """Read what the service says until every frame has its end."""
        topics, camera, outcomes = self._topics, self._camera, self._outcomes
        async for message in client.messages:
            text = bytes(message.payload)
            with suppress(ValidationError):  # what is not in our shape is another program's
                if message.topic.value == topics.caption(camera):
                    outcomes.feed_result(ResultDocument.model_validate_json(text))
                elif message.topic.value == topics.status(camera):
                    status = StatusDocument.model_validate_json(text)
                    if (other := outcomes.feed_status(status)) is not None:
                        await self._ask_for(other)
                elif message.topic.value == topics.bridge("info"):
                    outcomes.feed_info(BridgeInfo.model_validate_json(text))
                elif message.topic.value == topics.bridge("state") and text != ONLINE:
                    self._display.say("The service went offline", is_lasting=True)
            if outcomes.is_complete:
                return

    async def _ask_for(self, job_id: str) -> None:
        """The caption of a frame that came before, where this account may ask for it."""
        words = {"job_id": job_id, "camera_id": self._camera}
        if not self._may_ask:
            self._outcomes.give_up_caption(job_id)
            return
        try:
            data = await ask(self._mqtt, JOB_GET, words, timeout_s=_PATIENCE_S)
            job = JobDetail.model_validate(data)
        except (ServiceError, ValidationError):
            self._may_ask = False
            self._outcomes.give_up_caption(job_id)
            return
        if job.result is not None:
            self._outcomes.feed_result(job.result)
        elif job.status.is_final:
            self._outcomes.give_up_caption(job_id)

    def _sum_up(self) -> None:
        if len(self._frames) > 1:
            typer.echo(self._outcomes.summary(), err=True)
