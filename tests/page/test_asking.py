"""A picture of the reader's own: dropped, pasted or chosen, and what is asked about it."""

import asyncio
import base64
import io
from typing import Any

import pytest
from PIL import Image
from playwright.async_api import FilePayload, Page, expect

from gateway.problems import Problem
from tests.support.scripted_service import ScriptedService, picture, result, state, stats

pytestmark = pytest.mark.asyncio(loop_scope="package")

_PICTURE = picture("of the reader")
_CAPTIONED = result("http", "A green box on a lawn.")
_TRANSFER = """([content, kind]) => {
    const bytes = Uint8Array.from(atob(content), (each) => each.charCodeAt(0));
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], 'photo', { type: kind }));
    return transfer;
}"""
_PASTE = """(transfer) => dispatchEvent(
    new ClipboardEvent('paste', { clipboardData: transfer, cancelable: true }))"""


async def transfer(page: Page, content: bytes = _PICTURE, kind: str = "image/jpeg") -> Any:
    return await page.evaluate_handle(_TRANSFER, [base64.b64encode(content).decode(), kind])


def sent(service: ScriptedService, path: str) -> Any:
    return next(body for _, asked, body in service.asked if asked == path)


async def test_a_dropped_picture_is_captioned(page: Page, service: ScriptedService) -> None:
    service.answers["POST /caption"] = _CAPTIONED
    await page.goto(service.url)
    dropped = await transfer(page)
    await page.dispatch_event("main", "dragenter", {"dataTransfer": dropped})
    await expect(page.locator("body.is-dropping")).to_have_count(1)
    await page.dispatch_event("main", "drop", {"dataTransfer": dropped})
    await expect(page.locator("body.is-dropping")).to_have_count(0)
    await page.get_by_role("button", name="Caption", exact=True).click()

    await expect(page.locator(".said-about p")).to_have_text("A green box on a lawn.")
    head, _, content = sent(service, "/caption")["frame_data"].partition(",")
    assert (head, base64.b64decode(content)) == ("data:image/jpeg;base64", _PICTURE)


async def test_a_picture_that_waits_because_of_a_pause_is_said_to(
    page: Page, service: ScriptedService
) -> None:
    service.answers["POST /caption"] = held = asyncio.Event()
    service.state = state({}, stats=stats(processing=False))
    await page.goto(service.url)
    await expect(page.locator("#state")).not_to_have_text("Connecting")
    await page.evaluate(_PASTE, await transfer(page))
    await page.get_by_role("button", name="Caption", exact=True).click()
    await expect(page.locator(".asking")).to_contain_text("Paused: the picture waits")
    await page.get_by_role("button", name="Cancel").click()
    held.set()


async def test_a_pasted_picture_is_asked_and_searched(page: Page, service: ScriptedService) -> None:
    box = {"x_min": 0.1, "y_min": 0.1, "x_max": 0.4, "y_max": 0.9}
    service.answers["POST /v1/query"] = {"answer": "Green."}
    service.answers["POST /v1/detect"] = {"objects": [box, box]}
    service.answers["POST /v1/point"] = {"points": []}
    await page.goto(service.url)
    await page.evaluate(_PASTE, await transfer(page))
    said = page.locator(".said-about p").first
    for kind, words, answer in (
        ("Ask", "What colour is it?", "Green."),
        ("Detect", "box", "2 × box"),
        ("Point", "person", "No person is there."),
    ):
        await page.get_by_role("dialog").get_by_text(kind, exact=True).first.click()
        await page.locator(".asking form > input").fill(words)
        await page.keyboard.press("Enter")
        await expect(said).to_have_text(answer)
        if kind == "Detect":
            await expect(page.locator(".asking rect.mark")).to_have_count(2)
    await expect(page.locator(".asking rect.mark")).to_have_count(0)
    assert sent(service, "/v1/query")["question"] == "What colour is it?"
    assert sent(service, "/v1/detect")["object"] == "box"


async def test_a_large_picture_of_another_kind_is_made_small_and_sent_as_jpeg(
    page: Page, service: ScriptedService
) -> None:
    service.answers["POST /caption"] = _CAPTIONED
    Image.new("P", (4096, 64), 40).save(file := io.BytesIO(), "BMP")
    await page.goto(service.url)
    await page.keyboard.press("a")
    chosen = FilePayload(name="x.bmp", mimeType="image/bmp", buffer=file.getvalue())
    await page.get_by_label("Choose a picture").set_input_files(chosen)
    await page.get_by_role("button", name="Caption", exact=True).click()
    await expect(page.locator(".said-about p")).to_have_count(1)
    content = sent(service, "/caption")["frame_data"].partition(",")[2]
    with Image.open(io.BytesIO(base64.b64decode(content))) as image:
        assert (image.format, image.size) == ("JPEG", (2048, 32))


async def test_what_is_no_picture_is_said(page: Page, service: ScriptedService) -> None:
    await page.goto(service.url)
    await page.dispatch_event(
        "main", "drop", {"dataTransfer": await transfer(page, b"text", "text/plain")}
    )
    note = page.locator("dialog p[role=status]")
    await expect(note).to_have_text("photo is no picture that this browser can read.")
    await expect(page.get_by_role("button", name="Caption", exact=True)).to_be_disabled()


async def test_a_refusal_is_a_sentence_and_one_can_go_on(
    page: Page, service: ScriptedService, errors: list[str]
) -> None:
    refusal = Problem("queue_full", "the queue is full", retry_after_s=4)
    service.answers["POST /caption"] = refusal
    await page.goto(service.url)
    await page.evaluate(_PASTE, await transfer(page))
    send = page.get_by_role("button", name="Caption", exact=True)
    await send.click()
    note = page.locator("dialog p[role=status]")
    await expect(note).to_have_text("The queue is full.")
    errors[:] = [each for each in errors if "429" not in each]
    service.answers["POST /caption"] = _CAPTIONED
    await send.click()
    await expect(page.locator(".said-about p")).to_have_count(1)


async def test_progress_is_shown_and_waiting_can_be_cancelled(
    page: Page, service: ScriptedService
) -> None:
    service.answers["POST /caption"] = never = asyncio.Event()
    await page.goto(service.url)
    await page.evaluate(_PASTE, await transfer(page))
    await page.get_by_role("button", name="Caption", exact=True).click()
    note = page.locator("dialog p[role=status]")
    await expect(note).to_have_text("The model is looking at it, 1 s …")
    await page.get_by_role("button", name="Cancel").click()
    await expect(note).to_have_text("Cancelled.")
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_have_count(0)
    never.set()
