"""The page of one camera: what was said before, words in it, and its settings."""

import pytest
from playwright.async_api import Page, expect

from gateway.problems import Problem
from tests.support.scripted_service import ScriptedService, result, state

pytestmark = pytest.mark.asyncio(loop_scope="package")

_SETTINGS = {
    "enabled": True,
    "location": "Front",
    "prompt": None,
    "length": "normal",
    "min_priority": "low",
    "min_intensity": 0.0,
    "cooldown": 5.0,
    "similarity": None,
    "newest_wins": False,
    "publish_image": False,
    "tasks": ["caption", {"query": "Is it raining?"}],
    "webhook_url": "https://hooks.example/**********",
}


async def opened(page: Page, service: ScriptedService, *captions: str) -> None:
    items = [result("door", each, job_id=f"j{i}") for i, each in enumerate(captions)]
    service.answers["GET /captions"] = {"items": items, "next_before": "7" if items else None}
    service.answers["GET /cameras/door"] = {"settings": _SETTINGS, "origins": {"length": "changed"}}
    service.state = state({"door": result("door", "The newest.", location="Front")})
    await page.goto(f"{service.url}#/camera/door")
    await expect(page.locator("h1")).to_have_text("Front")


async def test_a_camera_that_is_forgotten_meanwhile_is_left(
    page: Page, service: ScriptedService
) -> None:
    await opened(page, service, "A cat.")
    service.say("camera", {"action": "forgotten", "camera_id": "door"})
    await expect(page.locator("#toast")).to_have_text("Front has been forgotten.")
    await expect(page.locator(".camera")).to_have_count(0)


async def test_history_shows_captions_with_pictures_and_leads_back_in_time(
    page: Page, service: ScriptedService
) -> None:
    await opened(page, service, "A cat.", "A dog.")
    entries = page.locator(".history li")
    await expect(entries).to_have_count(2)
    await expect(entries.locator(".picture:not(.is-empty)")).to_have_count(2)

    await page.get_by_role("button", name="A dog.").click()
    await expect(page.locator(".is-large .caption")).to_have_text("A dog.")
    await expect(page.get_by_role("img", name="A dog.")).to_be_visible()
    await page.get_by_role("button", name="Back to the newest").click()
    await expect(page.locator(".is-large .caption")).to_have_text("The newest.")
    await page.get_by_role("button", name="Older").click()
    await expect(entries).to_have_count(4)


async def test_history_grows_with_what_comes_but_not_while_it_is_searched(
    page: Page, service: ScriptedService
) -> None:
    await opened(page, service, "A cat.")
    await expect(page.locator(".history li")).to_have_count(1)
    service.say("result", result("door", "Just now.", job_id="new"))
    await expect(page.locator(".history li button").first).to_have_text("Just now.")

    await page.keyboard.press("/")
    await page.keyboard.type("cat")
    await expect(page.locator(".history li")).to_have_count(1)
    service.say("result", result("door", "Later.", job_id="newer"))
    await expect(page.locator(".is-large .caption")).to_have_text("Later.")
    await expect(page.locator(".history li button")).to_have_text("A cat.")


async def test_no_match_and_no_store_are_said(
    page: Page, service: ScriptedService, errors: list[str]
) -> None:
    await opened(page, service)
    note = page.get_by_label("Captions", exact=True).get_by_role("status")
    await expect(note).to_have_text("No captions yet.")
    await page.get_by_role("searchbox", name="Search in captions").fill("unicorn")
    await expect(note).to_have_text("No caption has these words.")
    service.answers["GET /captions"] = Problem("store", "the store does not work at the moment")
    await page.get_by_role("searchbox", name="Search in captions").fill("horse")
    await expect(note).to_have_text("The store does not work at the moment.")
    errors[:] = [each for each in errors if "503" not in each]


async def test_pictures_that_are_gone_and_captions_to_come_are_known(
    page: Page, service: ScriptedService
) -> None:
    await opened(page, service)
    item = result("door", "A horse.") | {"has_image": False}
    service.answers["GET /captions"] = {
        "items": [item],
        "next_before": None,
        "is_complete": False,
    }
    await page.get_by_role("searchbox", name="Search in captions").fill("horse")
    note = page.get_by_label("Captions", exact=True).get_by_role("status")
    await expect(note).to_have_text("Captions of before are still being read in.")
    await expect(page.locator(".history .is-empty")).to_have_count(1)
    assert not [path for _, path, _ in service.asked if path.startswith("/jobs/")]


async def test_a_setting_is_sent_when_it_is_changed(page: Page, service: ScriptedService) -> None:
    await opened(page, service)
    saved = {"settings": _SETTINGS | {"cooldown": 9}, "origins": {"cooldown": "changed"}}
    service.answers["PATCH /cameras/door"] = saved
    cooldown = page.get_by_label("Seconds between frames", exact=True)
    await expect(cooldown).to_have_value("5")
    await cooldown.fill("9")
    await cooldown.press("Enter")
    await expect(page.get_by_text("Cooldown is saved.")).to_be_visible()
    await page.get_by_role("button", name="Seconds between frames: as the file says").click()
    await page.get_by_role("switch", name="Caption its frames").click()
    await page.get_by_label("Least priority", exact=True).select_option("high")
    await expect(page.get_by_text("Min priority is saved.")).to_be_visible()

    sent = [body for method, _, body in service.asked if method == "PATCH"]
    changes = [{"cooldown": 9}, {"cooldown": None}, {"enabled": False}, {"min_priority": "high"}]
    assert sent == changes


