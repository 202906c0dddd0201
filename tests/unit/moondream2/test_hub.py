import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from moondream2.config import DEFAULT_REVISION, MoondreamConfig, public_config
from moondream2.errors import DownloadError, ModelFileError
from moondream2.hub import Hub, ModelFiles, _meter, resolve
from tests.support.checkpoints import FIXTURES, ODD_SHAPE
from tests.support.hub_server import HubServer, serving
from tests.support.small_disk import DiskUnavailableError, a_small_disk

WEIGHTS = bytes(range(256)) * 5000


@pytest.fixture
def server() -> Iterator[HubServer]:
    public = json.dumps({"architectures": ["HfMoondream"], "config": {}}).encode()
    files = {
        ("vikhyatk/moondream2", "config.json"): public,
        ("vikhyatk/moondream2", "model.safetensors"): WEIGHTS,
        ("vikhyatk/moondream2", "tokenizer.json"): b'{"the": "older one"}',
        ("moondream/starmie-v1", "tokenizer.json"): b'{"the": "right one"}',
    }
    with serving(files) as hub:
        yield hub


def _fetch(server: HubServer, tmp_path: Path, name: str, **options: Any) -> ModelFiles:
    hub = Hub(download=True, cache_dir=tmp_path, endpoint=server.url, **options)
    return resolve(name, hub=hub)


def test_resolve_default_model_takes_the_pinned_revisions(
    server: HubServer, tmp_path: Path
) -> None:
    files = _fetch(server, tmp_path, "vikhyatk/moondream2")
    assert (files.revision, files.release) == (DEFAULT_REVISION, DEFAULT_REVISION)
    assert (files.folder / "model.safetensors").read_bytes() == WEIGHTS
    assert files.tokenizer_file.read_bytes() == b'{"the": "right one"}'
    source = public_config().tokenizer
    assert source is not None
    asked = {path for _, path in server.requests}
    assert asked == {
        f"/vikhyatk/moondream2/resolve/{DEFAULT_REVISION}/config.json",
        f"/vikhyatk/moondream2/resolve/{DEFAULT_REVISION}/model.safetensors",
        f"/moondream/starmie-v1/resolve/{source.revision}/tokenizer.json",
    }


def test_resolve_older_release_takes_its_own_vocabulary(server: HubServer, tmp_path: Path) -> None:
    hub = Hub(download=True, cache_dir=tmp_path, endpoint=server.url)
    files = resolve("vikhyatk/moondream2", "2025-04-14", hub=hub)
    assert files.release == "2025-04-14"
    assert files.tokenizer_file.read_bytes() == b'{"the": "older one"}'
    config = MoondreamConfig.from_folder(files.folder, revision=files.release)
    assert config == public_config("2025-04-14")


def test_resolve_fetched_model_needs_no_network_again(server: HubServer, tmp_path: Path) -> None:
    first = _fetch(server, tmp_path, "vikhyatk/moondream2")
    server.requests.clear()
    again = resolve("vikhyatk/moondream2", hub=Hub(cache_dir=tmp_path, endpoint=server.url))
    assert again == first
    assert _fetch(server, tmp_path, "vikhyatk/moondream2") == first
    assert server.requests == []


def test_resolve_without_download_never_asks_the_hub(server: HubServer, tmp_path: Path) -> None:
    hub = Hub(cache_dir=tmp_path, endpoint=server.url)
    with pytest.raises(DownloadError, match=r"not in the cache; .*set model\.name to a folder"):
        resolve("vikhyatk/moondream2", hub=hub)
    assert server.requests == []


def test_resolve_without_network_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The client tries again for 23 s.
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    hub = Hub(download=True, cache_dir=tmp_path, endpoint="http://127.0.0.1:9")
    with pytest.raises(DownloadError, match="cannot be reached; download on a machine with netw"):
        resolve("vikhyatk/moondream2", hub=hub)


def test_resolve_unknown_repository_says_so(server: HubServer, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="no such repository"):
        _fetch(server, tmp_path, "nobody/nothing")


