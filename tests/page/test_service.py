"""The service beside the cameras: queue, charts, refusals, orders, a connection that is lost."""

import asyncio

import pytest
from playwright.async_api import Page, expect

from gateway.problems import Problem
from tests.support.scripted_service import (
    ScriptedService,
    moment,
    result,
    scripted_service,
    state,
    stats,
    status,
)

pytestmark = pytest.mark.asyncio(loop_scope="package")

_QUEUED = {"critical": 0, "high": 0, "normal": 2, "low": 1}


async def test_the_queue_moves_between_two_counts(page: Page, service: ScriptedService) -> None:
    service.state = state({}, stats=stats(queue_by_priority=_QUEUED, queue_size=3))
    await page.goto(service.url)
    figures = page.get_by_label("Queue", exact=True).locator("dd")
    await expect(figures).to_have_text(["0", "0", "2", "1"])
    service.say("status", status("a", "queued", job_id="1", priority="critical"))
    service.say("status", status("a", "queued", job_id="2", priority="low"))
    service.say("status", status("a", "processing", job_id="1", priority="critical"))
    service.say("status", status("a", "dropped", job_id="2", priority="low"))
    service.say("status", status("a", "processing", job_id="of before", priority="normal"))
    await expect(figures).to_have_text(["0", "0", "1", "1"])
    await expect(page.locator("#figures")).to_have_text("2 waiting · 12 a minute · 0.42 s")
    service.say("stats", stats())
    await expect(figures).to_have_text(["0", "0", "0", "0"])
    await expect(page.get_by_label("In work")).to_contain_text("Nothing at the moment.")


async def test_rates_machine_and_ends_are_shown(page: Page, service: ScriptedService) -> None:
    memory = {"total": 12_000_000_000, "used": 6_000_000_000, "free": 6_000_000_000}
    gpu = {"id": 0, "name": "GPU", "memory": memory, "temperature": 61, "power": 128.4}
    metrics = {"cpu": 37.0, "memory": 52.0, "device": "cuda:0", "loaded_models": []}
    gpus = [gpu | {"utilization": {"gpu": 72, "memory": 1}}]
    counts = {"status_counts": {"completed": 1318, "dropped": 13}, "dropped": {"queue_full": 13}}
    service.state = state({}, metrics=metrics | {"gpus": gpus}, stats=stats(**counts))
    await page.goto(service.url)
    await expect(page.get_by_label("Machine")).to_contain_text("72 %, 61 °C, 128 W")
    await expect(page.get_by_label("Machine")).to_contain_text("6.0 GB of 12.0 GB")
    await expect(page.get_by_label("Frames")).to_contain_text("1,318")
    await expect(page.get_by_label("Frames")).to_contain_text("queue full 13")
    for _ in range(3):
        service.say("result", result("door", "A cat."))
    chart = page.get_by_role("img", name="3 captions in the last ten minutes")
    await expect(chart).to_be_visible(timeout=3000)
    assert "V" in (await chart.locator("path").get_attribute("d") or "")


async def test_charts_begin_with_what_was_before(page: Page, service: ScriptedService) -> None:
    before = [result("door", "A cat.", timestamp=moment(seconds_ago=s)) for s in (30, 31, 500)]
    service.answers["GET /captions"] = {"items": before, "next_before": None}
    await page.goto(service.url)
    chart = page.get_by_role("img", name="3 captions in the last ten minutes")
    await expect(chart).to_be_visible()


async def test_refusals_and_problems_are_listed_within_bounds(
    page: Page, service: ScriptedService
) -> None:
    check = {"status": "degraded", "message": "1.9 GB are free"}
    service.state = state({}, health={"status": "degraded", "checks": {"disk": check}})
    await page.goto(service.url)
    await expect(page.locator(".problems li")).to_have_text("Disk: 1.9 GB are free")
    for i in range(80):
        error = {"code": "not_an_image", "message": f"payload {i} is no image"}
        letter = {"camera_id": "door", "topic": "t", "error": error, "timestamp": moment()}
        service.say("dead_letter", letter)
    first = page.locator(".lines li").first
    await expect(first).to_contain_text("payload 79 is no image")
    await expect(first.locator("strong")).to_have_text("door · not an image")
    await expect(page.locator(".lines li")).to_have_count(50)


async def test_pause_and_resume(page: Page, service: ScriptedService) -> None:
    service.answers["POST /queue/pause"] = {"processing": False}
    service.answers["POST /queue/resume"] = {"processing": True}
    await page.goto(service.url)
    await expect(page.locator("#state")).to_have_text("Running")
    await page.keyboard.press("p")
    await expect(page.locator("#state")).to_have_text("Paused")
    await page.get_by_role("button", name="Go on (p)").click()
    await expect(page.locator("#state")).to_have_text("Running")


