"""An unexpected error while an image is fetched ends one job; the others get theirs."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from engine.images import DEFAULT_LIMITS
from schemas.job import JobStatus
from service.intake.downloads import Downloads
from tests.boundaries.bench import (
    SECRET,
    Bench,
    assert_internal,
    boundary_bench,
    check_log,
    names,
)
from tests.support.factories import make_image

ODD_URL, EVEN_URL = "http://odd.example/", "http://even.example/"
SEEN = make_image(7)


class Images:
    """Every URL leads to the same image; the odd one breaks in a way of its own."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.odd_image: Any = SEEN

    async def fetch(self, url: str) -> bytes:
        if url != ODD_URL:
            return SEEN
        if self.error is not None:
            raise self.error
        image: bytes = self.odd_image
        return image


@pytest.fixture
def images() -> Images:
    return Images()


@pytest.fixture
async def bench(tmp_path: Path, images: Images) -> AsyncIterator[Bench]:
    async with boundary_bench(tmp_path) as made:
        remote = Downloads(
            images, made.store, made.deliver, made.line, DEFAULT_LIMITS, 2, made.clock
        )
        made.downloads.part = remote
        running = asyncio.create_task(remote.run())
        try:
            yield made
            assert not running.done(), "fetching has ended"
        finally:
            running.cancel()
            await asyncio.wait([running])


async def odd_fails_alone(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(4):  # twice as many as may wait: each gives its place back
        bench.send(f"odd-{number}", frame_url=ODD_URL)
        await bench.until_status(f"odd-{number}", JobStatus.FAILED)
        assert_internal(bench.statuses(f"odd-{number}")[0], JobStatus.FAILED)
    bench.send("even", frame_url=EVEN_URL)
    await bench.until(lambda: len(bench.line) == 1)
    check_log(caplog)


@pytest.mark.parametrize("error", [RuntimeError(SECRET), KeyError(SECRET), AssertionError(SECRET)])
async def test_fetch_that_breaks_fails_one_job(
    bench: Bench, images: Images, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    images.error = error
    await odd_fails_alone(bench, caplog)


async def test_image_that_is_no_bytes_fails_one_job(
    bench: Bench, images: Images, caplog: pytest.LogCaptureFixture
) -> None:
    images.odd_image = None
    await odd_fails_alone(bench, caplog)


async def test_image_that_cannot_be_kept_fails_one_job(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.store.break_at("add_image", names(*(f"odd-{number}" for number in range(4))))
    await odd_fails_alone(bench, caplog)
