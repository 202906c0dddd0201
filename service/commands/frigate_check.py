"""What `doctor` says of Frigate: release, login, role and topics, with what to do."""

from typing import Any

from service.clock import Clock
from service.errors import ServiceError
from service.frigate.api import Account, FrigateApi, describes_itself, mqtt_prefix
from service.frigate_settings import FrigateSettings
from service.settings import Settings
from service.stages import frigate_api

_MOST_NAMED = 5


async def check_frigate(settings: Settings) -> tuple[bool, str] | None:
    """Whether it can be followed as the settings want it, and in words; None: it is not."""
    if not settings.frigate.enabled:
        return None
    try:
        frigate = frigate_api(settings, Clock())
        if frigate is None:
            return True, "pictures from its snapshot topics; nothing is written without frigate.url"
        return await _ask(frigate, settings.frigate)
    except ServiceError as error:
        return False, str(error)


async def _ask(frigate: FrigateApi, settings: FrigateSettings) -> tuple[bool, str]:
    version, account = await frigate.version(), await frigate.account()
    config = await frigate.config()
    prefix = mqtt_prefix(config)
    found = f"{frigate.where}, {version}, {account.name or 'no account'} as {account.role or '?'}"
    problem = _problem(account, prefix, settings)
    if problem is not None:
        return False, f"{found}: {problem}"
    return True, f"{found}, topics below {prefix}{_left_alone(config, settings)}"


def _problem(account: Account, prefix: str | None, settings: FrigateSettings) -> str | None:
    if prefix is None:
        return "its mqtt.enabled is off, so nothing is heard of its objects"
    if prefix != settings.topic_prefix:
        return f"its mqtt.topic_prefix is {prefix}: set frigate.topic_prefix to that"
    if settings.write_back and account.role != "admin":
        return (
            "writing descriptions takes the role admin: give it to the account in Frigate, or set "
            "frigate.write_back to false"
        )
    return None


def _left_alone(config: dict[str, Any], settings: FrigateSettings) -> str:
    """Cameras whose descriptions Frigate writes itself."""
    cameras = config.get("cameras")
    found = cameras if isinstance(cameras, dict) else {}
    names = [name for name in found if describes_itself(config, name)]
    if not names or settings.overwrite or not settings.write_back:
        return ""
    shown = ", ".join(names[:_MOST_NAMED]) + (" and others" if len(names) > _MOST_NAMED else "")
    return f"; it describes {shown} itself, and that stays"