async def test_a_setting_that_is_refused_says_why_beside_it(
    page: Page, service: ScriptedService, errors: list[str]
) -> None:
    await opened(page, service)
    message = "cooldown: must be at most 86400"
    service.answers["PATCH /cameras/door"] = Problem("bad_field", message)
    await page.get_by_label("Seconds between frames", exact=True).fill("90000")
    await page.get_by_label("Seconds between frames", exact=True).blur()
    await expect(page.locator("#setting-cooldown-error")).to_have_text(
        "Cooldown: must be at most 86400."
    )
    errors[:] = [each for each in errors if "400" not in each]


async def test_settings_changed_elsewhere_are_seen(page: Page, service: ScriptedService) -> None:
    await opened(page, service)
    await expect(page.get_by_label("Name", exact=True)).to_have_value("Front")
    service.say("settings", {"camera_id": "door", "settings": _SETTINGS | {"location": "Door"}})
    await expect(page.get_by_label("Name", exact=True)).to_have_value("Door")
    await expect(page.locator("h1")).to_have_text("Door")


async def test_tasks_are_shown_and_changed_as_a_list(page: Page, service: ScriptedService) -> None:
    await opened(page, service)
    tasks = page.get_by_role("group", name="What is done with each frame")
    await expect(tasks.get_by_label("Task 1", exact=True)).to_have_value("caption")
    await expect(tasks.get_by_label("Task 2: question", exact=True)).to_have_value("Is it raining?")
    service.answers["PATCH /cameras/door"] = {"settings": _SETTINGS, "origins": {}}

    await tasks.get_by_role("button", name="Add a task").press("Enter")
    await expect(tasks.get_by_label("Task 3", exact=True)).to_be_focused()
    await tasks.get_by_label("Task 3", exact=True).select_option("detect")
    await expect(page.get_by_text("Not saved yet")).to_be_visible()
    await tasks.get_by_label("Task 3: what to look for").fill(" person ")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("Tasks are saved.")).to_be_visible()
    await tasks.get_by_label("Task 2", exact=True).select_option("choose")
    await tasks.get_by_label("Task 2: answers, one a line").fill("Yes\nNo, it is dry\n")
    await tasks.get_by_role("button", name="Remove task 1: Caption").press("Enter")
    await expect(tasks.get_by_role("listitem")).to_have_count(2)
    await expect(tasks.get_by_label("Task 1", exact=True)).to_be_focused()

    question = {"question": "Is it raining?", "choices": ["Yes", "No, it is dry"]}
    sent = [body for method, _, body in service.asked if method == "PATCH"]
    assert sent[0] == {"tasks": ["caption", {"query": "Is it raining?"}, {"detect": "person"}]}
    assert sent[-1] == {"tasks": [{"choose": question}, {"detect": "person"}]}


async def test_the_last_task_stays_and_what_is_refused_says_why(
    page: Page, service: ScriptedService, errors: list[str]
) -> None:
    await opened(page, service)
    message = "tasks.0.query: must be at most 2000 characters"
    service.answers["PATCH /cameras/door"] = Problem("bad_field", message)
    await page.get_by_role("button", name="Remove task 1: Caption").click()
    await expect(page.get_by_role("button", name="Remove task 1: Question")).to_be_disabled()
    await expect(page.locator("#setting-tasks-error")).to_contain_text("at most 2000 characters.")
    errors[:] = [each for each in errors if "400" not in each]


async def test_tasks_changed_elsewhere_are_seen_but_none_that_is_being_typed_is_lost(
    page: Page, service: ScriptedService
) -> None:
    await opened(page, service)
    said = {"camera_id": "door", "settings": _SETTINGS | {"tasks": [{"point": "a cat"}]}}
    wanted = page.get_by_label("Task 1: what to look for")
    service.say("settings", said)
    await expect(wanted).to_have_value("a cat")
    await wanted.press("End")
    await wanted.press_sequentially(" in boots")
    service.say("settings", {"camera_id": "door", "settings": _SETTINGS | {"location": "Door"}})
    await expect(page.locator("h1")).to_have_text("Door")
    await expect(wanted).to_have_value("a cat in boots")


async def test_a_webhook_is_shown_without_its_secret_and_sent_whole(
    page: Page, service: ScriptedService
) -> None:
    await opened(page, service)
    webhook = page.get_by_label("Webhook: address that results are sent to", exact=True)
    await expect(webhook).to_have_attribute("placeholder", "https://hooks.example/…")
    await expect(webhook).to_have_value("")
    url = "https://other.example/in?token=1"
    settings = _SETTINGS | {"webhook_url": "https://other.example/**********"}
    saved = {"settings": settings, "origins": {"webhook_url": "changed"}}
    service.answers["PATCH /cameras/door"] = saved
    await webhook.fill(url)
    await webhook.blur()
    await expect(webhook).to_have_attribute("placeholder", "https://other.example/…")
    await expect(webhook).to_have_value("")
    await page.get_by_role("button", name="Webhook: address that results are sent to").click()
    await expect(page.get_by_text("Webhook url is saved.")).to_be_visible()
    sent = [body for method, _, body in service.asked if method == "PATCH"]
    assert sent == [{"webhook_url": url}, {"webhook_url": None}]
