"""Senders that are broken or mean no good: each is answered, none takes the others down."""

import hashlib
import sys
from collections import Counter
from pathlib import Path

import psutil
import pytest

from tests.acceptance.cameras import Frame, pictures
from tests.acceptance.checker import until
from tests.acceptance.client import Client
from tests.acceptance.conftest import Scene
from tests.acceptance.payloads import malformed
from tests.images_corpus import Specimen, corpus

_MIB = 1 << 20
_NUM_PAYLOADS = 5000
_VALID_EVERY = 50
_LIMIT = 4 << 20  # of an image, by default
_BROKER_LIMIT = 6 * _MIB


async def test_malformed_payloads_are_answered_one_by_one(scene: Scene) -> None:
    cameras, checker, service = scene.cameras, scene.checker, scene.service
    service.settings["logging"] = {"level": "error"}
    await service.start()
    await cameras.send_many(20)
    await cameras.all_accepted()
    await checker.all_ended()
    memory = _memory(service.pid)

    sent: Counter[str] = Counter()
    for number, payload in enumerate(malformed(1, _NUM_PAYLOADS)):
        topic = f"{cameras.base}/{payload.level}/frame"
        cameras.publish_raw(topic, payload.data, list(payload.options))
        sent[hashlib.sha256(payload.data).hexdigest()] += 1
        if number % _VALID_EVERY == 0:
            cameras.send(cameras.frame())
        if number % 500 == 499:  # not more than the broker would queue
            await cameras.all_accepted()
    await cameras.all_accepted()
    num_valid = 20 + _NUM_PAYLOADS // _VALID_EVERY
    verdict = await checker.all_ended()
    assert verdict.is_kept, verdict
    assert verdict.finals == {"completed": num_valid}

    # Each was refused with a dead letter, or was a frame after all and has an end of its own.
    await until(lambda: len(checker.dead_letters) + checker.num_strangers >= _NUM_PAYLOADS)
    assert len(checker.dead_letters) + checker.num_strangers == _NUM_PAYLOADS
    refused = Counter(letter["sha256"] for letter in checker.dead_letters)
    assert refused <= sent
    assert len(checker.dead_letters) > _NUM_PAYLOADS / 2
    has_camera = sum(letter["camera_id"] is not None for letter in checker.dead_letters)
    await until(lambda: checker.num_rejected >= has_camera)
    assert checker.num_rejected == has_camera
    codes = Counter(letter["error"]["code"] for letter in checker.dead_letters)
    assert "internal" not in codes, codes
    assert service.num_starts == 1
    assert service.is_running
    assert _memory(service.pid) - memory < 32 * _MIB


async def test_image_bombs_are_refused_or_read_right(scene: Scene) -> None:
    cameras, checker, service = scene.cameras, scene.checker, scene.service
    service.plan = service.plan.with_decoder()
    service.settings["dedupe"] = {"window": 0}
    await service.start()
    cameras.send(cameras.picture("first", next(pictures(99)), None))
    await checker.all_ended()
    [engine] = psutil.Process(service.pid).children()
    memory = _memory(service.pid), _memory(engine.pid)

    specimens = corpus()
    assert len(specimens) >= 200
    frames: list[tuple[Specimen, Frame]] = []
    for specimen in specimens:
        caption = None if specimen.size is None else "{}x{}".format(*specimen.size)
        frame = cameras.picture("bomb", specimen.data, caption)
        frames.append((specimen, cameras.send(frame)))
        if len(frames) % 20 == 0:
            await cameras.all_accepted()
            await checker.all_ended()
    await cameras.all_accepted()
    verdict = await checker.all_ended()
    assert verdict.is_kept, verdict
    for specimen, frame in frames:
        _check_end(scene, specimen, frame)
    # Nobody died of it.
    assert service.num_starts == 1
    assert [child.pid for child in psutil.Process(service.pid).children()] == [engine.pid]
    assert _peak(service.pid) - memory[0] < 64 * _MIB
    assert _peak(engine.pid) - memory[1] < 160 * _MIB


def _check_end(scene: Scene, specimen: Specimen, frame: Frame) -> None:
    end = scene.checker.status_of(frame.job_id)
    assert end is not None
    if not specimen.codes:
        assert end["status"] == "completed", (specimen.name, end)
    elif end["status"] == "completed":
        assert "maybe" in specimen.codes, specimen.name
    else:
        assert end["status"] in {"rejected", "failed"}, (specimen.name, end)
        allowed = specimen.codes | {"empty_payload", "payload_too_large", *_WRAPPINGS}
        assert end["error"]["code"] in allowed, (specimen.name, end)


# What does not begin like an image is taken for one of the other forms first.
_WRAPPINGS = frozenset({"not_an_image", "bad_base64", "bad_field", "bad_json"})


@pytest.mark.parametrize(
    ("num_bytes", "status", "code"),
    [
        (1, "rejected", "not_an_image"),
        (_LIMIT - 1, "completed", None),
        (_LIMIT, "completed", None),
        (_LIMIT + 1, "rejected", "payload_too_large"),
    ],
)
async def test_size_of_an_image_is_held_to_its_limit(
    scene: Scene, num_bytes: int, status: str, code: str | None
) -> None:
    image = next(pictures(1)).ljust(num_bytes, b"\0")[:num_bytes]
    await scene.service.start()
    frame = scene.cameras.send(scene.cameras.picture("size", image, None))
    await scene.cameras.all_accepted()
    assert (await scene.checker.all_ended()).is_kept
    end = scene.checker.status_of(frame.job_id)
    assert end is not None
    assert end["status"] == status
    assert (end["error"] or {}).get("code") == code


async def test_payload_above_the_brokers_limit_harms_only_its_sender(scene: Scene) -> None:
    cameras, service = scene.cameras, scene.service
    await service.start()
    # The camera is told the limit when it connects, and is cut off when it does not care.
    assert cameras.client.max_packet_size == _BROKER_LIMIT
    with Client(service.port, "monster") as monster:
        await until(monster.paho.is_connected)
        monster.paho.publish(f"{cameras.base}/front/frame", bytes(64 * _MIB), qos=1)
        await until(lambda: monster.num_drops > 0)
    await cameras.send_many(5)
    await cameras.all_accepted()
    verdict = await scene.checker.all_ended()
    assert verdict.is_kept, verdict
    assert verdict.finals == {"completed": 5}
    assert service.state.generation == 1


def _memory(pid: int) -> int:
    """Bytes."""
    rss: int = psutil.Process(pid).memory_info().rss
    return rss


def _peak(pid: int) -> int:
    """Bytes, at most so far; on other systems those of now."""
    if sys.platform != "linux":
        return _memory(pid)
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024
