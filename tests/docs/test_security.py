"""What SECURITY.md claims: its limits are the code's, its tests and settings exist."""

import re
from collections.abc import Iterator

import pytest
from pydantic import BaseModel

from broker.codec import MAX_DEPTH
from engine import images
from schemas import frame
from schemas.requests.operation import MAX_REQUEST_BYTES
from service.delivery import attempts
from service.http import urls
from service.intake import wrapping as image
from service.settings import Settings
from service.store import retention
from tests.docs.reference import ROOT

_TEXT = (ROOT / "SECURITY.md").read_text()
_ROW = re.compile(r"^\| ([^|]+) \| ([\d,]+(?: [MGK]iB)?) \| (–|`[a-z_.]+`) \|$", re.MULTILINE)
_UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}

#: Limits without a setting.
_FIXED = {
    "scans of a JPEG": images.MAX_SCANS,
    "bytes of JSON besides the image": image.MAX_OTHER_BYTES,
    "levels of JSON": MAX_DEPTH,
    "bytes of `metadata` as JSON": frame.MAX_METADATA_BYTES,
    "tasks of a frame": frame.MAX_TASKS,
    "characters of a question": frame.MAX_TEXT_CHARACTERS,
    "characters of a URL": urls.MAX_URL_CHARACTERS,
    "characters of a camera or job id": int(re.findall(r"(\d+)}", frame.JOB_ID_PATTERN)[0]),
    "bytes of a request": MAX_REQUEST_BYTES,
    "finished jobs kept": retention.MOST_FINISHED_JOBS,
    "bytes read of a receiver's answer": attempts.MAX_BODY_BYTES,
}
_LIMITS = _ROW.findall(_TEXT)


def test_table_of_limits_is_read_whole() -> None:
    section = _TEXT.split("\n## Limits\n")[1]
    assert len(_LIMITS) == section.count("\n|") - 2
    assert {what for what, _, setting in _LIMITS if setting == "–"} == _FIXED.keys()


@pytest.mark.parametrize(("what", "limit", "setting"), _LIMITS, ids=[row[0] for row in _LIMITS])
def test_limit_is_that_of_the_code(what: str, limit: str, setting: str) -> None:
    number, _, unit = limit.partition(" ")
    in_code = _FIXED[what] if setting == "–" else _default(setting.strip("`"))
    assert int(number.replace(",", "")) * _UNITS[unit] == in_code


def test_job_ids_and_camera_ids_have_the_same_limit() -> None:
    assert frame.CAMERA_ID_PATTERN == frame.JOB_ID_PATTERN


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"`((?:tests|service|mosquitto)/[\w/.]+)`", _TEXT)))
)
def test_file_that_is_named_exists(path: str) -> None:
    assert (ROOT / path).is_file()


_SETTINGS = re.compile(rf"`((?:{'|'.join(Settings.model_fields)})\.[\w.<>]+)`")


@pytest.mark.parametrize("name", sorted(set(_SETTINGS.findall(_TEXT))))
def test_setting_that_is_named_exists(name: str) -> None:
    assert name in set(_settings(Settings))


def _default(name: str) -> object:
    value: object = Settings()
    for part in name.split("."):
        value = getattr(value, part)
    return value


def _settings(section: type[BaseModel], before: str = "") -> Iterator[str]:
    """Paths of all settings; those of a camera with `<id>`."""
    for name, each in section.model_fields.items():
        yield before + name
        inner = each.annotation
        if name == "cameras":
            inner, name = _camera_settings(inner), "cameras.<id>"
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _settings(inner, f"{before}{name}.")


def _camera_settings(annotation: object) -> type[BaseModel] | None:
    arguments = getattr(annotation, "__args__", ())
    found = [each for each in arguments if isinstance(each, type) and issubclass(each, BaseModel)]
    return found[0] if found else None
