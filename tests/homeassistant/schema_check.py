"""Check messages and render templates in Home Assistant's own code, in one process for all of them.

    .venv-homeassistant-schema/bin/python -m tests.homeassistant.schema_check

One JSON object a line each way. In a question each of `retained` holds the discovery messages of
one broker by topic, and each of `renderings` a template, a payload, and the attributes its entity
has from before; null where it is a command's template. The answer has the `version`, the `problems`
as texts, and for each rendering the `text` that came out and what was `logged`.
"""

import asyncio
import json
import sys
import tempfile
from typing import Any

from tests.homeassistant import backport

backport.install()

from homeassistant.const import __version__ as version  # noqa: E402 - not before `install`
from homeassistant.core import HomeAssistant  # noqa: E402

from tests.homeassistant.checker import MessageChecker, logged, render_command, render_value  # noqa: E402

Json = dict[str, Any]


async def _answer_all(directory: str) -> None:
    hass = HomeAssistant(directory)  # templates are compiled in the context of one
    for line in sys.stdin:
        sys.stdout.write(json.dumps(_answer(hass, json.loads(line))) + "\n")
        sys.stdout.flush()


def _answer(hass: HomeAssistant, question: Json) -> Json:
    problems = []
    for messages in question["retained"]:
        checker = MessageChecker("homeassistant")
        for topic, payload in messages.items():
            problems += [f"{topic}: {found}" for found in checker.check(topic, payload)]
    renderings = [_render(hass, *each) for each in question["renderings"]]
    return {"version": version, "problems": problems, "renderings": renderings}


def _render(hass: HomeAssistant, template: str, payload: str, attributes: Json | None) -> Json:
    with logged() as lines:
        try:
            if attributes is None:
                text = render_command(hass, template, payload)
            else:
                text = render_value(hass, template, payload, attributes)
        except Exception as error:  # noqa: BLE001 - named to whoever asked
            text, lines = "", [*lines, repr(error)]
    return {"text": text, "logged": lines}


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(_answer_all(directory))


if __name__ == "__main__":
    main()
