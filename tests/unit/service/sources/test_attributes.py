"""Pictures and what is said of them on another topic."""

import asyncio
import json

import pytest

from schemas.frame import FrameOptions
from service.intake.submission import Submission
from service.sources.attributes import AttributeJoin
from tests.support.factories import NOON

SAID = {"timestamp": 1_767_268_800, "type": "motion"}


def picture(camera_id: str = "door", at: float = 10.0, **options: object) -> Submission:
    return Submission(
        camera_id=camera_id,
        options=FrameOptions.model_validate(options),
        image=b"x",
        frame_url=None,
        origin="a topic",
        content=b"x",
        arrived_at=NOON,
        arrived_monotonic=at,
    )


def metadata(found: object) -> object:
    assert isinstance(found, Submission)
    return found.options.metadata


@pytest.mark.parametrize(("at", "is_joined"), [(10.0, True), (11.9, True), (12.1, False)])
async def test_attributes_that_came_before_join_within_two_seconds(
    at: float, is_joined: bool
) -> None:
    join = AttributeJoin()
    join.tell("door", SAID, 10.0)
    found = join.join(picture(at=at, metadata={"zone": "gate"}))
    if is_joined:
        assert metadata(found) == {"zone": "gate", "attributes": SAID}
        assert isinstance(join.join(picture(at=at)), asyncio.Future)  # they are of one picture
    else:
        assert isinstance(found, asyncio.Future)


async def test_picture_waits_for_its_attributes_and_for_no_others() -> None:
    join = AttributeJoin()
    first, second = join.join(picture(metadata={"number": 1})), join.join(picture())
    assert isinstance(first, asyncio.Future)
    assert isinstance(second, asyncio.Future)
    join.tell("garden", SAID, 10.5)
    assert join.num_waiting == 2
    join.tell("door", SAID, 10.5)
    assert metadata(await first) == {"number": 1, "attributes": SAID}
    assert not second.done()


async def test_picture_that_waits_in_vain_comes_alone_and_the_next_does_not_wait() -> None:
    join = AttributeJoin(within_s=0.01)
    waiting = join.join(picture())
    assert isinstance(waiting, asyncio.Future)
    assert metadata(await waiting) == {}
    assert metadata(join.join(picture())) == {}
    join.tell("door", SAID, 20.0)  # there are some again
    assert metadata(join.join(picture(at=20.0))) == {"attributes": SAID}
    assert isinstance(join.join(picture(at=21.0)), asyncio.Future)


async def test_only_so_many_pictures_wait() -> None:
    join = AttributeJoin()
    found = [join.join(picture(f"camera-{number}")) for number in range(100)]
    assert sum(isinstance(each, asyncio.Future) for each in found) == join.num_waiting == 8


async def test_attributes_that_are_too_much_are_left_out() -> None:
    join = AttributeJoin()
    join.tell("door", {"x": "y" * 9000}, 10.0)
    assert metadata(join.join(picture(metadata={"zone": "gate"}))) == {"zone": "gate"}


async def test_invented_cameras_cost_bounded_memory() -> None:
    join = AttributeJoin()
    for number in range(5000):
        join.tell(f"camera-{number}", SAID, 10.0)
    assert len(join._early) <= 1024


async def test_cancelled_wait_harms_nobody() -> None:
    join = AttributeJoin()
    waiting = join.join(picture())
    assert isinstance(waiting, asyncio.Future)
    waiting.cancel()
    join.tell("door", SAID, 10.0)
    assert join.num_waiting == 0
    assert json.dumps(SAID)
