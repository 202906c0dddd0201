"""How `publish` shows where it stands: captions on stdout, everything else on stderr.

On a terminal several files have a progress bar; elsewhere a line is said when it is new.
"""

from types import TracebackType
from typing import Self

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from service.commands.terminal import one_line


class Display:
    """What is shown of the frames that are sent.

    Args:
        num_frames: How many; names and a bar are shown for several only.
    """

    def __init__(self, num_frames: int) -> None:
        console = Console(stderr=True)
        self._is_one = num_frames == 1
        self._has_bar = console.is_terminal and not self._is_one
        columns = (BarColumn(20), MofNCompleteColumn(), TextColumn("{task.description}"))
        # What is printed to stdout stays there, also where only stderr is a terminal.
        self._bar = Progress(
            *columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False
        )
        self._task = self._bar.add_task("", total=num_frames)
        self._last = ""

    def __enter__(self) -> Self:
        if self._has_bar:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._has_bar:
            self._bar.stop()

    def say(self, text: str, *, is_lasting: bool = False) -> None:
        """Tell what is happening.

        Args:
            text: One line; said again only after another.
            is_lasting: Beside a bar, or of one frame of several, it is worth a line of its own.
        """
        text = one_line(text)
        if text == self._last:
            return
        self._last = text
        if self._has_bar:
            self._bar.update(self._task, description=escape(text))
        if is_lasting or self._is_one:
            self._print(text, err=True)

    def caption(self, name: str, caption: str) -> None:
        """Print the caption of a file, which has its end with it."""
        self.advance()
        caption = one_line(caption)
        self._print(caption if self._is_one else f"{one_line(name)}: {caption}", err=False)

    def advance(self, num_frames: int = 1) -> None:
        """So many have had their end."""
        self._bar.advance(self._task, num_frames)

    def _print(self, text: str, *, err: bool) -> None:
        """Print a line where no bar stands in its way."""
        if self._has_bar:
            self._bar.stop()
        typer.echo(text, err=err)
        if self._has_bar:
            self._bar.start()
