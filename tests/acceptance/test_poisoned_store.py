"""The store holds what this version cannot read: each such row ends alone, the service goes on."""

import sqlite3
from contextlib import closing
from pathlib import Path

from tests.acceptance.conftest import Scene
from tests.support.checker import until

_NEVER = ("--pace-ms", "600000", "--capacity", "2")

#: What a version before this one, a damaged disk or another program may have left in a job's row.
_POISON = {
    "task": """document = json_set(document, '$.tasks', json('[{"query": ""}]'))""",
    "priority": "document = json_set(document, '$.priority', 'urgent')",
    "age": "document = json_set(document, '$.max_age', null)",
    "json": "document = substr(document, 1, 40)",
    "bytes": "document = cast(x'7bff7d' AS TEXT)",
    "status": "status = 'exploded'",
    "time": "started_at = 9223372036854775807",
    "number": "attempts = 'many'",
    "error": "error = '[]'",
}


async def test_poisoned_jobs_end_as_unreadable_and_the_rest_goes_on(scene: Scene) -> None:
    checker, service = scene.checker, scene.service
    await service.start(engine=_NEVER)
    frames = await scene.cameras.send_many(len(_POISON) + 4)
    await scene.cameras.all_accepted()
    await until(lambda: sum(checker.has_said("processing", each.job_id) for each in frames) == 2)
    await until(lambda: service.state.num_acknowledged == len(frames))
    await service.kill()
    poisoned = [each.job_id for each in frames[1 : len(_POISON) + 1]]  # the first two were running
    with closing(sqlite3.connect(_database(scene))) as database, database:
        for job_id, change in zip(poisoned, _POISON.values(), strict=True):
            database.execute(f"UPDATE jobs SET {change} WHERE job_id = ?", (job_id,))  # noqa: S608

    await service.start()
    await scene.cameras.send_many(3)
    await scene.cameras.all_accepted()
    verdict = await checker.all_ended()
    assert verdict.is_kept, verdict
    assert verdict.finals == {"completed": 4 + 3, "failed": len(_POISON)}
    for job_id in poisoned:
        end = checker.status_of(job_id)
        assert end is not None
        assert (end["status"], end["error"]["code"]) == ("failed", "unreadable")
    letters = {letter["job_id"]: letter for letter in checker.dead_letters}
    assert set(letters) == set(poisoned)
    sizes = {each.job_id: len(each.image) for each in frames}
    assert all(letter["size"] == sizes[job_id] for job_id, letter in letters.items())

    # Once and for all: the next start finds nothing of it.
    await service.kill()
    await service.start()
    await scene.cameras.send_many(1)
    await scene.cameras.all_accepted()
    assert (await checker.all_ended()).is_kept
    assert len(checker.dead_letters) == len(_POISON)


async def test_poisoned_messages_go_to_the_dead_letters_and_the_rest_goes_out(
    scene: Scene,
) -> None:
    checker, service = scene.checker, scene.service
    await service.start()
    await service.kill()
    with closing(sqlite3.connect(_database(scene))) as database, database:
        database.executemany(
            "INSERT INTO outbox (instance, channel, destination, payload, options, attempts,"
            " created_at, due) VALUES ('gone', ?, ?, ?, ?, 0, ?, ?)",
            [
                ("mqtt", "a/b", b"x", "{", 0, 0),
                ("mqtt", "a/b", b"x", '{"user_properties": [1]}', 0, 0),
                ("mqtt", "a/b", b"x", '{"correlation_data": "zz"}', 0, 0),
                ("mqtt", "a/b", 5, "{}", 0, 0),
                ("mqtt", "a/b", b"x", "{}", 1 << 62, 0),
                ("mqtt", "a/b", b"x", "{}", 0, 1 << 62),
                ("webhook", "http://127.0.0.1/a", b"x", "[]", 0, 0),
                ("pigeon", "http://127.0.0.1/secret", b"x", "{}", 0, 0),
            ],
        )
    await service.start()
    await until(lambda: len(checker.dead_letters) == 8)
    assert {letter["error"]["code"] for letter in checker.dead_letters} == {"unreadable"}
    assert "secret" not in str(checker.dead_letters)
    await scene.cameras.send_many(3)
    await scene.cameras.all_accepted()
    assert (await checker.all_ended()).finals == {"completed": 3}
    with closing(sqlite3.connect(_database(scene))) as database:
        await until(lambda: database.execute("SELECT count(*) FROM outbox").fetchone() == (0,))


async def test_poisoned_camera_overrides_are_named_and_ignored(scene: Scene) -> None:
    service = scene.service
    overrides = {
        "camera-0": "{",
        "camera-1": "[]",
        "camera-2": '{"lngth": "short"}',
        "camera-3": '{"tasks": [{"query": ""}]}',
        "a/b": "{}",
        "bridge": '{"cooldown": 1}',
    }
    await service.start()
    await service.kill()
    with closing(sqlite3.connect(_database(scene))) as database, database:
        database.executemany(
            "INSERT INTO cameras (camera_id, settings) VALUES (?, ?)", overrides.items()
        )
    await service.start()
    for camera_id in overrides:
        named = f"camera {camera_id}: ", f"cameras.{camera_id}."
        assert any(each in service.log for each in named), camera_id
    await scene.cameras.send_many(8)
    await scene.cameras.all_accepted()
    assert (await scene.checker.all_ended()).finals == {"completed": 8}


def _database(scene: Scene) -> Path:
    return scene.service.folder / "data" / "jobs.sqlite3"
