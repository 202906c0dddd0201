"""The folder of the service's own, and what is said where it cannot be had."""

import errno
import os
import stat
from pathlib import Path

import pytest

from service.data_dir import check_data_dir, open_data_dir, usable
from service.errors import ConfigurationError, StoreFullError


def test_open_makes_the_folder_for_its_owner_alone_and_leaves_nothing_in_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "new" / "data"
    open_data_dir(path)
    open_data_dir(path)  # it may be there already
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert list(path.iterdir()) == []


def test_check_leaves_nothing_behind(tmp_path: Path) -> None:
    check_data_dir(tmp_path / "new" / "data")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("below", ["", "data", "much/deeper"])
def test_check_says_what_open_says(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("x")
    said = []
    for look in (check_data_dir, open_data_dir):
        with pytest.raises(ConfigurationError) as caught:
            look(tmp_path / "file" / below)
        said.append(str(caught.value))
    assert said[0] == said[1]


@pytest.mark.parametrize("below", ["", "data"])
def test_open_with_a_file_in_the_way_names_it(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("x")
    path = tmp_path / "file" / below
    with pytest.raises(ConfigurationError) as caught:
        open_data_dir(path)
    assert str(caught.value) == f"data_dir {path}: a file is in its way"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_no_room_is_told_from_what_the_operator_must_mend(number: int) -> None:
    with pytest.raises(StoreFullError) as caught, usable("data_dir /data"):
        raise OSError(number, os.strerror(number))
    assert str(caught.value) == f"data_dir /data: {os.strerror(number)}"


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(errno.EACCES, "Permission denied"),
        OSError(errno.EROFS, "Read-only file system"),
        OSError("nobody knows"),
    ],
)
def test_everything_else_is_the_operators(error: OSError) -> None:
    with pytest.raises(ConfigurationError) as caught, usable("data_dir /data"):
        raise error
    assert str(caught.value) == f"data_dir /data: {error.strerror or error}"


def test_what_is_no_matter_of_files_passes() -> None:
    with pytest.raises(ValueError, match="other"), usable("data_dir /data"):
        raise ValueError("other")
