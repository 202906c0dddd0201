"""Image files as the command line names them, looked at before anything is sent."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import typer

from engine.errors import ImageDecodeError, ImageTooLargeError
from engine.images import ImageLimits, inspect
from service.errors import ServiceError

_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
_MOST_PROBLEMS = 5  # named in one message
# Whether an image is too large or too small is the service's to say, whose settings may be others.
_ANY_SIZE = ImageLimits(
    max_bytes=1 << 40, max_pixels=1 << 40, max_pixels_costly=1 << 40, max_side=1 << 20, min_side=1
)


def read_paths(paths: Sequence[Path]) -> list[Path]:
    """The images at these paths; those of a folder in order of name.

    Raises:
        typer.BadParameter: There is nothing at a path.
        ServiceError: A file is no image, or cannot be read; or a folder holds none.
    """
    files = [file for path in paths for file in _files(path)]
    problems = [each for file in files if (each := _problem(file))]
    if problems:
        more = len(problems) - _MOST_PROBLEMS
        told = [*problems[:_MOST_PROBLEMS], *([f"and {more} more"] if more > 0 else [])]
        raise ServiceError(f"{'; '.join(told)}; nothing was sent")
    return files


def _files(path: Path) -> Iterator[Path]:
    try:
        if not path.is_dir():
            path.stat()
            yield path
            return
        images = sorted(file for file in path.iterdir() if file.suffix.lower() in _SUFFIXES)
    except FileNotFoundError as error:
        raise typer.BadParameter(f"{path} is no file", param_hint="PATH") from error
    except OSError as error:
        raise ServiceError(f"{path}: {error.strerror}; nothing was sent") from error
    if not images:
        raise ServiceError(f"{path}: holds no JPEG, PNG or WebP file; nothing was sent")
    yield from images


def _problem(file: Path) -> str | None:
    """Why a file cannot be a frame."""
    if not file.is_file():
        return f"{file}: is no file"
    try:
        image = file.read_bytes()
        if not image:
            return f"{file}: is empty"
        inspect(image, _ANY_SIZE)
    except OSError as error:
        return f"{file}: {error.strerror}"
    except ImageDecodeError as error:
        return f"{file}: {error}"
    except ImageTooLargeError:  # of a JPEG with too many scans, which the service refuses
        return None
    return None
