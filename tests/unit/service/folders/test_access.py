"""What is in the way of reading a folder, and of clearing its files."""

import os
import stat
from pathlib import Path

import pytest

from service.folder_settings import FolderSettings
from service.folders.access import doubts, reading_problem


def settings_of(path: Path, **content: str) -> FolderSettings:
    return FolderSettings.model_validate({"path": str(path), "camera": "door", **content})


def test_folder_that_can_be_read_has_no_problem(tmp_path: Path) -> None:
    assert reading_problem(tmp_path) is None


def test_what_is_no_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert reading_problem(tmp_path / "file") == "cannot be read: Not a directory"
    assert reading_problem(tmp_path / "none") == "cannot be read: No such file or directory"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_whose_files_cannot_be_cleared_away_is_said(tmp_path: Path) -> None:
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    [text] = doubts(settings_of(tmp_path, after="delete", pattern="**/*.jpg"))
    assert text == "after is delete, and the folder cannot be written: allow it, or set keep"


def test_folder_that_is_gone_cannot_be_cleared_either(tmp_path: Path) -> None:
    [text] = doubts(settings_of(tmp_path / "none", after="delete", pattern="**/*.jpg"))
    assert text.startswith("after is delete")
