"""The grid of cameras in a browser: what is seen, what moves, what keys do."""

import asyncio

import pytest
from playwright.async_api import Page, expect

from gateway.problems import Problem
from tests.support.scripted_service import ScriptedService, moment, result, state, stats, status

pytestmark = pytest.mark.asyncio(loop_scope="package")

_BOX = {"x_min": 0.25, "y_min": 0.5, "x_max": 0.5, "y_max": 1.0}
_HOSTILE = "<img src=x onerror=\"document.title='hit'\"><script>document.title='hit'</script>"


async def opened(page: Page, service: ScriptedService, where: str = "") -> None:
    await page.goto(service.url + where)
    await expect(page.locator("#state")).to_have_text("Running")


async def test_a_camera_shows_its_picture_boxes_caption_priority_and_age(
    page: Page, service: ScriptedService
) -> None:
    objects = [{"label": "person", "count": 1, "boxes": [_BOX]}]
    said = {"objects": objects, "answers": [{"question": "Is it open?", "answer": "No"}]}
    document = result("door", "Somebody rings.", location="Front", priority="high", result=said)
    service.state = state({"door": document})
    await opened(page, service)

    card = page.locator(".card")
    await expect(card.get_by_role("heading")).to_have_text("Front")
    await expect(card.locator(".caption")).to_have_text("Somebody rings.")
    await expect(card.locator(".answered")).to_have_text("Is it open? No")
    await expect(card.locator(".chip")).to_have_text("High")
    await expect(card.get_by_role("img", name="Somebody rings.")).to_be_visible()
    box = card.locator("rect.mark")
    await expect(box).to_have_attribute("x", "80")
    await expect(box).to_have_attribute("height", "90")
    await expect(card.locator("text.name")).to_have_text("person")
    await expect(card.locator(".age")).to_have_text("2 s", timeout=4000)  # it ticks


async def test_a_result_takes_the_place_of_the_last_with_its_picture(
    page: Page, service: ScriptedService
) -> None:
    service.state = state({"door": result("door", "Nobody is there.")})
    await opened(page, service)
    await expect(page.get_by_role("img", name="Nobody is there.")).to_be_visible()

    service.say("result", result("door", "A cat."))
    service.say("result", result("door", "An old story.", is_newest=False))

    await expect(page.get_by_role("img", name="A cat.")).to_be_visible()
    await expect(page.locator(".card .caption")).to_have_text("A cat.")
    assert await page.locator(".card img").count() == 1


async def test_a_frame_pulses_and_its_way_is_said(page: Page, service: ScriptedService) -> None:
    service.state = state({"door": None})
    await opened(page, service)
    doing = page.locator(".card .doing")
    await expect(page.locator(".card .caption")).to_have_text("No caption yet")

    service.say("status", status("door", "queued"))
    await expect(doing).to_have_text("waiting")
    assert await page.evaluate("document.querySelector('.card').getAnimations().length") == 1
    service.say("status", status("door", "processing"))
    await expect(doing).to_have_text("captioning")
    await expect(page.locator(".work li")).to_have_count(1)
    error = {"code": "out_of_memory", "message": "no room"}
    service.say("status", status("door", "failed", error=error))
    await expect(doing).to_have_text("failed: out of memory")
    await expect(page.locator(".work li")).to_have_count(0)


async def test_a_picture_that_is_gone_is_asked_for_once(
    page: Page, service: ScriptedService, errors: list[str]
) -> None:
    gone = Problem("frame_gone", "the frame is no longer kept")
    service.state = state({"door": result("door", "Nobody is there.")})
    service.answers["GET /cameras/door/image.jpg"] = gone
    await opened(page, service)
    for name in ("queued", "processing", "completed"):
        service.say("status", status("door", name))
        await asyncio.sleep(0.05)

    await expect(page.locator(".card .picture.is-empty")).to_be_visible()
    assert len([path for _, path, _ in service.asked if path.endswith("image.jpg")]) == 1
    del service.answers["GET /cameras/door/image.jpg"]
    service.say("result", result("door", "A cat."))
    await expect(page.get_by_role("img", name="A cat.")).to_be_visible()
    errors[:] = [each for each in errors if "410" not in each]


async def test_cameras_come_and_go_in_order_of_their_names(
    page: Page, service: ScriptedService
) -> None:
    service.state = state({"street": None})
    await opened(page, service)
    service.say("camera", {"action": "added", "camera_id": "yard", "location": "Back yard"})
    service.say("result", result("attic", "Dust."))
    names = page.locator(".card h2")
    await expect(names).to_have_text(["attic", "Back yard", "street"])

    service.say("camera", {"action": "forgotten", "camera_id": "yard"})
    await expect(names).to_have_text(["attic", "street"])


async def test_a_name_that_frames_say_is_there_after_opening_the_page_again(
    page: Page, service: ScriptedService
) -> None:
    service.state = state({"door": result("door", "A cat.", location="Front door")})
    for camera in service.state["cameras"]:
        camera["location"] = None  # no setting says it
    await opened(page, service)
    await expect(page.locator(".card h2")).to_have_text("Front door")


