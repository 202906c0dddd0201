import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from service.folders import scan as scanning
from service.folders import tree as tree_of_folders
from service.folders.scan import GIVEN_UP_S, FolderScan, Found
from service.folders.tree import Tree

LONG = 3600.0


@dataclass
class Hands:
    """A clock that is turned by hand; the wall shows what files have."""

    moment: float = 0.0

    def __call__(self) -> float:
        return self.moment


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def make(tmp_path: Path, hands: Hands) -> Callable[..., FolderScan]:
    def made(**options: object) -> FolderScan:
        known = options.pop("known", {})
        values = {"is_meant": lambda _: True, "skipped": None, "max_age": LONG, **options}
        return FolderScan(path=tmp_path, known=known, monotonic=hands, **values)  # type: ignore[arg-type]

    return made


def names(found: list[Found]) -> list[str]:
    return [each.relative for each in found]


def drop(folder: Path, name: str, data: bytes = b"x") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_file_is_found_once_it_has_not_changed_for_two_seconds(
    tmp_path: Path, make: Callable[..., FolderScan], hands: Hands
) -> None:
    scan = make()
    path = drop(tmp_path, "door/2026/a[M][0@0].jpg")
    assert scan.pass_over() == []
    hands.moment = 1.9
    assert scan.pass_over() == []
    path.write_bytes(b"more")
    hands.moment = 2.1
    assert scan.pass_over() == []
    hands.moment = 4.2
    assert names(scan.pass_over()) == ["door/2026/a[M][0@0].jpg"]
    hands.moment = 10
    assert scan.pass_over() == []  # it is being taken


def settled(scan: FolderScan, hands: Hands) -> list[str]:
    scan.pass_over()
    hands.moment += 2.0
    found = scan.pass_over()
    for each in found:
        scan.taken(each)
    return names(found)


def test_taken_file_is_found_again_only_when_it_is_another(
    tmp_path: Path, make: Callable[..., FolderScan], hands: Hands
) -> None:
    scan = make()
    drop(tmp_path, "a.jpg")
    assert settled(scan, hands) == ["a.jpg"]
    assert settled(scan, hands) == []
    drop(tmp_path, "a.jpg", b"written anew in its place")
    hands.moment += 60  # no folder has changed; all are read now and then
    assert settled(scan, hands) == ["a.jpg"]


def test_known_files_of_an_earlier_run_are_not_found(
    tmp_path: Path, make: Callable[..., FolderScan], hands: Hands
) -> None:
    drop(tmp_path, "a.jpg")
    first = make()
    assert settled(first, hands) == ["a.jpg"]
    assert settled(make(known=dict(first.known)), hands) == []


def test_old_files_are_no_motion(
    tmp_path: Path, make: Callable[..., FolderScan], hands: Hands
) -> None:
    drop(tmp_path, "a.jpg")
    changed = (tmp_path / "a.jpg").stat().st_ctime
    assert settled(make(wall=lambda: changed + LONG + 1), hands) == []
    assert settled(make(wall=lambda: changed + LONG - 1), hands) == ["a.jpg"]


def test_new_file_with_an_old_time_is_motion(
    tmp_path: Path, make: Callable[..., FolderScan], hands: Hands
) -> None:
    path = drop(tmp_path, "a.jpg")
    os.utime(path, (0, 0))
    assert settled(make(), hands) == ["a.jpg"]


@pytest.mark.parametrize(
    "name", ["a.mp4_", "a.jpg.part", "b.tmp", ".a.jpg", "a.idx", "a.txt", "done/a.jpg"]
)
def test_what_is_no_picture_or_still_written_is_not_found(
    tmp_path: Path, make: Callable[..., FolderScan], hands: Hands, name: str
) -> None:
    drop(tmp_path, name)
    assert settled(make(skipped=tmp_path / "done"), hands) == []


