"""Synthetic cameras: they show stories and publish each frame with motion as JPEG over MQTT.

What they send is the JSON form of a frame, which every MQTT version carries. The true description
travels in `metadata.truth` and comes back with the result, so that a reader can compare.
"""

import asyncio
import base64
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from uuid import uuid4

import aiomqtt

from broker.topics import Topics
from demo.scenes.scene import Place
from demo.stories import StoryFrame, tell

_JPEG_QUALITY = 85
#: What is asked where boxes are shown: the kinds of things that the drawings hold.
BOXED = ("caption", *({"detect": label} for label in ("person", "dog", "cat", "car", "package")))


@dataclass(frozen=True, slots=True)
class SyntheticCamera:
    """A camera that exists only in software."""

    camera_id: str
    location: str
    place: Place
    #: Width and height of its pictures in pixels.
    size: tuple[int, int]
    #: Of its first story; later stories count on from here.
    seed: int


def default_cameras() -> list[SyntheticCamera]:
    """The cameras of the demonstration: four places, two picture formats."""
    return [
        SyntheticCamera("front_door", "Front Door", Place.FRONT_DOOR, (640, 480), 1000),
        SyntheticCamera("driveway", "Driveway", Place.DRIVEWAY, (1280, 720), 2000),
        SyntheticCamera("backyard", "Backyard", Place.BACKYARD, (640, 480), 3000),
        SyntheticCamera("street", "Street", Place.STREET, (1280, 720), 4000),
    ]


def story(camera: SyntheticCamera, seed: int) -> Iterator[StoryFrame]:
    """The frames of one story in front of a camera; the same seed gives the same frames."""
    return tell(camera.place, camera.size, seed)


def frame_document(camera: SyntheticCamera, frame: StoryFrame) -> dict[str, object]:
    """The frame as the JSON object that goes over MQTT."""
    file = io.BytesIO()
    frame.image.save(file, "JPEG", quality=_JPEG_QUALITY)
    return {
        "camera_id": camera.camera_id,
        "frame_data": base64.b64encode(file.getvalue()).decode("ascii"),
        "motion_intensity": frame.motion_intensity,
        "timestamp": datetime.now(UTC).isoformat(),
        "location": camera.location,
        "metadata": {"truth": frame.caption},
    }


async def run_camera(
    camera: SyntheticCamera,
    host: str,
    port: int,
    base_topic: str,
    *,
    frames: int | None,
    every: float,
    username: str | None = None,
    password: str | None = None,
    on_publish: Callable[[str], None] | None = None,
) -> None:
    """Publish a camera's stories until it has sent `frames` frames.

    Args:
        camera: Which camera.
        host: Of the broker.
        port: Of the broker.
        base_topic: Frames go to `<base_topic>/<camera>/frame` with QoS 1.
        frames: How many to send; None goes on until cancelled.
        every: Seconds from one frame to the next.
        username: For the broker, when it asks for one.
        password: Its password.
        on_publish: Told the job id of each frame right before it is sent.

    Raises:
        aiomqtt.MqttError: The broker cannot be reached or refuses the camera.
    """
    topic = Topics(base_topic).frame(camera.camera_id)
    shown = _endless(camera)
    async with aiomqtt.Client(
        host,
        port,
        username=username,
        password=password,
        identifier=f"{base_topic.replace('/', '-')}-camera-{camera.camera_id}",
        protocol=aiomqtt.ProtocolVersion.V311,
    ) as client:
        for number in count() if frames is None else range(frames):
            if number:
                await asyncio.sleep(every)
            # Drawing takes tens of milliseconds; other cameras share this event loop.
            document = await asyncio.to_thread(lambda: frame_document(camera, next(shown)))
            job_id = str(uuid4())
            if on_publish is not None:
                on_publish(job_id)
            await client.publish(topic, json.dumps({**document, "job_id": job_id}), qos=1)


def _endless(camera: SyntheticCamera) -> Iterator[StoryFrame]:
    for seed in count(camera.seed):
        yield from story(camera, seed)
