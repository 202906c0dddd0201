"""What is found of models in folders that look like the Hugging Face cache, or do not."""

import os
from pathlib import Path

import pytest

from service.engines.catalogue import Available, hub_cache, in_cache, in_folders, is_hub_id

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER = "f" * 40


def make_cached(
    cache: Path, folder: str, commit: str = COMMIT, refs: tuple[str, ...] = (), num_bytes: int = 100
) -> Path:
    """A download as huggingface_hub leaves it: links to blobs, and refs to commits."""
    model = cache / folder
    snapshot = model / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (model / "blobs").mkdir(exist_ok=True)
    for name, content in {"config.json": b"{}", "model.safetensors": bytes(num_bytes)}.items():
        blob = model / "blobs" / f"{commit[:4]}-{name}"
        blob.write_bytes(content)
        (snapshot / name).symlink_to(os.path.relpath(blob, snapshot))
    for ref in refs:
        path = model / "refs" / ref
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(commit)
    return snapshot


def test_cached_models_have_the_names_of_their_tags_else_their_commit(tmp_path: Path) -> None:
    make_cached(tmp_path, "models--acme--eye", refs=("2025-06-21", "pr/1"))
    make_cached(tmp_path, "models--acme--eye", OTHER)
    make_cached(tmp_path, "models--acme--my--name", refs=("main",), num_bytes=7)
    assert in_cache(tmp_path) == [
        Available("acme/eye", "2025-06-21", 102),
        Available("acme/eye", "pr/1", 102),
        Available("acme/eye", OTHER, 102),
        Available("acme/my--name", "main", 9),
    ]


def test_what_is_no_whole_model_is_not_listed(tmp_path: Path) -> None:
    half = make_cached(tmp_path, "models--acme--half")
    (half.parents[1] / "blobs" / "0123-model.safetensors").unlink()
    (make_cached(tmp_path, "models--acme--words") / "model.safetensors").unlink()
    (make_cached(tmp_path, "models--acme--shapeless") / "config.json").unlink()
    make_cached(tmp_path, "datasets--acme--pictures")
    make_cached(tmp_path, "models--..--..")
    make_cached(tmp_path, "models--alone")
    (tmp_path / "models--acme--file").write_bytes(b"")
    (tmp_path / "models--acme--empty").mkdir()
    assert in_cache(tmp_path) == []
    assert in_cache(tmp_path / "nowhere") == []


def test_refs_that_are_none_leave_the_commit(tmp_path: Path) -> None:
    snapshot = make_cached(tmp_path, "models--acme--eye")
    refs = snapshot.parents[1] / "refs"
    refs.mkdir()
    (refs / "binary").write_bytes(b"\xff" * 10)
    (refs / "large").write_bytes(b"a" * 10_000)
    (refs / "elsewhere").write_text("../../etc")
    (refs / "nowhere").symlink_to("nothing")
    assert [each.revision for each in in_cache(tmp_path)] == [COMMIT]


def test_folders_are_models_or_hold_some(tmp_path: Path) -> None:
    snapshot = make_cached(tmp_path, "models--acme--eye")
    assert in_folders([snapshot]) == [Available(str(snapshot), "local", 102)]
    assert in_folders([snapshot.parent, snapshot, tmp_path / "nowhere"]) == [
        Available(str(snapshot), "local", 102)
    ]


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"HF_HUB_CACHE": "/a", "HF_HOME": "/b"}, "/a"),
        ({"HUGGINGFACE_HUB_CACHE": "/a"}, "/a"),
        ({"HF_HOME": "/b", "XDG_CACHE_HOME": "/c"}, "/b/hub"),
        ({"XDG_CACHE_HOME": "/c"}, "/c/huggingface/hub"),
        ({}, str(Path("~/.cache/huggingface/hub").expanduser())),
    ],
)
def test_cache_is_where_the_environment_says(environment: dict[str, str], folder: str) -> None:
    assert hub_cache(environment) == Path(folder)


@pytest.mark.parametrize("name", ["../etc/passwd", "/etc", "a/b/c", "a", "a/..", ".a/b", "ä/b", ""])
def test_path_is_no_hub_id(name: str) -> None:
    assert not is_hub_id(name)
