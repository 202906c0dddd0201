import time

import pytest

from service.path_patterns import PathPattern


@pytest.mark.parametrize(
    ("pattern", "path", "camera"),
    [
        ("{camera}/**", "door/2026/11/a.jpg", "door"),
        ("{camera}/**", "door/a.jpg", "door"),
        ("{camera}/**", "a.jpg", None),
        ("**/{camera}/*", "x/y/door/a.jpg", "door"),
        ("**/{camera}/*", "door/a.jpg", "door"),
        ("ftp/{camera}_*.jpg", "ftp/door_1[M][0@0].jpg", ["door", "1[M][0@0].jpg"][0]),
        ("[x]/{camera}/*", "[x]/two\nlines/a.jpg", "two\nlines"),
        ("[x]/{camera}/*", "x/door/a.jpg", None),
        (r"re:cam(?P<camera>\d+)-.*\.jpg", "cam12-a/b.jpg", "12"),
    ],
)
def test_camera_of_a_path(pattern: str, path: str, camera: str | None) -> None:
    assert PathPattern.compile(pattern).camera_of(path) == camera


def test_pattern_without_a_camera_only_says_which_files_are_meant() -> None:
    pattern = PathPattern.compile("**")
    assert not pattern.names_camera
    assert pattern.matches("a/b.jpg")
    assert pattern.camera_of("a/b.jpg") is None


@pytest.mark.parametrize(
    "text", ["", "/a", "a//b", "re:(", "{camera}/{camera}/*", "**/" * 3 + "a", "*a*a*"]
)
def test_what_is_no_pattern_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no pattern"):
        PathPattern.compile(text)


def test_long_path_is_matched_in_no_time() -> None:
    pattern = PathPattern.compile("**/*a*a/{camera}/**/*.jpg")
    started = time.perf_counter()
    assert not pattern.matches("a" * 255 + f"/{'a' * 255}" * 15)
    assert time.perf_counter() - started < 1.0
