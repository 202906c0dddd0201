"""Runs trials, many at once, each with a good frame of another camera right behind it."""

import asyncio
import base64
import hashlib
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, suppress
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self

from broker.embedded import BrokerProgram
from tests.hostile.case import BASE, Case, picture
from tests.hostile.lab import Lab, a_lab
from tests.hostile.listener import Trace
from tests.hostile.report import Report
from tests.hostile.trial import Finding, Names, Sent, Trial, fill, is_over, judge, plan
from tests.hostile.wire import Protocol, Publication, RawClient, RefusedError
from tests.support.checker import until

PATIENCE_S = 60.0  # for an answer; a machine may be busy with other things
_AT_ONCE = 24  # three messages each, within what Mosquitto lets one client have in flight
_MOST_SILENT = 24  # trials without an answer; then there is no point in going on
_LOOK_S = 0.2
_NUM_CANARIES = 8  # cameras of good frames


class Runner:
    """Runs trials against a lab.

    Args:
        lab: The service and those around it.
    """

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._senders: dict[Protocol, RawClient] = {}
        self._stack = AsyncExitStack()
        self._numbers = count()
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)  # by camera
        self._trials: dict[str, Trial] = {}  # by job id
        self._cameras: dict[int, tuple[str, str]] = {}  # by worker
        self._num_silent = 0
        self.findings: list[Finding] = []

    async def __aenter__(self) -> Self:
        for protocol in ("3.1.1", "5"):
            await self._connect(protocol)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def _connect(self, protocol: Protocol) -> None:
        sender = RawClient(self._lab.broker.port, protocol, f"corpus-{next(self._numbers)}")
        self._senders[protocol] = await self._stack.enter_async_context(sender)

    async def run(self, trials: Sequence[Trial]) -> None:
        """Try all, or as many as there are until the service ends."""
        left = iter(trials)
        async with asyncio.TaskGroup() as tasks:
            for worker in range(_AT_ONCE):
                tasks.create_task(self._work(worker, left), name=f"worker {worker}")

    def strays(self) -> list[str]:
        """What was published where it must not be, and because of what."""
        return [
            f"stray message on {text}, because of {self._story(job_id)}"
            for text, job_id in self._lab.listener.strays
        ]

    async def wrong_captions(self) -> list[str]:
        """Send a good frame from every camera of the trials: each must be the one that stays."""
        cameras = [each for pair in self._cameras.values() for each in pair]
        job_ids = await asyncio.gather(*(self._send_good(each) for each in cameras))
        newest = dict(zip(cameras, job_ids, strict=True))
        retained = await self._retained(set(newest))
        return [
            f"the caption that stays on {camera} is not its newest, but of {self._story(job_id)}"
            for camera, job_id in retained.items()
            if job_id != newest[camera]
        ] + [f"no caption stays on {camera}" for camera in newest.keys() - retained.keys()]

    async def _send_good(self, camera: str) -> str:
        """Send a good frame and wait for its caption; its job id."""
        trace, frame = self._good_frame(camera)
        await self._senders["5"].publish(frame)
        await self._hear(trace, lambda: trace.canary_caption is not None)
        self._lab.listener.close(trace)
        return trace.canary

    def _story(self, job_id: str) -> str:
        return str(self._trials.get(job_id, "a frame that was not followed"))

    async def _retained(self, cameras: set[str]) -> dict[str, str]:
        """Job ids of retained captions by camera, as a new subscriber gets them."""
        found: dict[str, str] = {}

        def hear(topic: str, payload: bytes, _: bool) -> None:
            if (camera := topic.split("/")[1]) in cameras:
                found[camera] = json.loads(payload)["job_id"]

        async with RawClient(self._lab.broker.port, "3.1.1", "reader") as reader:
            await reader.subscribe(f"{BASE}/+/caption", hear)
            with suppress(TimeoutError):
                await until(lambda: found.keys() >= cameras, PATIENCE_S / 10)
        return found

    async def _work(self, worker: int, left: Iterator[Trial]) -> None:
        is_new = True
        for trial in left:
            if not self._lab.service.is_running or self._num_silent >= _MOST_SILENT:
                return
            if is_new:
                self._cameras[worker] = self._new_camera(), self._new_camera()
            camera, other = self._cameras[worker]
            unique = f"one-{next(self._numbers):08d}"
            names = Names(camera, other, unique, self._lab.server.port)
            shots = [fill(shot, names, trial.qos) for shot in trial.case.shots]
            async with AsyncExitStack() as stack:
                for each in sorted({sent.camera for sent in shots if sent.camera is not None}):
                    await stack.enter_async_context(self._turns[each])
                finding = await self._try(trial, shots)
            self.findings.append(finding)
            self._num_silent += finding.seconds >= PATIENCE_S
            is_new = bool(finding.problems)  # something may still come for the old ones

    def _new_camera(self) -> str:
        return f"c{next(self._numbers):07d}"

    async def _try(self, trial: Trial, shots: Sequence[Sent]) -> Finding:
        began = time.monotonic()
        number = next(self._numbers)
        trace, canary = self._good_frame(f"canary-{number % _NUM_CANARIES}", shots, trial.qos)
        try:
            refused = await self._send(trial, shots, canary)
        except RefusedError as error:
            return Finding(trial, (), 0.0, (f"the sender of the good frame: {error}",))
        await self._hear(trace, lambda: is_over(shots, refused, trace))
        self._lab.listener.close(trace)
        for job_ids in trace.captions.values():
            self._trials.update(dict.fromkeys(job_ids, trial))
        outcomes, problems = judge(shots, refused, trace)
        return Finding(trial, tuple(outcomes), time.monotonic() - began, tuple(problems))

    def _good_frame(
        self, camera: str, shots: Sequence[Sent] = (), qos: int = 1
    ) -> tuple[Trace, Publication]:
        """A sound frame, and the trace that waits for its caption and for those before it."""
        names = Names("-" * 8, "-" * 8, f"one-{next(self._numbers):08d}", 10_000)
        image = names.fill(picture())
        job_id = f"good-{next(self._numbers)}"
        head = {"job_id": job_id, "priority": "high"}
        payload = json.dumps({**head, "frame_data": base64.b64encode(image).decode()}).encode()
        trace = Trace(
            cameras=tuple({sent.camera for sent in shots if sent.camera is not None}),
            hashes=tuple(sent.sha256 for sent in shots if sent.camera is None),
            answers_on=tuple(sent.answer_on for sent in shots if sent.answer_on is not None),
            canary=job_id,
            canary_digest=hashlib.sha256(image).hexdigest(),
        )
        frame = Publication(f"{BASE}/{camera}/frame".encode(), payload, qos)
        self._lab.listener.open(trace, [camera])
        for publication in (frame, *(sent.publication for sent in shots)):
            self._lab.listener.expect(publication.topic, publication.payload)
        return trace, frame

    async def _hear(self, trace: Trace, is_so: Callable[[], bool]) -> None:
        """Wait until it is so, as long as that can still be."""
        until_s = time.monotonic() + PATIENCE_S
        while not is_so() and self._lab.service.is_running and time.monotonic() < until_s:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await trace.changed.wait()
            trace.changed.clear()

    async def _send(self, trial: Trial, shots: Sequence[Sent], canary: Publication) -> set[int]:
        """Send the shots and the good frame; which shots the broker has refused."""
        refused = set()
        for number, sent in enumerate(shots):
            if _is_alone(sent) and not await self._send_alone(trial.protocol, sent):
                refused.add(number)
        if self._senders[trial.protocol].is_lost:
            await self._connect(trial.protocol)
        sender = self._senders[trial.protocol]
        # Written without a pause: nothing comes between the case and the good frame.
        together = [
            (number, sender.publish(sent.publication))
            for number, sent in enumerate(shots)
            if not _is_alone(sent) and not sent.shot.is_early
        ]
        taken = sender.publish(canary)
        for number, done in together:
            try:
                await done
            except RefusedError:
                refused.add(number)
        await taken
        return refused

    async def _send_alone(self, protocol: Protocol, sent: Sent) -> bool:
        """Send over a connection of its own; whether the broker has taken it."""
        name = f"alone-{next(self._numbers)}"
        will = sent.publication if sent.shot.is_will else None
        async with RawClient(self._lab.broker.port, protocol, name, will=will) as sender:
            if sent.shot.is_will:
                await sender.vanish()
            elif sent.packet is not None:
                await sender.write_last(sent.packet)
            else:
                try:
                    await sender.publish(sent.publication)
                except RefusedError:
                    return False
        return True


async def try_all(
    folder: Path,
    corpus: dict[str, list[Case]],
    *,
    is_full: bool,
    program: BrokerProgram | None = None,
) -> Report:
    """Try every case against one service.

    Args:
        folder: Empty.
        corpus: Cases by family.
        is_full: Every case with both protocols at every QoS, else once; see `plan`.
        program: The broker; None for the one that is installed.
    """
    began = time.monotonic()
    trials = plan(corpus, is_full=is_full)
    names = Names("-" * 8, "-" * 8, "-" * 12, 10_000)
    shots = [shot for cases in corpus.values() for case in cases for shot in case.shots]
    early = [fill(shot, names, 1).publication for shot in shots if shot.is_early]
    async with a_lab(folder, early, program) as lab, Runner(lab) as runner:
        await runner.run(trials)
        wrong = await runner.wrong_captions() if lab.service.is_running else []
        problems = [*wrong, *runner.strays(), *lab.problems()]
    return Report(corpus, trials, runner.findings, problems, time.monotonic() - began)


def _is_alone(sent: Sent) -> bool:
    return sent.shot.is_alone or sent.shot.is_will