async def test_what_cameras_say_is_text_and_never_markup(
    page: Page, service: ScriptedService
) -> None:
    answers = [{"question": _HOSTILE, "answer": _HOSTILE}]
    said = {"answers": answers, "objects": [{"label": _HOSTILE, "count": 1, "boxes": [_BOX]}]}
    document = result(
        "door", _HOSTILE, location=_HOSTILE, metadata={_HOSTILE: _HOSTILE}, result=said
    )
    service.state = state({"door": document}, working=[status("door", "processing")])
    service.answers["GET /captions"] = {"items": [document], "next_before": None}
    await opened(page, service)
    error = {"code": _HOSTILE, "message": _HOSTILE}
    letter = {"camera_id": None, "topic": _HOSTILE, "error": error, "timestamp": moment()}
    service.say("dead_letter", letter)
    service.say("log", {"level": _HOSTILE, **error, "timestamp": moment()})
    service.say(
        "batch",
        {
            "batch_id": "b",
            "name": _HOSTILE,
            "state": "running",
            "total": 1,
            "completed": 0,
            "failed": 0,
            "cancelled": 0,
            "progress": 0,
        },
    )
    await expect(page.locator(".lines li")).to_have_count(2)
    await expect(page.locator(".card .caption")).to_have_text(_HOSTILE)
    service.answers["GET /cameras/door"] = {"settings": {"location": _HOSTILE}, "origins": {}}
    await page.locator(".card a").click()
    await expect(page.locator(".camera .answers dd")).to_have_text([_HOSTILE, _HOSTILE])
    await expect(page.locator(".history button")).to_have_text(_HOSTILE)

    assert (
        await page.locator("main img[onerror], main script, aside img, aside script").count() == 0
    )
    assert await page.evaluate("document.title") == f"{_HOSTILE} · moondream2mqtt"


async def test_odd_documents_are_passed_over(
    page: Page, service: ScriptedService, errors: list[str]
) -> None:
    service.state = state({"door": None})
    await opened(page, service)
    service.say("result", {"camera_id": "door", "result": {}, "timestamp": "never"})
    service.say("status", {})
    service.say("unheard_of", {})
    service.say("stats", {"captions_per_minute": "many"})
    service.say("stats", stats())
    service.say("result", result("door", "Still here."))

    await expect(page.locator(".card .caption").first).to_have_text("Still here.")
    errors[:] = [each for each in errors if not each.startswith(("event ", "view "))]


async def test_keys_go_from_card_to_card_into_one_and_back(
    page: Page, service: ScriptedService
) -> None:
    service.state = state(dict.fromkeys("abcdef"))
    service.answers["GET /captions"] = {"items": [], "next_before": None}
    service.answers["GET /cameras/e"] = {"settings": {}, "origins": {}}
    service.answers["GET /cameras/f"] = {"settings": {}, "origins": {}}
    await opened(page, service)
    for key in ("ArrowRight", "ArrowDown", "ArrowRight"):  # three in a row
        await page.keyboard.press(key)
    await expect(page.locator(".card a").nth(4)).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator("h1")).to_have_text("e")
    await page.keyboard.press("ArrowRight")
    await expect(page.locator("h1")).to_have_text("f")
    await page.keyboard.press("Escape")
    await expect(page.locator(".card")).to_have_count(6)
    await page.keyboard.press("?")
    await expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_have_count(0)
    await page.keyboard.press("w")
    await expect(page.locator(".is-wall .card")).to_have_count(6)


async def test_find_narrows_the_grid_and_enter_searches_captions(
    page: Page, service: ScriptedService
) -> None:
    service.state = state({"a": result("a", "A red car."), "b": result("b", "A cat.")})
    service.answers["GET /captions"] = {
        "items": [result("b", "The cat of before.")],
        "before": None,
    }
    await opened(page, service)
    await page.keyboard.press("/")
    await page.keyboard.type("cat")
    await expect(page.locator(".card:visible")).to_have_count(1)
    await page.keyboard.press("Enter")
    await expect(page.locator(".history li a")).to_have_text("The cat of before.")
    assert ("GET", "/captions", None) in service.asked


async def test_a_wall_fits_the_screen(page: Page, service: ScriptedService) -> None:
    service.state = state({f"camera{i}": result(f"camera{i}", f"Picture {i}.") for i in range(12)})
    await page.set_viewport_size({"width": 1920, "height": 1080})
    await opened(page, service, "#/wall")

    await expect(page.locator(".is-wall .card img")).to_have_count(12)
    height = await page.evaluate("document.documentElement.scrollHeight")
    boxes = [await card.bounding_box() for card in await page.locator(".card").all()]
    assert height == 1080
    first = page.locator(".card .picture:not(.is-empty) img").first
    assert "width=640" in (await first.get_attribute("src") or "")
    assert all(box and box["width"] > 450 and box["y"] + box["height"] <= 1080 for box in boxes)


@pytest.mark.parametrize("width", [320, 390, 768, 1440])
async def test_nothing_is_wider_than_the_screen(
    page: Page, service: ScriptedService, width: int
) -> None:
    long = "x" * 300
    service.state = state({"door": result("door", long, location=long), "yard": None})
    service.answers["GET /captions"] = {"items": [result("door", long)], "next_before": None}
    service.answers["GET /cameras/door"] = {"settings": {"location": long}, "origins": {}}
    await page.set_viewport_size({"width": width, "height": 800})
    for where in ("", "#/camera/door", "#/wall"):
        await opened(page, service, where)
        await asyncio.sleep(0.1)
        assert await page.evaluate("document.documentElement.scrollWidth") <= width


async def test_reduced_motion_is_kept_to(page: Page, service: ScriptedService) -> None:
    await page.emulate_media(reduced_motion="reduce")
    service.state = state({"door": None})
    await opened(page, service)
    service.say("status", status("door", "queued"))
    service.say("status", status("door", "processing"))
    await expect(page.locator(".card .doing")).to_have_text("captioning")
    assert await page.evaluate("document.getAnimations().length") == 0
