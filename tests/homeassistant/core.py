"""A Home Assistant of some version, as a child process that is told what to do."""

import asyncio
import json
from asyncio.subprocess import PIPE, Process
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.homeassistant.accounts import Account
from tests.homeassistant.environments import Version

_DRIVER = Path(__file__).with_name("home_assistant.py")
#: Not measurements: the machine may be busy with other things.
_START_S = 120.0
_ANSWER_S = 60.0
_LONGEST_LINE = 1 << 24


class CoreError(AssertionError):
    """Home Assistant could not do what it was told."""


@dataclass(frozen=True, slots=True)
class Entity:
    """An entity of the registry, disabled ones included."""

    entity_id: str
    unique_id: str
    platform: str
    name: str | None
    category: str | None
    device_class: str | None
    unit: str | None
    icon: str | None
    disabled: bool
    device_id: str | None


@dataclass(frozen=True, slots=True)
class State:
    """A state with its attributes."""

    state: str
    attributes: dict[str, Any]


class Core:
    """One Home Assistant on one configuration directory; at most one life at a time.

    Args:
        version: Which one.
        folder: Its configuration directory and its log; empty at first.
        broker_port: Of the broker on 127.0.0.1.
        account: Its own, where the broker wants one.

    Attributes:
        directory: Its configuration directory; `media` in it is what its media source shows.
        num_starts: Of all its lives.
        complaints: Warnings and errors that its integrations have logged in all its lives.
    """

    def __init__(
        self, version: Version, folder: Path, broker_port: int, account: Account | None = None
    ) -> None:
        self.version = version
        self.num_starts = 0
        self.complaints: list[str] = []
        self.directory = folder / "configuration"
        self._log = folder / "home-assistant.log"
        self._broker = {"broker": "127.0.0.1", "port": broker_port}
        if account is not None:
            self._broker |= asdict(account)
        self._actions: list[str] = []  # registered; a restart has them again
        self._process: Process | None = None

    async def __aenter__(self) -> Self:
        self.directory.mkdir(parents=True, exist_ok=True)
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start it, and wait until it is up.

        Raises:
            CoreError: It ended instead; the message has the end of its log.
        """
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                self.version.interpreter,
                _DRIVER,
                self.directory,
                *(json.dumps(self._broker), *self._actions),
                stdin=PIPE,
                stdout=PIPE,
                stderr=log,
                limit=_LONGEST_LINE,
            )
        self.num_starts += 1
        number = await self._answer(_START_S)
        assert number == self.version.number

    async def stop(self) -> None:
        """End it as a shutdown of the machine does: it stores what it stores, and says goodbye."""
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            await self.take_log()
        self._process = None
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(_ANSWER_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def restart(self) -> None:
        """Stop it, and start it on the same directory."""
        await self.stop()
        await self.start()

    async def states(self) -> dict[str, State]:
        """All states, by entity id."""
        states = await self._do("states")
        return {entity_id: State(**state) for entity_id, state in states.items()}

    async def entities(self) -> dict[str, Entity]:
        """All entities of MQTT in the registry, by unique id."""
        return {each["unique_id"]: Entity(**each) for each in await self._do("entities")}

    async def devices(self) -> list[dict[str, Any]]:
        """All devices; see the driver for their fields."""
        devices: list[dict[str, Any]] = await self._do("devices")
        return devices

    async def picture(self, entity_id: str) -> dict[str, Any] | None:
        """`sha256` and `bytes` of what an image entity shows; None: nothing."""
        picture: dict[str, Any] | None = await self._do("picture", entity_id=entity_id)
        return picture

    async def call(self, action: str, entity_id: str | None = None, **data: Any) -> None:
        """Call an action (`domain.service`), and wait for its end.

        Args:
            action: Which.
            entity_id: What it is for; waited for, because what is greyed out takes no action.
            data: All else of the action.
        """
        if entity_id is not None:
            await self.until(f"states({entity_id!r}) != 'unavailable' and states[{entity_id!r}]")
            data = {"entity_id": entity_id, **data}
        await self._do("call", action=action, data=data)

    async def ask(self, action: str, **data: Any) -> Any:
        """Call an action that answers, and return its answer."""
        return await self._do("ask", action=action, data=data)

    async def set_up(self, domain: str, **answers: Any) -> str:
        """Set an integration up as a person does; returns the id of its entry."""
        entry_id: str = await self._do("set_up", domain=domain, answers=answers)
        return entry_id

    async def add_subentry(self, entry_id: str, kind: str, shown: str, **answers: Any) -> list[Any]:
        """Add a part to an entry as a person does.

        Args:
            entry_id: Of `set_up`.
            kind: Of the part, e.g. `ai_task_data`.
            shown: A field of its form.
            answers: To the form.

        Returns:
            What could be chosen for `shown`: `label` and `value` of each.
        """
        choices: list[Any] = await self._do(
            "add_subentry", entry_id=entry_id, kind=kind, answers=answers, shown=shown
        )
        return choices

    async def until(self, condition: str, seconds: float = 20.0) -> None:
        """Wait until an expression of its templates is true, e.g. `is_state('sun.sun', 'up')`.

        Raises:
            CoreError: It is not, after so many seconds.
        """
        await self._do("until", condition=condition, seconds=seconds)

    async def render(self, template: str) -> Any:
        """What a template gives."""
        return await self._do("render", template=template)

    async def enable(self, entity_id: str) -> None:
        """Enable an entity that came disabled; it is there after the next start."""
        await self._do("enable", entity_id=entity_id)

    async def remove_device(self, identifier: str) -> None:
        """Remove a device as a person does in the user interface."""
        await self._do("remove_device", identifier=identifier)

    async def register(self, action: str) -> None:
        """Make an action that only keeps its calls, e.g. `notify.mobile_app_phone`."""
        await self._do("register", action=action)
        self._actions.append(action)

    async def calls(self) -> list[dict[str, Any]]:
        """Calls of registered actions since this was asked last: `action`, `at` (s), `data`."""
        calls: list[dict[str, Any]] = await self._do("calls")
        return calls

    async def automate(self, automations: Iterable[Mapping[str, Any]]) -> list[str]:
        """Replace all automations by these; returns the entity ids of those that run."""
        running: list[str] = await self._do("automations", automations=list(automations))
        return running

    async def automate_blueprint(self, path: Path, inputs: Mapping[str, Any]) -> str:
        """Replace all automations by one made of a blueprint; returns its entity id.

        Raises:
            CoreError: It does not run; Home Assistant's complaint is in the message.
        """
        name = await self._do("blueprint", path=str(path))
        blueprint = {"path": name, "input": dict(inputs)}
        running = await self.automate(
            [{"id": path.stem, "alias": path.stem, "use_blueprint": blueprint}]
        )
        if len(running) != 1:
            raise CoreError(f"{name} does not run: {await self.take_log()}")
        return running[0]

    async def take_log(self) -> list[str]:
        """What its integrations have complained about since this was asked last.

        All of it is kept in `complaints` too.
        """
        new = [
            f"{line['level']} {line['logger']}: {line['message']} {line['exception']}".rstrip()
            for line in await self._do("log")
            if line["logger"].startswith("homeassistant.components")
        ]
        self.complaints += new
        return new

    async def _do(self, name: str, **arguments: Any) -> Any:
        assert self._process is not None
        assert self._process.stdin is not None
        line = json.dumps({"do": name, **arguments}) + "\n"
        self._process.stdin.write(line.encode())
        patience_s = arguments.get("seconds", 0.0) + _ANSWER_S
        return await self._answer(patience_s)

    async def _answer(self, patience_s: float) -> Any:
        assert self._process is not None
        assert self._process.stdout is not None
        async with asyncio.timeout(patience_s):
            line = await self._process.stdout.readline()
        if not line:
            tail = self._log.read_text(encoding="utf-8", errors="replace")[-3000:]
            raise CoreError(f"Home Assistant {self.version.number} ended: {tail}")
        answer = json.loads(line)
        if "error" in answer:
            raise CoreError(answer["error"])
        return answer["value"]
