"""How many 100 KB frames a second are accepted and committed, beside a bare subscriber?

Both drain the same frames from a persistent session that filled while they were away, so that no
publisher slows them: first a bare paho client that only acknowledges, then the service.
"""

import argparse
import asyncio
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import aiomqtt
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from bench._load import broker, frames, service
from bench._machine import describe
from bench._standin import Pace

TOPIC = "moondream2mqtt/front/frame"
NUM_BYTES = 100_000


async def measure(num_frames: int) -> None:
    """Print both rates and their ratio."""
    pictures = frames(NUM_BYTES)
    with tempfile.TemporaryDirectory() as folder:
        async with broker() as running:
            await _subscribe(running.port, "bare")
            await fill(running.port, pictures, num_frames)
            bare = await asyncio.to_thread(_drain_bare, running.port, num_frames)
            # One start makes the session, the second drains it.
            settings = {"queue": {"capacity": num_frames}}
            async with service(running.port, Path(folder), Pace(), **settings) as child:
                await child.wait_for("ready")
                await asyncio.sleep(1.0)
                await child.end()
            await fill(running.port, pictures, num_frames)
            slow = Pace(step_s=60.0)  # the engine takes no time away
            async with service(running.port, Path(folder), slow, **settings) as child:
                said = await child.wait_for("committed", num=num_frames // 100 * 100)
                await child.end()
    committed = said["num"] / (said["at"] - said["first_at"])
    print(
        f"{num_frames} frames of 100 KB at QoS 1: bare paho subscriber {bare:.0f}/s, accepted and "
        f"committed {committed:.0f}/s, ratio {committed / bare:.2f}"
    )


async def _subscribe(port: int, client_id: str) -> None:
    """Leave a session behind that collects frames."""
    async with aiomqtt.Client(
        "127.0.0.1",
        port,
        identifier=client_id,
        protocol=aiomqtt.ProtocolVersion.V5,
        clean_start=False,
        properties=_expiry(),
    ) as client:
        await client.subscribe(TOPIC, qos=1)


async def fill(port: int, pictures: Iterator[bytes], num_frames: int) -> None:
    """Publish frames at QoS 1; the broker keeps them for whoever is away."""
    async with aiomqtt.Client("127.0.0.1", port, max_inflight_messages=50) as client:
        for _ in range(num_frames):
            await client.publish(TOPIC, next(pictures), qos=1)


def _expiry() -> Properties:
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = 3600
    properties.ReceiveMaximum = 16
    return properties


def _drain_bare(port: int, num_frames: int) -> float:
    """Frames a second of a client that does nothing with them."""
    client = paho.Client(
        CallbackAPIVersion.VERSION2,
        client_id="bare",
        protocol=MQTTProtocolVersion.MQTTv5,
        manual_ack=True,
    )
    is_done = threading.Event()
    moments: list[float] = []

    def on_message(client: paho.Client, _userdata: object, message: paho.MQTTMessage) -> None:
        moments.append(time.perf_counter())
        client.ack(message.mid, message.qos)
        if len(moments) == num_frames:
            is_done.set()

    client.on_message = on_message
    client.connect("127.0.0.1", port, clean_start=False, properties=_expiry())
    client.loop_start()
    is_done.wait(120)
    client.disconnect()
    client.loop_stop()
    return (len(moments) - 1) / (moments[-1] - moments[0])


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=2000)
    print(describe())
    asyncio.run(measure(parser.parse_args().frames))


if __name__ == "__main__":
    main()
