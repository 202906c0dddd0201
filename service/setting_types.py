"""What a text, a path or a name in the settings may be, so that nothing behind them breaks on it.

A message says what is wrong and never repeats the value, which may be a secret.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    WrapValidator,
)

from broker.patterns import CameraPattern
from broker.topics import MAX_TOPIC_BYTES, MAX_TOPIC_LEVELS
from service import path_patterns
from service.path_patterns import PathPattern

# Half of what `broker.topics` allows a response topic, which begins with the base topic.
_MOST_TOPIC_BYTES = MAX_TOPIC_BYTES // 2
_MOST_TOPIC_LEVELS = MAX_TOPIC_LEVELS // 2
_MOST_PATH_BYTES = 4096  # PATH_MAX
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# Code points that are no characters. MQTT lets a broker hang up on them (MQTT 5, section 1.5.4);
# Mosquitto does, at each try again.
_NONE = re.compile(
    "[\ufdd0-\ufdef"
    + "".join(chr(plane << 16 | end) for plane in range(17) for end in (0xFFFE, 0xFFFF))
    + "]"
)
#: What stands in a URL, or with the port, and in no host; what is behind an `@` may be a secret.
_NO_HOST = re.compile(r"[\s/@?#\\\[\]]|^[^:]*:[^:]*$")
_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d{1,3})?")
_MOST_DEVICES = 64


class Section(BaseModel):
    """A part of the settings: an unknown key is a typo."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False
    )


def _plain(text: str) -> str:
    """Control characters end a header, a path or a connection; half a pair cannot be published."""
    if _CONTROL.search(text):
        raise ValueError("must not contain control characters")
    if _NONE.search(text):
        raise ValueError("must not contain code points that are no characters, like U+FFFE")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must be UTF-8") from None
    return text


def _plain_path(path: Path) -> Path:
    if len(_plain(str(path)).encode()) > _MOST_PATH_BYTES:
        raise ValueError(f"must have at most {_MOST_PATH_BYTES} bytes")
    return path


def _plain_secret(secret: SecretStr) -> SecretStr:
    _plain(secret.get_secret_value())
    return secret


def _is_host(text: str) -> str:
    """What cannot be asked of a resolver is an error of Python's own there; a URL is none."""
    if _NO_HOST.search(text):
        raise ValueError("must be a host name or an address alone, without scheme, account or port")
    try:
        text.encode("idna")
    except UnicodeError:
        raise ValueError("must be a host name or an address") from None
    return text


def _is_no_url(text: str) -> str:
    """A name is shown, and a URL may have a password in it."""
    if "://" in text:
        raise ValueError("must be a hub id or a folder, not a URL")
    return text


def _no_wildcards(text: str) -> str:
    base = _plain(text).rstrip("/")
    if not base or any(character in base for character in "+#") or base.startswith("$"):
        raise ValueError("must be a topic without +, # and a leading $")
    if len(base.encode()) > _MOST_TOPIC_BYTES or base.count("/") >= _MOST_TOPIC_LEVELS:
        raise ValueError(
            f"must have at most {_MOST_TOPIC_BYTES} bytes and {_MOST_TOPIC_LEVELS} levels"
        )
    return base


def _may_name_a_camera(text: str) -> str:
    levels = _plain(text).split("/")
    if "{camera}" not in levels:  # one is put before, where no wildcard's place changes
        levels = ["{camera}", *levels]
    CameraPattern.compile("/".join(levels))
    if not text:
        raise ValueError("must not be empty")
    return text


def _are_devices(value: Any, read: Callable[[Any], str | tuple[str, ...]]) -> str | tuple[str, ...]:
    """One message, not one for each alternative."""
    try:
        devices = read(value)
    except ValidationError:
        devices = ()
    names = (devices,) if isinstance(devices, str) else devices
    if not 1 <= len(names) <= _MOST_DEVICES or not all(map(_DEVICE.fullmatch, names)):
        raise ValueError("must be auto, cpu, cuda, cuda:N, mps, or a list of them")
    return devices


def _means_files(text: str) -> str:
    PathPattern.compile(_plain(text))
    return text


def _is_what_follows(text: str) -> str:
    kind, _, folder = _plain(text).partition(":")
    if text not in {"keep", "delete"} and (kind != "move" or not folder.strip("/ ")):
        raise ValueError("must be keep, delete or move:folder")
    return text


def _is_zone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (KeyError, ValueError, OSError):
        raise ValueError("must be a time zone, e.g. Europe/Berlin") from None
    return text


#: A host, a client id, a release.
Name = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_plain)]
#: Asked of a resolver as it is.
Host = Annotated[Name, AfterValidator(_is_host)]
#: An account, a URL, a path on a server.
Text = Annotated[str, Field(max_length=2048), AfterValidator(_plain)]
#: A hub id or a folder, which everybody may see.
ModelName = Annotated[Text, AfterValidator(_is_no_url)]
#: Shown to nobody. MQTT and tokens in use stay below.
Secret = Annotated[SecretStr, Field(max_length=16000), AfterValidator(_plain_secret)]
File = Annotated[Path, AfterValidator(_plain_path)]
TopicPrefix = Annotated[str, AfterValidator(_no_wildcards)]
TopicFilter = Annotated[str, Field(min_length=1, max_length=256), AfterValidator(_plain)]
TriggerTopic = Annotated[str, Field(max_length=256), AfterValidator(_may_name_a_camera)]
Devices = Annotated[str | tuple[str, ...], WrapValidator(_are_devices)]
FilePattern = Annotated[
    str,
    Field(min_length=1, max_length=path_patterns.MAX_CHARACTERS),
    AfterValidator(_means_files),
]
Aftermath = Annotated[str, Field(max_length=2048), AfterValidator(_is_what_follows)]
TimeZone = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_is_zone)]
