"""Sixty-four cameras with forty captions a second: the page keeps up and does not grow."""

import asyncio
import itertools

import pytest
from playwright.async_api import CDPSession, Page, expect

from tests.support.scripted_service import ScriptedService, result, state, stats, status

pytestmark = pytest.mark.asyncio(loop_scope="package")

_CAMERAS = [f"camera_{i:02}" for i in range(64)]
_A_SECOND = 40  # twice what is promised, in half the time
_WARM_UP_S, _MEASURED_S = 2, 6
_BOXES = [{"x_min": 0.1 * i, "y_min": 0.2, "x_max": 0.1 * i + 0.08, "y_max": 0.7} for i in range(4)]


async def test_the_page_does_not_grow_under_load(page: Page, service: ScriptedService) -> None:
    service.state = state({name: result(name, f"Nothing at {name}.") for name in _CAMERAS})
    await page.goto(service.url)
    await expect(page.locator(".card")).to_have_count(64)
    session = await page.context.new_cdp_session(page)
    await session.send("Performance.enable")
    numbers = itertools.count()
    await _load(service, numbers, _WARM_UP_S)
    before = await _size(session)
    await _load(service, numbers, _MEASURED_S)
    after = await _size(session)

    last = next(numbers) - 1
    newest = page.locator(".card .caption", has_text=f"Caption {last} ")
    await expect(newest).to_have_count(1, timeout=2000)  # it is not behind
    assert after["JSEventListeners"] <= before["JSEventListeners"] + 10
    assert after["Nodes"] <= before["Nodes"] * 1.05 + 100
    assert after["JSHeapUsedSize"] <= before["JSHeapUsedSize"] + 1_500_000
    assert after["Documents"] == before["Documents"]


async def _load(service: ScriptedService, numbers: "itertools.count[int]", seconds: int) -> None:
    for second in range(seconds):
        for number in itertools.islice(numbers, _A_SECOND):
            camera = _CAMERAS[number * 7 % 64]
            job = {"job_id": f"j{number}"}
            found = {"objects": [{"label": "cat", "count": 4, "boxes": _BOXES[: number % 5]}]}
            service.say("status", status(camera, "queued", **job))
            service.say("status", status(camera, "processing", **job))
            said = result(camera, f"Caption {number} of {camera}.", result=found, **job)
            service.say("status", status(camera, "completed", **job))
            service.say("result", said)
            if number % 10 == 0:
                error = {"code": "busy", "message": f"refusal {number}"}
                letter = {"camera_id": camera, "topic": "t", "error": error}
                service.say("dead_letter", letter | {"timestamp": said["timestamp"]})
            await asyncio.sleep(1 / _A_SECOND)
        if second % 2:
            service.say("stats", stats(captions_per_minute=60.0 * _A_SECOND))


async def _size(session: CDPSession) -> dict[str, float]:
    await asyncio.sleep(0.5)
    await session.send("HeapProfiler.collectGarbage")
    metrics = (await session.send("Performance.getMetrics"))["metrics"]
    return {each["name"]: each["value"] for each in metrics}
