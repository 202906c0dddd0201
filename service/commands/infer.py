"""`infer`: the model on image files, without a broker.

Drives an engine process exactly as `serve` does, so what it prints is what a frame would get.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from engine.images import ImageLimits
from engine.protocol import (
    BoxesAnswer,
    ChoiceAnswer,
    Done,
    Failed,
    ModelOptions,
    PointsAnswer,
    Submit,
    TaskSpec,
    TextAnswer,
)
from schemas.frame import Length, Task, TaskKind
from service.commands.options import (
    CommonOptions,
    read_choose,
    read_task,
    reads_settings,
    settings_said,
)
from service.commands.terminal import as_json, one_line
from service.engines.devices import engine_options
from service.engines.process import EngineProcess, Lost
from service.errors import EngineLostError, ServiceError
from service.settings import Settings


class Dtype(StrEnum):
    """Number formats the model computes in."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


class Quantization(StrEnum):
    """Formats of the weights."""

    AUTO = "auto"
    NONE = "none"
    INT8 = "int8"
    INT4 = "int4"


@reads_settings
def run(
    common: CommonOptions,
    images: Annotated[
        list[Path],
        typer.Argument(metavar="IMAGE...", exists=True, dir_okay=False, help="Image files."),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            metavar="DIR_OR_HUB_ID", help="Folder with config.json, or hub id; none: model.name."
        ),
    ] = None,
    revision: Annotated[
        str | None, typer.Option(metavar="R", help="Revision on the hub; none: model.revision.")
    ] = None,
    caption: Annotated[
        Length | None,
        typer.Option(
            metavar="short|normal|long",
            help="Caption of this length. Normal is what you get when you ask for nothing.",
        ),
    ] = None,
    query: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="A question about the image. May be repeated."),
    ] = None,
    choose: Annotated[
        list[str] | None,
        typer.Option(
            metavar="QUESTION=CHOICE,CHOICE",
            help="A question with the only answers there can be, and how probable each is. "
            "May be repeated.",
        ),
    ] = None,
    detect: Annotated[
        list[str] | None,
        typer.Option(metavar="LABEL", help="Box every such object. May be repeated."),
    ] = None,
    point: Annotated[
        list[str] | None,
        typer.Option(metavar="LABEL", help="Point at every such object. May be repeated."),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=2.0,
            metavar="T",
            help="0 always gives the same words, more gives variety; none: model.temperature.",
        ),
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(min=1, max=768, metavar="N", help="Longest answer; none: model.max_tokens."),
    ] = None,
    max_objects: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=150,
            metavar="N",
            help="Most boxes or points a label; none: model.max_objects.",
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(metavar="cpu|cuda|cuda:N|mps", help="Where to compute; none: model.device."),
    ] = None,
    dtype: Annotated[
        Dtype | None,
        typer.Option(
            metavar="auto|float32|bfloat16|float16",
            help="Number format. float32 is exact, bfloat16 is fast on a GPU; none: model.dtype.",
        ),
    ] = None,
    quantization: Annotated[
        Quantization | None,
        typer.Option(
            metavar="auto|none|int8|int4",
            help="Format of the weights. auto: int8 on a CPU without bfloat16 instructions or "
            "memory for it; not given: model.quantization.",
        ),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(
            min=1, max=1024, metavar="N", help="Most images at once; none: what fits in memory."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line, one line an image.")
    ] = False,
) -> None:
    """Run the model on image files, without a broker.

    All tasks of an image share one encoding. Prints the images in the order given.
    """
    said = {
        "--model": ("model.name", model),
        "--revision": ("model.revision", revision),
        "--device": ("model.device", device),
        "--dtype": ("model.dtype", dtype and dtype.value),
        "--quantization": ("model.quantization", quantization and quantization.value),
        "--batch": ("model.slots", batch),
        "--temperature": ("model.temperature", temperature),
        "--max-tokens": ("model.max_tokens", max_tokens),
        "--max-objects": ("model.max_objects", max_objects),
    }
    settings = common.settings(*settings_said(said))
    options, *_ = engine_options(settings.model)
    tasks = [
        *(read_task("--query", {"query": text}) for text in query or ()),
        *(read_choose(text) for text in choose or ()),
        *(read_task("--detect", {"detect": label}) for label in detect or ()),
        *(read_task("--point", {"point": label}) for label in point or ()),
    ]
    template = Submit(
        key="",
        camera_id="infer",
        rank=(),
        tasks=_specs(caption, tasks),
        temperature=settings.model.temperature,
        top_p=settings.model.top_p,
        max_tokens=settings.model.max_tokens,
        max_objects=settings.model.max_objects,
    )
    _check(images)
    printer = _Printer(images, as_json)
    asyncio.run(_run(settings, options, template, images, printer))
    if printer.num_failed:
        raise ServiceError(f"{printer.num_failed} of {len(images)} images failed")


def _specs(caption: Length | None, tasks: Sequence[Task]) -> tuple[TaskSpec, ...]:
    specs = [TaskSpec(task.kind.value, task.text, task.choices) for task in tasks]
    if caption or not specs:
        specs.insert(0, TaskSpec(TaskKind.CAPTION.value, (caption or Length.NORMAL).value))
    return tuple(specs)