def test_links_and_pipes_are_not_followed(
    tmp_path: Path, make: Callable[..., FolderScan], hands: Hands, tmp_path_factory: Any
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    secret = drop(elsewhere, "secret.jpg")
    (tmp_path / "a.jpg").symlink_to(secret)
    (tmp_path / "folder").symlink_to(elsewhere)
    os.mkfifo(tmp_path / "b.jpg")
    assert settled(make(), hands) == []


def test_odd_names_are_found(tmp_path: Path, make: Callable[..., FolderScan], hands: Hands) -> None:
    odd = ["two\nlines.jpg", os.fsdecode(b"\xff\xfe.jpg"), "[a]{b}*.JPG", " .png"]
    for name in odd:
        drop(tmp_path, name)
    assert sorted(settled(make(), hands)) == sorted(odd)


def test_file_that_does_not_look_whole_is_found_twice(
    tmp_path: Path, make: Callable[..., FolderScan], hands: Hands
) -> None:
    scan = make()
    path = drop(tmp_path, "a.mp4")
    scan.pass_over()
    hands.moment = 2.0
    [found] = scan.pass_over()
    assert scan.returned(found)
    hands.moment = 30.0
    assert scan.pass_over() == []
    path.write_bytes(b"goes on")
    assert scan.pass_over() == []
    hands.moment = 32.0
    [found] = scan.pass_over()  # it has changed
    assert scan.returned(found)
    hands.moment = 32.0 + GIVEN_UP_S
    [found] = scan.pass_over()
    assert not scan.returned(found)


def test_file_that_goes_away_is_forgotten(
    tmp_path: Path, make: Callable[..., FolderScan], hands: Hands
) -> None:
    scan = make()
    path = drop(tmp_path, "a.jpg")
    scan.pass_over()
    path.unlink()
    hands.moment = 2.0
    assert scan.pass_over() == []


def test_more_files_than_are_watched_come_one_after_the_other(
    tmp_path: Path,
    make: Callable[..., FolderScan],
    hands: Hands,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scanning, "_MOST_WAITING", 3)
    for number in range(8):
        drop(tmp_path, f"{number}.jpg")
    scan, found = make(), list[str]()
    for _ in range(6):
        found += settled(scan, hands)
        hands.moment += 60
    assert sorted(found) == [f"{number}.jpg" for number in range(8)]


def test_what_is_remembered_is_bounded_and_nothing_forgotten_is_found_again(
    tmp_path: Path,
    make: Callable[..., FolderScan],
    hands: Hands,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scanning, "MOST_KNOWN", 2)
    scan = make()
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        drop(tmp_path, name)
        assert settled(scan, hands) == [name]
    assert len(scan.known) == 2
    hands.moment += 60
    assert settled(scan, hands) == []


def test_folder_that_is_gone_is_an_error(make: Callable[..., FolderScan], tmp_path: Path) -> None:
    tmp_path.rmdir()
    with pytest.raises(FileNotFoundError):
        make().pass_over()


def test_unchanged_folders_are_not_read_again(tmp_path: Path, hands: Hands) -> None:
    for number in range(20):
        drop(tmp_path, f"{number}/a.jpg")
    tree = Tree(tmp_path, lambda _: True, None, hands)
    assert len(list(tree.changed_files())) == 20
    drop(tmp_path, "7/b.jpg")
    assert sorted(relative for relative, _ in tree.changed_files()) == ["7/a.jpg", "7/b.jpg"]
    assert list(tree.changed_files()) == []


def test_pass_that_takes_long_is_not_made_again_at_once(
    tmp_path: Path, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every picture changes a folder that holds all of a million."""
    monkeypatch.setattr(tree_of_folders, "_LONG_S", 0.0)
    monkeypatch.setattr(tree_of_folders, "_SHARE", 1e9)
    drop(tmp_path, "a.jpg")
    tree = Tree(tmp_path, lambda _: True, None, hands)
    assert len(list(tree.changed_files())) == 1
    drop(tmp_path, "b.jpg")
    hands.moment = 100.0
    assert list(tree.changed_files()) == []
    hands.moment = 1e12
    assert len(list(tree.changed_files())) == 2
