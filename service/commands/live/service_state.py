"""What is known of the service: whether it is there, what its model does, what troubles it.

A broker that is away, a service that was stopped, one that loads, one whose model failed, and no
service at all look alike when captions fail to come; here they are told apart.
"""

import re
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import PurePath

from rich.text import Text

from schemas.frame import Priority
from schemas.status import BridgeInfo, Gpu, Health, Metrics, Stats
from service.commands.follow import BrokerLost, Connected
from service.commands.live.marks import (
    HEALTH_STYLES,
    PRIORITY_MARKS,
    PRIORITY_STYLES,
    lasting,
)
from service.commands.live.work import Work
from service.commands.live.wrapping import crop, fit, harmless, wrap

_RETAINED_WITHIN_S = 3.0  # what is retained comes at once; without it nobody is there
_PERCENT = re.compile(r"(?<![\d.])(\d{1,3}(?:\.\d+)?) ?%")
_BAR_CELLS = 20
_MOST_LINES_OF_MODEL = 4
_MOST_PROBLEMS = 4
_MOST_WORKING = 4  # cameras
_GIB = 1 << 30
_MOST_BYTES = 1 << 60

Report = BrokerLost | Connected | BridgeInfo | Stats | Health | Metrics | str


class ServiceState:
    """What the service said about itself, as lines of a screen."""

    def __init__(self) -> None:
        self._connected_at: datetime | None = None
        self._lost_at: datetime | None = None
        self._lost_reason = ""
        self._bridge_state = ""
        self._info: BridgeInfo | None = None
        self._stats: Stats | None = None
        self._health: Health | None = None
        self._metrics: Metrics | None = None

    def feed(self, report: Report, now: datetime) -> None:
        """Take in what was said."""
        match report:
            case BrokerLost():
                self._lost_at = self._lost_at or now
                self._lost_reason = report.reason
            case Connected():
                self._forget()  # what is retained comes again, if it is still true
                self._connected_at, self._lost_at = now, None
            case BridgeInfo():
                self._info = report
            case Stats():
                self._stats = report
            case Health():
                self._health = report
            case Metrics():
                self._metrics = report
            case str():
                self._bridge_state = report

    def _forget(self) -> None:
        self._bridge_state = ""
        self._info = self._stats = self._health = self._metrics = None

    @property
    def is_at_work(self) -> bool:
        """Whether frames are being captioned, as far as anyone can know."""
        return self._lost_at is None and self._bridge_state != "offline"

    @property
    def camera_names(self) -> list[str]:
        """Cameras of the service's settings."""
        cameras = self._info.settings.get("cameras") if self._info else None
        return sorted(map(str, cameras)) if isinstance(cameras, dict) else []

    def word(self, now: datetime) -> Text:
        """Its state in a word or two."""
        text, style = self._word(now)
        return Text(f"● {text}", style=style)

    def _word(self, now: datetime) -> tuple[str, str]:
        if self._lost_at:
            return f"no broker since {lasting((now - self._lost_at).total_seconds())}", "bold red"
        if self._bridge_state == "offline":
            return "stopped", "bold red"
        if self._info and self._info.model.state == "failed":
            return "failed", "bold red"
        if not self._bridge_state and not self._info:
            return ("no service", "bold red") if self._is_silent(now) else ("connecting", "yellow")
        if self._info and self._info.model.state in {"loading", "unloaded"}:
            return self._info.model.state, "yellow"
        if self._stats and self._stats.system_status in {"paused", "stopping"}:
            return self._stats.system_status, "yellow"
        return ("online", "green") if self._bridge_state == "online" else ("unknown", "yellow")

    def _is_silent(self, now: datetime) -> bool:
        if self._connected_at is None:
            return False
        return (now - self._connected_at).total_seconds() >= _RETAINED_WITHIN_S

    def model(self, width: int) -> Iterator[Text]:
        """The model; while it loads, how far it is, and why it failed where it did."""
        if self._info is None:
            return
        model = self._info.model
        message = harmless(model.message or "")
        kind = model.dtype if model.quantization in {None, "none"} else model.quantization
        name = harmless(f"{_short(model.name)} on {model.device}, {kind}")
        if not self.is_at_work:
            yield Text(crop(name, width), "dim")
        elif model.state == "failed":
            for line in fit(wrap(f"model: {message}", width), _MOST_LINES_OF_MODEL, width):
                yield Text(line, "bold red")
        elif model.state == "loading" and message:
            bar = _bar(message)
            yield Text.assemble((bar, "yellow"), crop(message, width - len(bar)))
        else:
            about = Text(crop(f"{name}: {message}" if message else name, width), "dim")
            yield _with_right(about, self._processor(), width)

    def problems(self, now: datetime, width: int, room: int) -> Iterator[Text]:
        """What is wrong and why, the worst first, in at most `room` lines."""
        found = self._problems(now)
        num_shown = min(len(found), _MOST_PROBLEMS, room)
        if num_shown < len(found):
            num_shown = max(1, min(num_shown, room - 1))
        spare = room - num_shown - (num_shown < len(found))
        for text, style in found[:num_shown]:
            lines = fit(wrap(text, width), 2 if spare > 0 else 1, width)
            spare -= len(lines) - 1
            for line in lines:
                yield Text(line, style)
        if num_shown < len(found):
            yield Text(crop(f"and {len(found) - num_shown} more", width), "yellow")

    def _problems(self, now: datetime) -> list[tuple[str, str]]:
        """Each with its style."""
        found: list[tuple[str, str]] = []
        if self._lost_at:
            found.append((f"trying again: {self._lost_reason}", "bold red"))
        elif self._bridge_state == "offline":
            text = "the service on this broker was stopped, or lost its connection"
            found.append((text, "bold red"))
        elif not self._bridge_state and not self._info and self._is_silent(now):
            text = "nobody speaks below this base topic: is the service running, with the same "
            found.append((f"{text}mqtt.base_topic, and may this account read?", "yellow"))
        if self._health and self.is_at_work:
            found += [
                (f"{check.status} {name}: {check.message}", HEALTH_STYLES[check.status])
                for name, check in sorted(
                    self._health.checks.items(), key=lambda each: each[1].status, reverse=True
                )
                if check.status != "healthy" and not self._is_said(check.message)
            ]
        return found

    def _is_said(self, message: str) -> bool:
        """Whether the model's own line says it already."""
        return self._info is not None and message == self._info.model.message

    def queue(self, work: Work, now: datetime) -> Text:
        """What waits, by class, and what is in work for how long."""
        text = Text()
        if self._stats:
            text.append(f"waiting {self._stats.queue_size}")
            by_name = self._stats.queue_by_priority
            for priority in reversed(Priority):
                if waiting := by_name.get(priority.wire):
                    mark = PRIORITY_MARKS[priority].strip()
                    text.append(f"  {mark} {waiting}", PRIORITY_STYLES[priority])
        working = work.longest()
        if not working:
            return text
        shown = [
            f"{crop(harmless(job.camera_id), 20)} {lasting((now - job.since).total_seconds())}"
            for job in working[:_MOST_WORKING]
        ]
        text.append("   " if text else "")
        text.append("working: ", "dim").append(", ".join(shown))
        if len(working) > _MOST_WORKING:
            text.append(f" +{len(working) - _MOST_WORKING}")
        return text

    def rate(self) -> str:
        """Captions per minute, in words."""
        return f"{self._stats.captions_per_minute:.0f}/min" if self._stats else ""

    def latency(self) -> str:
        """How long captions take, and what was not captioned."""
        if self._stats is None:
            return "no statistics yet"
        stats = self._stats
        parts = []
        if stats.latency_overall:
            overall = stats.latency_overall
            parts.append(f"typically {overall.p50:.1f} s, 99 % within {overall.p99:.1f} s")
        lost = Counter(stats.dropped) + Counter(stats.duplicates) + Counter(stats.rejected)
        if lost:
            named = ", ".join(f"{harmless(name)} {count}" for name, count in lost.most_common())
            parts.append(f"not captioned: {named}")
        return "   ".join(parts)

    def gpus(self) -> list[str]:
        """Each GPU in a line."""
        return [_gpu(gpu) for gpu in self._metrics.gpus] if self._metrics else []

    def _processor(self) -> str:
        if self._metrics is None:
            return ""
        return f"cpu {self._metrics.cpu:.0f} %  memory {self._metrics.memory:.0f} %"


