"""What `doctor` says of Frigate: release, login, role and topics, with what to do."""

from typing import Any

from service.clock import Clock
from service.commands.checks.finding import Finding
from service.errors import ServiceError
from service.frigate.api import Account, FrigateApi, describes_itself, mqtt_prefix
from service.frigate_settings import FrigateSettings
from service.settings import Settings
from service.stages import frigate_api

_MOST_NAMED = 5


async def check_frigate(settings: Settings) -> list[Finding]:
    """Whether it can be followed as the settings want it; nothing where it is not followed."""
    if not settings.frigate.enabled:
        return []
    try:
        frigate = frigate_api(settings, Clock())
        if frigate is None:
            text = "pictures from its snapshot topics; nothing is written without frigate.url"
            return [Finding("frigate", "ok", text)]
        return [await _ask(frigate, settings.frigate)]
    except ServiceError as error:
        text = str(error)
        remedy = "" if "frigate." in text else ": is it running, and is frigate.url right?"
        return [Finding("frigate", "TODO", f"{text}{remedy}")]


async def _ask(frigate: FrigateApi, settings: FrigateSettings) -> Finding:
    version, account = await frigate.version(), await frigate.account()
    config = await frigate.config()
    prefix = mqtt_prefix(config)
    found = f"{frigate.where}, {version}, {account.name or 'no account'} as {account.role or '?'}"
    problem = _problem(account, prefix, settings)
    if problem is not None:
        return Finding("frigate", "TODO", f"{found}: {problem}")
    text = f"{found}, topics below {prefix}{_left_alone(config, settings)}"
    return Finding("frigate", "ok", text)


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
