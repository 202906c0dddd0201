"""The service's name changes: what an earlier one accepted still ends, once."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.acceptance.conftest import Scene
from tests.support.checker import until

_NEVER = ("--pace-ms", "600000", "--capacity", "2")


def _change_client_id(scene: Scene) -> None:
    scene.service.settings["mqtt"] = {"client_id": f"{scene.service.base.replace('/', '-')}-new"}


def _lose_name(scene: Scene) -> None:
    (_data_dir(scene) / "instance").unlink(missing_ok=True)


def _cut_name(scene: Scene) -> None:
    (_data_dir(scene) / "instance").write_bytes(b"")


def _damage_name(scene: Scene) -> None:
    (_data_dir(scene) / "instance").write_bytes(b"\xff\n\x00")


@pytest.mark.parametrize("change", [_change_client_id, _lose_name, _cut_name, _damage_name])
async def test_jobs_of_an_earlier_name_are_taken_over(
    scene: Scene, change: Callable[[Scene], None]
) -> None:
    checker, service = scene.checker, scene.service
    if change is not _change_client_id:
        service.settings["mqtt"] = {"client_id": None}  # then the name is the client id too
    await service.start(engine=_NEVER)
    frames = await scene.cameras.send_many(6)
    await scene.cameras.all_accepted()
    await until(lambda: service.state.num_acknowledged == len(frames))
    await service.kill()
    change(scene)
    await service.start()
    # The same pictures again are duplicates of jobs that do end.
    for each in frames:
        scene.cameras.send(replace(each, job_id=f"again-{each.job_id}", caption=None))
    await scene.cameras.all_accepted()
    verdict = await checker.all_ended()
    assert verdict.is_kept, verdict
    assert verdict.finals == {"completed": 6, "duplicate": 6}


def _data_dir(scene: Scene) -> Path:
    return scene.service.folder / "data"