def test_download_reports_progress_up_to_the_size(server: HubServer, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    _fetch(server, tmp_path, "vikhyatk/moondream2", progress=lambda *step: seen.append(step))
    weights = [step[1:] for step in seen if step[0] == "model.safetensors"]
    assert weights[-1] == (len(WEIGHTS), len(WEIGHTS))


@pytest.mark.parametrize(
    ("status", "code", "sentence"),
    [
        (403, "GatedRepo", "access must be granted on the hub first; then set HF_TOKEN"),
        (401, "RepoNotFound", "no such repository, or it is private: check model.name"),
        (403, "", "answers 403; it may pass, otherwise check HF_TOKEN and HF_ENDPOINT"),
        (404, "RevisionNotFound", "no such revision: check model.revision"),
        (503, "", "answers 503; it may pass"),
    ],
)
def test_refusal_of_the_hub_is_one_sentence_that_names_the_setting(
    status: int,
    code: str,
    sentence: str,
    server: HubServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    server.refusal = (status, code)
    with pytest.raises(DownloadError, match=sentence) as caught:
        _fetch(server, tmp_path, "vikhyatk/moondream2")
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:Not enough free disk space")
def test_download_on_a_full_disk_names_the_cache(server: HubServer, tmp_path: Path) -> None:
    sentence = r"no room in the cache .*set HF_HOME"
    try:
        with (
            a_small_disk(tmp_path / "cache", 512 << 10) as disk,
            pytest.raises(DownloadError, match=sentence),
        ):
            _fetch(server, disk.folder, "vikhyatk/moondream2")
    except DiskUnavailableError as error:
        pytest.skip(str(error))


def test_progress_never_goes_back_where_a_download_is_cut_off_and_resumed(
    server: HubServer, tmp_path: Path
) -> None:
    server.pace, server.cuts = (100_000, 0.0), [700_000]
    seen: list[int] = []
    _fetch(server, tmp_path, "vikhyatk/moondream2", progress=lambda *step: seen.append(step[1]))
    of_weights = [each for each in seen if each > 1000]
    assert of_weights == sorted(of_weights)
    assert of_weights[-1] == len(WEIGHTS)


def test_transfer_in_chunks_has_one_count(server: HubServer, tmp_path: Path) -> None:
    """Xet reports what has come and what stands in the file, to one bar where that has both."""
    seen: list[tuple[int, int]] = []
    bar = _meter("model.safetensors", lambda _, done, total: seen.append((done, total)))(total=90)
    for num_come, num_written in ((30, 0), (40, 50), (30, 40)):
        bar.update_transfer(num_come)
        bar.set_transfer_postfix_str("fast")
        bar.update(num_written)
    assert [done for done, _ in seen] == [30, 30, 70, 70, 90, 90]
    assert {total for _, total in seen} == {90}


def test_download_that_breaks_off_is_resumed_to_the_whole_file(
    server: HubServer, tmp_path: Path
) -> None:
    server.cuts = [700_000]
    files = _fetch(server, tmp_path, "vikhyatk/moondream2")
    assert server.cuts == []
    assert len(server.requests) == len(set(server.requests)) + 1  # asked once more
    assert (files.folder / "model.safetensors").read_bytes() == WEIGHTS


def test_download_with_a_wrong_checksum_is_removed(server: HubServer, tmp_path: Path) -> None:
    hub = Hub(download=True, cache_dir=tmp_path, endpoint=server.url)
    hub.file("vikhyatk/moondream2", "config.json", "main")
    server.damage = b"x" * len(WEIGHTS)
    with pytest.raises(DownloadError, match="damaged on the way"):
        hub.file("vikhyatk/moondream2", "model.safetensors", "main")
    server.damage = None
    path = hub.file("vikhyatk/moondream2", "model.safetensors", "main")
    assert path.read_bytes() == WEIGHTS


def test_resolve_sharded_repository_fetches_every_shard(server: HubServer, tmp_path: Path) -> None:
    index = {"weight_map": {"a": "part-1.safetensors", "b": "part-2.safetensors"}}
    server.files |= {
        ("someone/tuned", "config.json"): json.dumps(ODD_SHAPE).encode(),
        ("someone/tuned", "tokenizer.json"): b"{}",
        ("someone/tuned", "model.safetensors.index.json"): json.dumps(index).encode(),
        ("someone/tuned", "part-1.safetensors"): b"one",
        ("someone/tuned", "part-2.safetensors"): b"two",
    }
    files = _fetch(server, tmp_path, "someone/tuned")
    assert files.revision == "main"
    assert files.tokenizer_file.parent == files.folder
    assert (files.folder / "part-1.safetensors").read_bytes() == b"one"
    assert (files.folder / "part-2.safetensors").read_bytes() == b"two"
    # Later starts work from the cache alone, though one file's absence had to be learnt.
    assert resolve("someone/tuned", hub=Hub(cache_dir=tmp_path)) == files


def test_resolve_repository_without_weights_is_refused(server: HubServer, tmp_path: Path) -> None:
    server.files |= {
        ("someone/empty", "config.json"): json.dumps(ODD_SHAPE).encode(),
        ("someone/empty", "tokenizer.json"): b"{}",
    }
    with pytest.raises(ModelFileError, match="no weights as safetensors"):
        _fetch(server, tmp_path, "someone/empty")


def test_resolve_folder_of_own_format_uses_its_vocabulary() -> None:
    files = resolve(str(FIXTURES))
    assert files.folder == FIXTURES
    assert files.tokenizer_file == FIXTURES / "tokenizer.json"
    assert files.revision == "local"


def _public_folder(tmp_path: Path, entries: int) -> Path:
    vocabulary = {"model": {"vocab": {f"w{i}": i for i in range(entries)}}, "added_tokens": []}
    folder = tmp_path / "moondream2"
    folder.mkdir()
    (folder / "config.json").write_text('{"config": {}}')
    (folder / "tokenizer.json").write_text(json.dumps(vocabulary))
    return folder


def test_resolve_public_folder_with_the_right_vocabulary_uses_it(tmp_path: Path) -> None:
    folder = _public_folder(tmp_path, entries=51200)
    assert resolve(str(folder)).tokenizer_file == folder / "tokenizer.json"


def test_resolve_public_folder_with_the_older_vocabulary_fetches_the_right_one(
    server: HubServer, tmp_path: Path
) -> None:
    folder = _public_folder(tmp_path, entries=50257)
    files = _fetch(server, tmp_path / "cache", str(folder))
    assert files.tokenizer_file.read_bytes() == b'{"the": "right one"}'
    assert files.folder == folder


def test_resolve_folder_without_vocabulary_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(ODD_SHAPE))
    with pytest.raises(ModelFileError, match=r"tokenizer\.json: no such file"):
        resolve(str(tmp_path))


@pytest.mark.parametrize("name", ["./missing", "/no/such/folder", "moondream", "a/b/c", ""])
def test_resolve_name_that_is_neither_folder_nor_id_is_refused(name: str) -> None:
    with pytest.raises(ModelFileError):
        resolve(name)