async def test_clear_asks_first(page: Page, service: ScriptedService, errors: list[str]) -> None:
    service.state = state({}, stats=stats(queue_by_priority=_QUEUED, queue_size=3))
    service.answers["POST /queue/clear"] = {"count": 3, "is_complete": True}
    await page.goto(service.url)
    await expect(page.locator("#figures")).to_contain_text("3 waiting")
    clear = page.get_by_role("button", name="Clear the queue")
    await clear.click()
    await expect(page.get_by_role("dialog")).to_contain_text("All 3 frames that wait")
    await page.get_by_role("button", name="No").click()
    assert not [path for _, path, _ in service.asked if path == "/queue/clear"]
    await clear.click()
    await page.get_by_role("dialog").get_by_role("button", name="Clear").click()
    await expect(page.locator("#toast")).to_have_text("3 frames were cancelled.")
    service.answers["POST /queue/clear"] = Problem("busy", "this one is being done already")
    await clear.click()
    await page.get_by_role("dialog").get_by_role("button", name="Clear").click()
    await expect(page.locator("#toast")).to_have_text("This one is being done already.")
    errors[:] = [each for each in errors if "429" not in each]


async def test_a_lost_connection_is_said_and_comes_back(page: Page, errors: list[str]) -> None:
    async with scripted_service() as service:
        port = int(service.url.rstrip("/").rpartition(":")[2])
        await page.goto(service.url)
        await expect(page.locator("#state")).to_have_text("Running")
    await expect(page.get_by_role("alert")).to_contain_text("No connection to the service since")
    await expect(page.locator("#state")).to_have_text("No connection")
    async with scripted_service(port) as service:
        service.state = state({"door": result("door", "Back again.")})
        await expect(page.get_by_role("alert")).to_be_hidden(timeout=10_000)
        await expect(page.locator(".card .caption")).to_have_text("Back again.")
        await expect(page.locator("#state")).to_have_text("Running")
    errors[:] = [each for each in errors if "ERR_" not in each]


async def test_without_a_token_the_login_is_shown(
    page: Page, service: ScriptedService, errors: list[str]
) -> None:
    await page.goto(service.url)
    await expect(page.locator("#state")).to_have_text("Running")
    service.answers["POST /queue/pause"] = Problem("unauthorized", "a token is needed")
    service.answers["GET /login"] = {"a form": "of the gateway"}
    service.answers["GET /favicon.ico"] = {}
    await page.keyboard.press("p")
    await page.wait_for_url("**/login")
    errors[:] = [each for each in errors if "401" not in each]


async def test_a_stream_without_a_token_leads_to_the_login_too(
    page: Page, service: ScriptedService, errors: list[str]
) -> None:
    needed = Problem("unauthorized", "a token is needed")
    service.answers |= {"GET /events": needed, "GET /cameras": needed}
    service.answers |= {"GET /login": {"a form": "of the gateway"}, "GET /favicon.ico": {}}
    await page.goto(service.url)
    await page.wait_for_url("**/login")
    errors[:] = [each for each in errors if "401" not in each]


async def test_a_page_that_nobody_sees_gives_its_connection_back(
    page: Page, service: ScriptedService
) -> None:
    hide = """is => {
        Object.defineProperty(document, 'hidden', { value: is, configurable: true });
        document.dispatchEvent(new Event('visibilitychange'));
    }"""
    await page.clock.install()
    await page.goto(service.url)
    await expect(page.locator("#state")).to_have_text("Running")
    await page.evaluate(hide, arg=True)
    await page.clock.fast_forward(31_000)
    await asyncio.wait_for(service.nobody_listens.wait(), 5)
    service.state = state({"door": result("door", "While away.")})
    await page.evaluate(hide, arg=False)
    await expect(page.locator(".card .caption")).to_have_text("While away.")


async def test_it_works_below_any_path(page: Page) -> None:
    async with scripted_service(below="/api/hassio_ingress/x") as service:
        service.state = state({"door": result("door", "A cat.")})
        service.answers["POST /queue/pause"] = {"processing": False}
        await page.goto(service.url)
        await expect(page.get_by_role("img", name="A cat.")).to_be_visible()
        await page.keyboard.press("p")
        await expect(page.locator("#state")).to_have_text("Paused")
        await page.goto("about:blank")


async def test_the_theme_is_kept(page: Page, service: ScriptedService) -> None:
    async def surface() -> str:
        return str(await page.evaluate("getComputedStyle(document.body).backgroundColor"))

    await page.goto(service.url)
    light = await surface()
    await page.emulate_media(color_scheme="dark")
    dark = await surface()
    assert dark != light
    await page.keyboard.press("t")
    await expect(page.locator("#toast")).to_have_text("Light.")
    assert await surface() == light
    await page.reload()
    assert await surface() == light


async def test_a_screen_reader_finds_its_way_and_is_not_talked_down(
    page: Page, service: ScriptedService
) -> None:
    service.state = state({"door": result("door", "Nobody.")})
    await page.goto(service.url)
    for role in ("banner", "main", "complementary", "search", "navigation"):
        await expect(page.get_by_role(role)).to_have_count(1)
    unnamed = "[...document.querySelectorAll('button, a, input')].filter((each) => !each.ariaLabel"
    unnamed += " && !each.textContent.trim()).map((each) => each.outerHTML)"
    assert await page.evaluate(unnamed) == []
    for i in range(20):
        service.say("result", result("door", f"Alarm {i}!", priority="critical"))
        await asyncio.sleep(0.02)
    await expect(page.locator(".card .caption")).to_have_text("Alarm 19!")
    said = await page.locator("#said").text_content()
    assert said is not None
    assert said.startswith("door: Alarm ")
    assert said != "door: Alarm 19!"  # once in ten seconds
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the cameras")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator("main")).to_be_focused()
