"""The service's own name is made once, and whatever stands in its file, there is one."""

import os
import resource
import stat
from pathlib import Path

import pytest

from service.errors import ConfigurationError
from service.instance import instance_name


def test_name_is_made_once_and_stays(tmp_path: Path) -> None:
    name = instance_name(tmp_path)
    assert name.startswith("moondream2mqtt-")
    assert instance_name(tmp_path) == name
    assert (tmp_path / "instance").read_text() == name
    assert os.listdir(tmp_path) == ["instance"]  # no draft is left


def test_name_of_an_earlier_version_or_an_operator_is_kept(tmp_path: Path) -> None:
    (tmp_path / "instance").write_text("attic_2\n")
    assert instance_name(tmp_path) == "attic_2"


@pytest.mark.parametrize(
    "content",
    [b"", b" \n", b"\xff\xfe", b"two words", b"a/b", b"n\0l", b"x" * 65, b"x" * 10_000_000],
)
def test_file_without_a_name_gets_a_new_one(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "instance").write_bytes(content)
    name = instance_name(tmp_path)
    assert name.startswith("moondream2mqtt-")
    assert instance_name(tmp_path) == name


def test_name_is_whole_or_not_there_when_it_cannot_be_written(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4, before[1]))  # bytes; the name has more
    try:
        with pytest.raises(ConfigurationError, match=r"data_dir: .*instance: File too large"):
            instance_name(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.listdir(tmp_path) == []


def test_folder_in_its_place_is_an_error_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "instance").mkdir()
    with pytest.raises(ConfigurationError, match=r"data_dir: .*instance"):
        instance_name(tmp_path)


def test_name_is_the_owners_alone(tmp_path: Path) -> None:
    instance_name(tmp_path)
    assert stat.S_IMODE((tmp_path / "instance").stat().st_mode) == 0o600