def _check(images: Sequence[Path]) -> None:
    """Refuse what may have no end, such as a pipe, before the model is loaded.

    Raises:
        typer.BadParameter: One is no file.
    """
    for path in images:
        if not path.is_file():
            raise typer.BadParameter(f"{path}: is no file", param_hint="IMAGE")


async def _read(path: Path) -> bytes:
    try:
        return await asyncio.to_thread(path.read_bytes)
    except OSError as error:
        raise ServiceError(f"{path}: {error.strerror}") from error


async def _run(
    settings: Settings,
    options: ModelOptions,
    template: Submit,
    images: Sequence[Path],
    printer: "_Printer",
) -> None:
    """Keep the engine full until every image has its outcome."""
    engine = EngineProcess(
        options,
        image_limits=ImageLimits(**settings.frames.model_dump()),
        load_timeout=settings.model.load_timeout,
        step_timeout=settings.model.step_timeout,
    )
    async with engine:
        with Console(stderr=True).status(f"loading {options.name}"):
            await engine.load()
        printer.quantization = engine.state.quantization
        waiting = iter(enumerate(images))
        while not printer.is_complete:
            while engine.free and (item := next(waiting, None)):
                number, path = item
                image = await _read(path)
                await engine.submit(
                    # One class: what matters as much is generated together.
                    replace(template, key=str(number), rank=(0.0, float(number)), body=image)
                )
            match await engine.events.get():
                case Done() as done:
                    printer.add(int(done.key), _answers(template.tasks, done))
                case Failed() as failed:
                    error = {"code": failed.code, "message": failed.message}
                    printer.add(int(failed.key), {"error": error})
                case Lost() as lost:
                    raise EngineLostError(lost.message)


def _answers(tasks: Sequence[TaskSpec], done: Done) -> dict[str, Any]:
    """What the engine said about one image, as it is printed with `--json`."""
    found: dict[str, Any] = {
        "caption": None,
        "queries": [],
        "choices": [],
        "objects": [],
        "points": [],
    }
    for task, answer in zip(tasks, done.answers, strict=True):
        match answer:
            case TextAnswer() if task.kind == TaskKind.CAPTION:
                found["caption"] = _text(answer, "text")
            case TextAnswer():
                found["queries"].append({"question": task.text, **_text(answer, "answer")})
            case ChoiceAnswer():
                found["choices"].append({"question": task.text, **_chosen(task, answer)})
            case BoxesAnswer(boxes=boxes):
                places = [asdict(box) for box in boxes]
                found["objects"].append({"label": task.text, "count": len(boxes), "boxes": places})
            case PointsAnswer(points=spots):
                places = [asdict(spot) for spot in spots]
                found["points"].append({"label": task.text, "count": len(spots), "points": places})
    return found


def _text(answer: TextAnswer, name: str) -> dict[str, Any]:
    return {
        name: answer.text,
        "token_ids": list(answer.token_ids),
        "confidence": answer.confidence,
    }


def _chosen(task: TaskSpec, answer: ChoiceAnswer) -> dict[str, Any]:
    shares = dict(zip(task.choices, answer.probabilities, strict=True))
    best = max(shares, key=shares.__getitem__)
    return {"answer": best, "confidence": shares[best], "probabilities": shares}


class _Printer:
    """Prints outcomes in the order of the images, as soon as that order allows.

    Args:
        images: As given.
        as_json: One object a line, else a paragraph.

    Attributes:
        quantization: Of the weights that answer; None until they are loaded.
    """

    def __init__(self, images: Sequence[Path], as_json: bool) -> None:
        self._images = images
        self._as_json = as_json
        self._ready: dict[int, dict[str, Any]] = {}
        self._num_printed = 0
        self.num_failed = 0
        self.quantization: str | None = None

    @property
    def is_complete(self) -> bool:
        """Whether every image has been printed."""
        return self._num_printed == len(self._images)

    def add(self, number: int, outcome: dict[str, Any]) -> None:
        """Take the outcome of one image."""
        self.num_failed += "error" in outcome
        self._ready[number] = outcome
        while (following := self._ready.pop(self._num_printed, None)) is not None:
            path = self._images[self._num_printed]
            self._num_printed += 1
            if self._as_json:
                line = {"image": str(path), **following, "quantization": self.quantization}
                typer.echo(as_json(line, indent=None))
            else:
                typer.echo("\n".join((one_line(str(path)), *_paragraph(following))))


def _paragraph(outcome: dict[str, Any]) -> Iterator[str]:
    if "error" in outcome:
        yield f"  failed: {outcome['error']['message']} ({outcome['error']['code']})"
        return
    if caption := outcome["caption"]:
        yield f"  {one_line(caption['text'])} ({caption['confidence']:.2f})"
    for query in (*outcome["queries"], *outcome["choices"]):
        words = one_line(f"{query['question']} {query['answer']}")
        yield f"  {words} ({query['confidence']:.2f})"
    for found in (*outcome["objects"], *outcome["points"]):
        yield f"  {one_line(found['label'])}: {found['count']}"
        for place in found.get("boxes") or found.get("points") or ():
            yield "    " + ", ".join(f"{name} {value:.3f}" for name, value in place.items())
