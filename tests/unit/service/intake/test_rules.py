"""The rules of intake, without a store, a broker or a clock."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from schemas.camera import CameraSettings
from schemas.frame import FrameOptions, Length, Priority
from schemas.job import Job, JobStatus
from service.camera import Camera, CameraCounts, Webhook
from service.intake.rules import Candidate, Facts, ImageFacts, Plan, decide, resolve
from service.intake.submission import Submission
from service.queue.heap import Ticket
from service.settings import QueueSettings
from tests.support.factories import NOON

QUEUE = QueueSettings()


def a_ticket(job: Job) -> Ticket:
    return Ticket(
        job.key,
        job.camera_id,
        job.priority,
        0.0,
        60.0,
        job.num_bytes,
        is_asked_for=job.is_asked_for,
    )


def a_camera(camera_id: str = "door", *, last_accepted: float = -1e9, **settings: Any) -> Camera:
    return Camera(
        camera_id,
        CameraSettings(**settings),
        Webhook(),
        similarity=0.0,
        is_in_file=False,
        seen=0.0,
        counts=CameraCounts(NOON),
        last_accepted=last_accepted,
    )


def a_candidate(
    camera: Camera,
    picture: str = "picture",
    *,
    at: float = 0.0,
    is_redelivery: bool = False,
    is_asked_for: bool = False,
    url: str | None = None,
    **options: Any,
) -> Candidate:
    submission = Submission(
        camera_id=camera.camera_id,
        options=FrameOptions(**options),
        image=None if url else picture.encode(),
        frame_url=url,
        origin="a topic",
        content=picture.encode(),
        arrived_at=NOON,
        arrived_monotonic=at,
        is_redelivery=is_redelivery,
        is_asked_for=is_asked_for,
    )
    image = ImageFacts() if url else ImageFacts(picture, 64, 64)
    return Candidate(submission, camera, resolve(submission, camera, image, QUEUE))


def decided(
    candidates: Sequence[Candidate], facts: Facts | None = None, *, has_room: bool = True
) -> Plan:
    return decide(candidates, facts or Facts(), has_window=True, has_room=lambda _: has_room)


def ends(plan: Plan) -> list[tuple[str, str | None]]:
    return [(job.status.value, job.error.code if job.error else None) for job in plan.jobs.values()]


def test_twelve_frames_at_once_of_a_camera_where_the_newest_wins_leave_one() -> None:
    camera = a_camera(newest_wins=True)
    plan = decided([a_candidate(camera, f"picture {i}", job_id=f"job{i}") for i in range(12)])
    waiting = [job.job_id for job in plan.jobs.values() if job.status is JobStatus.QUEUED]
    assert waiting == ["job11"]
    assert ends(plan)[:11] == [("dropped", "conflated")] * 11
    assert list(plan.images) == ["door/job11"]


def test_newest_replaces_waiting_jobs_of_its_class_and_below_only() -> None:
    camera = a_camera(newest_wins=True)
    waiting = [
        a_ticket(a_candidate(camera, f"old {rank}", priority=rank, job_id=f"old-{rank}").job)
        for rank in ("low", "normal", "high")
    ]
    newer = a_candidate(camera, priority="normal")
    plan = decided([newer], Facts(waiting=waiting))
    assert [old.job_key for old, _ in plan.replaced] == ["door/old-low", "door/old-normal"]
    assert {job.key for _, job in plan.replaced} == {newer.job.key}


def test_replaced_picture_stands_for_no_other() -> None:
    camera = a_camera(newest_wins=True)
    old = a_candidate(camera, "first", job_id="old").job
    facts = Facts(waiting=[a_ticket(old)], contents={("door", old.content): old.key})
    frames = [a_candidate(camera, "second", job_id="a"), a_candidate(camera, "first", job_id="b")]
    plan = decided(frames, facts)
    assert ends(plan) == [("dropped", "conflated"), ("queued", None)]


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({}, "duplicate"),
        ({"metadata": {"zone": "gate"}}, "duplicate"),
        ({"prompt": "Is the gate open?"}, "queued"),
        ({"length": Length.LONG}, "queued"),
        ({"tasks": [{"detect": "person"}]}, "queued"),
    ],
)
def test_same_picture_is_a_duplicate_only_with_the_same_question(
    options: dict[str, Any], status: str
) -> None:
    camera = a_camera()
    plan = decided([a_candidate(camera), a_candidate(camera, **options)])
    assert ends(plan)[1][0] == status


def test_same_picture_of_another_camera_is_no_duplicate() -> None:
    plan = decided([a_candidate(a_camera("door")), a_candidate(a_camera("gate"))])
    assert ends(plan) == [("queued", None), ("queued", None)]


def test_frames_behind_urls_are_never_the_same_picture() -> None:
    camera = a_camera()
    plan = decided([a_candidate(camera, url="http://camera/a.jpg") for _ in range(2)])
    assert ends(plan) == [("queued", None), ("queued", None)]


def test_cooldown_counts_inside_a_group_and_spares_critical_frames() -> None:
    camera = a_camera(cooldown=10.0)
    plan = decided(
        [
            a_candidate(camera, "a", at=100.0),
            a_candidate(camera, "b", at=105.0),
            a_candidate(camera, "c", at=106.0, priority="critical"),
            a_candidate(camera, "d", at=117.0),
        ]
    )
    assert [status for status, _ in ends(plan)] == ["queued", "dropped", "queued", "queued"]
    assert plan.accepted_at == {"door": 117.0}


@pytest.mark.parametrize(
    ("settings", "options", "code"),
    [
        ({"enabled": False}, {}, "camera_disabled"),
        ({"min_intensity": 0.5}, {"motion_intensity": 0.4}, "low_intensity"),
        ({"min_priority": "high"}, {"motion_intensity": 0.5}, "low_priority"),
        ({"min_priority": "critical"}, {"priority": "high"}, "low_priority"),
    ],
)
def test_rule_of_the_camera_drops_the_frame(
    settings: dict[str, Any], options: dict[str, Any], code: str
) -> None:
    plan = decided([a_candidate(a_camera(**settings), **options)])
    assert ends(plan) == [("dropped", code)]
    assert not plan.images


def test_full_disk_drops_the_frame() -> None:
    camera = a_camera()
    frames = [a_candidate(camera), a_candidate(camera, is_asked_for=True)]
    assert ends(decided(frames, has_room=False)) == [("dropped", "disk_full")] * 2


@pytest.mark.parametrize(
    "settings",
    [
        {"enabled": False},
        {"min_intensity": 1.0},
        {"min_priority": "critical"},
        {"cooldown": 3600.0},
        {},
    ],
)
def test_picture_that_was_asked_for_is_captioned_whatever_its_camera_spares(
    settings: dict[str, Any],
) -> None:
    camera = a_camera(last_accepted=0.0, **settings)
    camera.similarity = 0.9
    asked = a_candidate(camera, at=1.0, is_asked_for=True)
    plan = decided([asked], Facts(contents={asked.content: "door/the-same"}))
    assert ends(plan) == [("queued", None)]
    assert asked.job.similarity == 0.0
    assert plan.accepted_at == {}  # it is no frame of the camera's: nothing cools down after it


def test_picture_that_was_asked_for_takes_no_place_and_keeps_its_own() -> None:
    camera = a_camera(newest_wins=True)
    waits = a_ticket(a_candidate(camera, "old", job_id="waits", is_asked_for=True).job)
    frames = [
        a_candidate(camera, "a", job_id="a"),
        a_candidate(camera, "b", job_id="asked", is_asked_for=True),
        a_candidate(camera, "c", job_id="c", priority="critical"),
    ]
    plan = decided(frames, Facts(waiting=[waits]))
    assert ends(plan) == [("dropped", "conflated"), ("queued", None), ("queued", None)]
    assert plan.replaced == []
    assert "Replaced by the newer c" in str(plan.jobs["door/a"].error)


def test_known_id_is_answered_with_its_job() -> None:
    camera = a_camera()
    frames = [a_candidate(camera, "new", job_id="twice"), a_candidate(camera, "x", job_id="once")]
    plan = decided([*frames, frames[1]], Facts(stored=frozenset({"door/twice"})))
    assert plan.keys == ["door/twice", "door/once", "door/once"]
    assert plan.repeats == ["door/twice", "door/once"]
    assert list(plan.jobs) == ["door/once"]


def test_id_of_another_camera_is_accepted_under_another_webhook_id() -> None:
    plan = decided(
        [a_candidate(a_camera("door"), job_id="same"), a_candidate(a_camera("gate"), job_id="same")]
    )
    assert [job.webhook_id for job in plan.jobs.values()] == [None, "gate/same"]


def test_redelivered_picture_without_an_id_is_the_job_it_was() -> None:
    camera = a_camera()
    old = a_candidate(camera).job
    plan = decided(
        [a_candidate(camera, is_redelivery=True)],
        Facts(contents={("door", old.content): old.key}),
    )
    assert plan.keys == plan.repeats == [old.key]
    assert not plan.jobs


def test_frame_overrides_camera_overrides_defaults() -> None:
    camera = a_camera(prompt="What is there?", length="long", location="Front Door")
    plain, own = a_candidate(camera).job, a_candidate(camera, length="short", max_age=5.0).job
    assert (plain.prompt, plain.length, plain.location) == (
        "What is there?",
        Length.LONG,
        "Front Door",
    )
    assert (plain.max_age, plain.priority) == (QUEUE.max_age, Priority.NORMAL)
    assert (own.length, own.max_age) == (Length.SHORT, 5.0)


def test_foreign_name_is_the_location_where_nobody_says_another() -> None:
    camera = a_camera("Front_Door")
    foreign = replace(a_candidate(camera).submission, camera_name="Front Door")
    assert resolve(foreign, camera, ImageFacts(), QUEUE).location == "Front Door"
    same = replace(foreign, camera_name="Front_Door")
    assert resolve(same, camera, ImageFacts(), QUEUE).location is None
    told = a_camera("Front_Door", location="Porch")
    assert resolve(foreign, told, ImageFacts(), QUEUE).location == "Porch"


def test_headers_of_the_operator_never_go_to_a_url_of_the_sender() -> None:
    camera = a_camera()
    camera.webhook = Webhook("https://home/", {"Authorization": "secret"}, is_trusted=True)
    job: Job = a_candidate(camera, webhook_url="https://other/").job
    assert (job.webhook_headers, job.webhook_is_trusted) == (None, False)
