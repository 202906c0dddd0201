"""Orders about the model: what may be loaded, and what is answered while it takes long."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from schemas.requests.envelope import Nothing
from schemas.requests.models import LoadRequest
from service.operations.models import ModelOperations
from service.operations.operations import OperationError
from service.settings import ModelSettings
from tests.unit.service.engines.test_catalogue import make_cached
from tests.unit.service.engines.test_models import PATIENCE_S, Site, site, until
from tests.unit.service.engines.test_process import make_submit


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setenv("HF_HUB_CACHE", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


def make_operations(it: Site, patience_s: float = PATIENCE_S, **settings: Any) -> ModelOperations:
    configured = ModelSettings(**{"name": "tiny", "revision": "local", **settings})
    return ModelOperations(it.models, it.engines, configured, patience_s)


async def test_order_that_takes_long_is_accepted_and_info_has_its_end(cache: Path) -> None:
    make_cached(cache, "models--acme--eye", refs=("main",))
    async with site() as it:
        operations = make_operations(it, patience_s=0.2)
        await it.engines[0].submit(make_submit("hold-1"))
        answer = await operations.load(LoadRequest(model="acme/eye"))
        assert (answer.state, answer.ask_next) == ("accepted", "model/info")
        assert (answer.model.name, answer.model.state) == ("tiny", "loading")
        info = await operations.info(Nothing())
        assert info.switch is not None
        assert (info.switch.model, info.switch.state) == ("acme/eye", "loading")
        await it.engines[0].cancel("hold-1")
        assert it.models.switch is not None
        # The engine is ready a moment before: who unloads then leaves the former model chosen.
        await asyncio.wait_for(it.models.switch.is_decided.wait(), PATIENCE_S)
        assert it.states == [("acme/eye", "ready")]
        await it.engines[0].submit(make_submit("hold-2"))
        answer = await operations.unload(Nothing())
        assert (answer.state, answer.ask_next) == ("accepted", "model/info")
        await it.engines[0].cancel("hold-2")
        await it.until(("acme/eye", "unloaded"))


async def test_load_of_nothing_in_particular_brings_an_unloaded_model_back() -> None:
    async with site() as it:
        operations = make_operations(it)
        assert (await operations.unload(Nothing())).state == "unloaded"
        assert (await operations.load(LoadRequest())).state == "loaded"
        assert it.states == [("tiny", "ready")]
        first = it.engines[0].pid
        assert (await operations.load(LoadRequest())).state == "loaded"
        assert it.engines[0].pid == first  # it was there already


async def test_what_is_not_said_stays_as_it_is(cache: Path) -> None:
    make_cached(cache, "models--acme--eye", refs=("main",))
    async with site() as it:
        operations = make_operations(it)
        await operations.load(LoadRequest(dtype="float16"))
        assert (it.models.chosen.name, it.models.chosen.dtype) == ("tiny", "float16")
        await operations.load(LoadRequest(model="acme/eye"))
        chosen = it.models.chosen
        assert (chosen.name, chosen.revision, chosen.dtype) == ("acme/eye", "main", "float16")
        assert not chosen.download
        await operations.load(LoadRequest(model="tiny", dtype="auto", quantization="int8"))
        chosen = it.models.chosen
        assert (chosen.revision, chosen.dtype, chosen.download) == ("local", "auto", True)
        await operations.load(LoadRequest(dtype="float32"))
        chosen = it.models.chosen
        assert (chosen.dtype, chosen.quantization) == ("float32", "int8")
        switch = (await operations.info(Nothing())).switch
        assert switch is not None
        assert switch.quantization == "int8"


async def test_folder_is_loaded_by_the_name_in_the_list(cache: Path, tmp_path: Path) -> None:
    folder = make_cached(cache, "models--acme--eye").parent
    async with site() as it:
        operations = make_operations(it, folders=[folder])
        [_, listed] = (await operations.list(Nothing())).items
        assert (listed.revision, listed.is_loaded) == ("local", False)
        await operations.load(LoadRequest(model=listed.model))
        assert it.states == [(listed.model, "ready")]
        with pytest.raises(OperationError, match=r"model\.folders"):
            await operations.load(LoadRequest(model=f"{listed.model}/../{Path(listed.model).name}"))


async def test_download_is_ordered_only_where_it_is_allowed_and_pinned(tmp_path: Path) -> None:
    (tmp_path / "acme" / "folder").mkdir(parents=True)
    async with site() as it:
        operations = make_operations(it, allow_download=True)
        for request, named in (
            (LoadRequest(model="acme/new"), "revision"),
            (LoadRequest(model="acme/folder", revision="main"), "folder"),
            (LoadRequest(model="../acme/folder", revision="main"), r"model\.folders"),
        ):
            with pytest.raises(OperationError, match=named):
                await operations.load(request)
        await operations.load(LoadRequest(model="acme/new", revision="v1"))
        chosen = it.models.chosen
        assert (chosen.name, chosen.revision, chosen.download) == ("acme/new", "v1", True)


async def test_second_order_answers_the_first(cache: Path) -> None:
    make_cached(cache, "models--acme--eye", refs=("main",))
    async with site() as it:
        operations = make_operations(it)
        await it.engines[0].submit(make_submit("hold-1"))
        first = asyncio.create_task(operations.load(LoadRequest(model="acme/eye")))
        await until(lambda: it.models.switch is not None)
        second = asyncio.create_task(operations.load(LoadRequest(dtype="float32")))
        with pytest.raises(OperationError, match="another request") as caught:
            await first
        assert caught.value.code == "model_failed"
        await it.engines[0].cancel("hold-1")
        assert (await second).state == "loaded"
        assert (it.models.chosen.name, it.models.chosen.dtype) == ("tiny", "float32")
