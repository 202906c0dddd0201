"""A document, a check or a reading that breaks is one document, one check, one reading."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from schemas.status import (
    BridgeInfo,
    Figures,
    Gpu,
    Health,
    HealthCheck,
    LogDocument,
    Metrics,
    Stats,
)
from service.engines.view import EnginesView
from service.errors import UNEXPECTED
from service.logs import BridgeLog
from service.monitor import About, Monitor, Watched
from service.statistics import Statistics
from service.store.retention import Retention
from service.store.view import StoreView
from tests.boundaries.bench import SECRET, Bench, boundary_bench, check_log
from tests.boundaries.test_dispatch import Engine


def broken(*_: Any, **__: Any) -> Any:
    raise RuntimeError(SECRET)


async def figures() -> Figures:
    """Of the parts that are not here."""
    return {
        "active_jobs": 0,
        "queue_size": 0,
        "queue_by_priority": {},
        "processing": True,
        "webhook_success_rate": None,
        "connection": {},
        **Statistics().figures(0.0),
    }


class IdleEngine(Engine):
    loaded = None
    silent_s = 0.0


def no_gpus() -> tuple[Gpu, ...]:
    return ()


@asynccontextmanager
async def monitoring(
    folder: Path,
    *,
    read_gpus: Callable[[], tuple[Gpu, ...]] = no_gpus,
    mqtt_version: Callable[[], str] = lambda: "5",
    check: Callable[[], HealthCheck] = lambda: HealthCheck(status="healthy", message="ok"),
) -> AsyncIterator[tuple[Bench, Monitor, BridgeLog]]:
    async with boundary_bench(folder, stats_interval=0.1) as bench:
        bridge_log = BridgeLog(bench.clock)
        store = StoreView(bench.store, bench.statistics)
        watched = (
            Watched("part", check),
            Watched("internal", bridge_log.check),
            Watched("store", store.health, store.figures),
            Watched("others", figures=figures),
        )
        about = About("1.2.3", "home", mqtt_version, {}, {}, bench.settings.stats_interval)
        engines = EnginesView([IdleEngine()])
        monitor = Monitor(
            bench.outside, watched, engines, about, read_gpus, bridge_log, bench.clock
        )
        running = asyncio.create_task(monitor.run())
        try:
            yield bench, monitor, bridge_log
            assert not running.done(), "the monitor has ended"
        finally:
            running.cancel()
            await asyncio.wait([running])


def said(bench: Bench, kind: type[Any]) -> list[Any]:
    return [each for each in bench.outside.documents if isinstance(each, kind)]


async def until_said(bench: Bench, kind: type[Any], number: int) -> None:
    await bench.until(lambda: len(said(bench, kind)) >= number)


async def all_but(bench: Bench, *missing: type[Any]) -> None:
    """Two rounds of every document but these."""
    for kind in (Stats, Metrics, Health, BridgeInfo):
        if kind not in missing:
            await until_said(bench, kind, 1 if kind is BridgeInfo else 3)
    for kind in missing:
        assert said(bench, kind) == []


async def test_gpu_reader_that_breaks_costs_the_metrics_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with monitoring(tmp_path, read_gpus=broken) as (bench, _, _):
        await all_but(bench, Metrics)
    check_log(caplog)


async def test_processor_that_cannot_be_measured_costs_the_metrics_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(psutil, "cpu_percent", broken)
    async with monitoring(tmp_path) as (bench, _, _):
        await all_but(bench, Metrics)
    check_log(caplog)


async def test_check_that_breaks_is_degraded_and_the_others_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with monitoring(tmp_path, check=broken) as (bench, _, _):
        await all_but(bench)
        health = said(bench, Health)[-1]
    assert (health.checks["part"].status, health.checks["part"].message) == ("degraded", UNEXPECTED)
    assert (health.status, health.checks["store"].status) == ("degraded", "healthy")
    check_log(caplog)


async def test_counts_that_break_cost_the_statistics_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with monitoring(tmp_path) as (bench, _, _):
        bench.store.break_at("counts")
        num_before = len(said(bench, Stats))
        for kind in (Metrics, Health):
            await until_said(bench, kind, len(said(bench, kind)) + 2)
        bench.store.mend()
        await until_said(bench, Stats, num_before + 2)
    check_log(caplog)


async def test_info_that_breaks_is_tried_again_with_a_pause(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    calls = []

    def version() -> str:
        calls.append(1)
        return broken() if len(calls) == 1 else "5"

    async with monitoring(tmp_path, mqtt_version=version) as (bench, _, _):
        await all_but(bench)
    check_log(caplog)


async def test_announcer_that_breaks_is_no_hot_loop(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with monitoring(tmp_path) as (bench, _, bridge_log):
        bench.outside.break_at("announce", lambda document: isinstance(document, LogDocument))
        said = {"name": "service", "levelno": logging.WARNING, "msg": "careful"}
        bridge_log.handle(logging.makeLogRecord(said))
        await bench.until(lambda: bench.outside.num_broken >= 1)
        await asyncio.sleep(0.6)
        assert bench.outside.num_broken == 1
        await all_but(bench)
    check_log(caplog)


async def test_sweep_that_breaks_is_made_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with boundary_bench(tmp_path, store={"cleanup_interval": 0.1}) as bench:
        bench.store.break_at("delete_finished")
        retention = Retention(bench.store, bench.settings.store, bench.clock)
        running = asyncio.create_task(retention.run())
        await bench.until(lambda: bench.store.num_broken >= 2)
        bench.store.break_at("frame_bytes")  # the step behind it
        num_broken = bench.store.num_broken
        bench.store.breaks.pop("delete_finished")
        await bench.until(lambda: bench.store.num_broken > num_broken)
        assert not running.done()
        running.cancel()
        await asyncio.wait([running])
    check_log(caplog)
