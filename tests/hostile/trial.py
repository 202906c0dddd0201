"""One case over one protocol at one QoS: filled in, sent, and judged by what was heard."""

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from broker.topics import Topics
from tests.hostile.case import BASE, CAMERA, OTHER, PORT, REPEAT, UNIQUE, Case, Shot
from tests.hostile.listener import Trace
from tests.hostile.wire import Protocol, Publication

_TOPICS = Topics(BASE)


@dataclass(frozen=True, slots=True)
class Trial:
    """What is to be tried."""

    family: str
    case: Case
    protocol: Protocol
    qos: int

    def __str__(self) -> str:
        return f"{self.family}: {self.case.name} (MQTT {self.protocol}, QoS {self.qos})"


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of it."""

    trial: Trial
    outcomes: tuple[str, ...]
    seconds: float
    problems: tuple[str, ...]


def plan(corpus: dict[str, list[Case]], *, is_full: bool) -> list[Trial]:
    """What is tried.

    Args:
        is_full: Each case with every protocol at every QoS; else in one of these ways, always the
            same one, so that all of them are tried with about as many cases.
    """
    trials = []
    for family, cases in corpus.items():
        for case in cases:
            ways = [(protocol, qos) for protocol in case.protocols for qos in range(3)]
            chosen = ways if is_full else [ways[zlib.crc32(case.name.encode()) % len(ways)]]
            trials += [Trial(family, case, *way) for way in chosen]
    return trials


@dataclass(frozen=True, slots=True)
class Names:
    """What the placeholders of a trial stand for."""

    camera: str
    other: str
    unique: str
    port: int

    def fill(self, template: bytes) -> bytes:
        for placeholder, name in {
            CAMERA: self.camera,
            OTHER: self.other,
            UNIQUE: self.unique,
            PORT: str(self.port),
        }.items():
            assert len(placeholder) == len(name), placeholder
            template = template.replace(placeholder.encode(), name.encode())
        return template


@dataclass(frozen=True, slots=True)
class Sent:
    """A shot, filled in."""

    shot: Shot
    publication: Publication
    camera: str | None  #: None: the topic names none
    packet: bytes | None
    answer_on: str | None
    digest: str | None  #: SHA-256 of its image

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.publication.payload).hexdigest()


def fill(shot: Shot, names: Names, qos: int) -> Sent:
    """The shot as it is sent."""
    topic = names.fill(shot.topic.encode("utf-8", "surrogateescape"))
    camera = _TOPICS.camera_of_frame(topic.decode("utf-8", "replace"))
    return Sent(
        shot,
        Publication(
            topic,
            names.fill(shot.payload),
            qos if shot.qos is None else shot.qos,
            shot.retain,
            shot.dup,
            names.fill(shot.properties),
        ),
        camera,
        names.fill(shot.packet) if shot.packet is not None else None,
        names.fill(shot.answer_on.encode()).decode() if shot.answer_on is not None else None,
        hashlib.sha256(names.fill(shot.image)).hexdigest() if shot.image is not None else None,
    )


def outcome(sent: Sent, trace: Trace, *, is_refused: bool) -> str:
    """What became of a shot, as far as it has been heard."""
    if is_refused:
        return "broker"
    if sent.camera is None:
        letter = trace.letters.get(sent.sha256)
        return "silent" if letter is None else f"unrouted {letter['error']['code']}"
    ends = list(trace.ends.get(sent.camera, {}).values())
    if not ends:
        return "silent"
    if sent.shot.expect == REPEAT:
        return "repeat"
    code = (ends[0]["error"] or {}).get("code", "")
    return f"{ends[0]['status']} {code}".strip()


def is_over(shots: Sequence[Sent], refused: set[int], trace: Trace) -> bool:
    """Whether all that must come has come.

    Silence is believed once the good frame behind has its caption: what is answered at once is
    answered in the order of arrival.
    """
    if trace.canary_caption is None:
        return False
    for number, sent in enumerate(shots):
        said = outcome(sent, trace, is_refused=number in refused)
        if said == "silent" and not sent.shot.expect & {"silent", "repeat"}:
            return False
        if said == "completed" and not _is_captioned(sent, trace):
            return False
    return True


def judge(shots: Sequence[Sent], refused: set[int], trace: Trace) -> tuple[list[str], list[str]]:
    """The outcomes, and what is wrong with them."""
    outcomes, problems = [], list(trace.problems)
    if trace.canary_caption is None:
        problems.append("the good frame behind it has no caption")
    elif _digest(trace.canary_caption) != trace.canary_digest:
        problems.append("the good frame behind it has the caption of another")
    for number, sent in enumerate(shots):
        said = outcome(sent, trace, is_refused=number in refused)
        outcomes.append(said)
        if said not in sent.shot.expect:
            problems.append(f"{said}, not {' or '.join(sorted(sent.shot.expect))}")
        if said == "completed":
            problems += _wrong_captions(sent, trace)
        elif said.startswith("rejected") and sent.sha256 not in trace.letters:
            problems.append("rejected without a dead letter")
    problems += [
        f"{len(ends)} ends on {camera}" for camera, ends in trace.ends.items() if len(ends) > 1
    ]
    return outcomes, problems


def _is_captioned(sent: Sent, trace: Trace) -> bool:
    assert sent.camera is not None
    [job_id, *_] = trace.ends[sent.camera]
    is_answered = sent.answer_on is None or sent.answer_on in trace.answers
    return job_id in trace.captions.get(sent.camera, {}) and is_answered


def _wrong_captions(sent: Sent, trace: Trace) -> list[str]:
    if not _is_captioned(sent, trace):
        return ["completed without a caption, or without the answer it may have"]
    assert sent.camera is not None
    [job_id, *_] = trace.ends[sent.camera]
    document = trace.captions[sent.camera][job_id]
    problems = []
    if sent.digest is not None and _digest(document) != sent.digest:
        problems.append("captioned as another picture")
    if sent.shot.size is not None and _size(document) != sent.shot.size:
        problems.append(f"decoded as {_size(document)}")
    if sent.answer_on is not None and trace.answers[sent.answer_on] != document:
        problems.append("the answer is another document")
    return problems


def _size(document: dict[str, Any]) -> tuple[int, int]:
    """What the engine says of a picture; see `tests.support.decoding_engine`."""
    width, height = _words(document)[0].split("x")
    return int(width), int(height)


def _digest(document: dict[str, Any]) -> str:
    return _words(document)[1]


def _words(document: dict[str, Any]) -> list[str]:
    words: list[str] = document["result"]["caption"].split()
    return words