def _bar(message: str) -> str:
    """A bar as long as the percentage in the message says; empty where it says none."""
    found = _PERCENT.search(message)
    if found is None:
        return ""
    filled = round(min(100.0, float(found[1])) / 100 * _BAR_CELLS)
    return "█" * filled + "░" * (_BAR_CELLS - filled) + " "


def _short(name: str) -> str:
    """A hub id as it is; of a folder's path the end."""
    parts = PurePath(name).parts
    return name if len(parts) <= 2 else f"…/{parts[-2]}/{parts[-1]}"


def _with_right(line: Text, right: str, width: int) -> Text:
    """Something that is good to know at the right end, where there is room for it."""
    gap = width - line.cell_len - len(right)
    return line.append(" " * gap + right, "dim") if right and gap >= 2 else line


def _gib(num_bytes: int) -> float:
    return (
        max(0, min(num_bytes, _MOST_BYTES)) / _GIB
    )  # an integer of JSON can be too large for a float


def _gpu(gpu: Gpu) -> str:
    parts = [harmless(gpu.name)]
    if gpu.utilization:
        parts.append(f"{gpu.utilization.gpu} %")
    parts.append(f"{_gib(gpu.memory.used):.1f} of {_gib(gpu.memory.total):.1f} GiB")
    if gpu.temperature is not None:
        parts.append(f"{gpu.temperature} °C")
    if gpu.power is not None:
        parts.append(f"{gpu.power:.0f} W")
    return "  ".join(parts)
