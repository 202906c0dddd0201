"""Which pictures a burst brings."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from broker.topics import Topics
from engine.sight import Seen
from service.camera import SeenFrame
from service.cameras import Cameras
from service.clock import Clock
from service.errors import FrameError
from service.settings import Settings
from service.store.store import Store
from service.trigger_settings import BurstSettings
from service.triggers.bursts import Bursts
from service.triggers.snapshots import SuspendedError
from tests.support.stages import Nobody


class ScriptedCamera:
    """Answers with these, one after the other."""

    def __init__(self, *answers: bytes | Exception) -> None:
        self.answers = list(answers)

    async def fetch(self, number: int, camera_id: str, name: str | None = None) -> bytes:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class ScriptedScrutiny:
    """Sees the sharpness in a picture's last character; `f` is flat."""

    def __init__(self, *, is_busy: bool = False) -> None:
        self.last: bytes | None = None
        self.num_looks = 0
        self._is_busy = is_busy

    def may_be_flat(self, picture: bytes) -> bool:
        return picture.endswith(b"f")

    async def look(self, pictures: Sequence[bytes], last: bytes | None) -> Sequence[Seen]:
        self.num_looks += 1
        self.last = last
        if self._is_busy:
            raise TimeoutError
        ends = [each[-1:] for each in pictures]
        return [
            Seen(0.0 if end == b"f" else float(end), 0.0, is_flat=end == b"f", problem=None)
            for end in ends
        ]


@pytest_asyncio.fixture
async def cameras(tmp_path: Path) -> Cameras:
    async with Store.open(tmp_path / "store.db") as store:
        return Cameras(Settings(), Topics("base"), store, Nobody(), Clock())


async def taken(
    camera: ScriptedCamera, scrutiny: ScriptedScrutiny, cameras: Cameras, keep: str, frames: int = 3
) -> list[tuple[bytes, int]]:
    burst = BurstSettings.model_validate({"frames": frames, "every": 0, "keep": keep})
    pictures = Bursts(camera, scrutiny, cameras).take(0, "front", burst)
    return [(each.image, each.index) async for each in pictures]


GONE = FrameError("fetch_failed", "gone")
REFUSED = SuspendedError("refused", until=1.0)


@pytest.mark.parametrize(
    ("keep", "answers", "expected"),
    [
        ("best", [b"a1", b"b3", b"c2"], [(b"b3", 2)]),
        ("best", [GONE, b"b3", b"c9"], [(b"c9", 3)]),
        ("best", [b"a1", b"bf", b"cf"], [(b"a1", 1)]),
        ("last", [b"a1", b"b3", b"c2"], [(b"c2", 3)]),
        ("last", [b"a1", b"b3", GONE], [(b"b3", 2)]),
        ("last", [b"a1", b"b3", b"cf"], [(b"b3", 2)]),
        ("all", [b"a1", b"b3", b"c2"], [(b"a1", 1), (b"b3", 2), (b"c2", 3)]),
        ("all", [GONE, b"b3", b"cf"], [(b"b3", 2)]),
        ("best", [b"a1", REFUSED], [(b"a1", 1)]),
        ("all", [b"a1", REFUSED], [(b"a1", 1)]),
    ],
)
async def test_take_brings_what_can_be_had(
    cameras: Cameras, keep: str, answers: list[bytes | Exception], expected: list[tuple[bytes, int]]
) -> None:
    assert await taken(ScriptedCamera(*answers), ScriptedScrutiny(), cameras, keep) == expected


@pytest.mark.parametrize("keep", ["best", "last", "all"])
@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ([GONE, GONE, FrameError("fetch_failed", "at last")], "at last"),
        ([REFUSED], "refused"),
        ([b"af", b"bf", b"cf"], "of one colour"),
    ],
)
async def test_take_says_why_there_is_nothing(
    cameras: Cameras, keep: str, answers: list[bytes | Exception], reason: str
) -> None:
    with pytest.raises(FrameError, match=reason):
        await taken(ScriptedCamera(*answers), ScriptedScrutiny(), cameras, keep)


async def test_take_single_picture_is_looked_at_only_where_it_may_be_flat(
    cameras: Cameras,
) -> None:
    scrutiny = ScriptedScrutiny()
    assert await taken(ScriptedCamera(b"a1"), scrutiny, cameras, "best", frames=1)
    assert scrutiny.num_looks == 0
    with pytest.raises(FrameError, match="of one colour"):
        await taken(ScriptedCamera(b"af"), scrutiny, cameras, "best", frames=1)


async def test_take_busy_machine_costs_no_picture(cameras: Cameras) -> None:
    busy = ScriptedScrutiny(is_busy=True)
    answers = (b"a9", b"b1", b"c2")
    assert await taken(ScriptedCamera(*answers), busy, cameras, "best") == [(b"c2", 3)]
    assert await taken(ScriptedCamera(b"af"), busy, cameras, "best", frames=1) == [(b"af", 1)]


async def test_take_best_is_compared_with_the_last_captioned_picture(cameras: Cameras) -> None:
    scrutiny = ScriptedScrutiny()
    cameras.admit("front", 1.0).last_frames = [SeenFrame("front/1", b"print", 1.0, 1)]
    await taken(ScriptedCamera(b"a1", b"b2", b"c3"), scrutiny, cameras, "best")
    assert scrutiny.last == b"print"


async def test_take_holds_no_more_bytes_than_it_may(cameras: Cameras) -> None:
    large = bytes(7 << 20)
    camera = ScriptedCamera(*(large + end for end in (b"1", b"2", b"3", b"4", b"5")))
    [(_, index)] = await taken(camera, ScriptedScrutiny(), cameras, "best", frames=5)
    assert (index, len(camera.answers)) == (3, 2)
