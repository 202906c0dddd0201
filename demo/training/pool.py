"""A pool of drawn scenes, cut to the crops of the model, on disk.

Drawing costs more than a training step, so every scene is drawn once and used in several epochs,
each time with other sentences and questions. Only pixels are kept: what is in a scene follows from
its seed.
"""

import io
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from demo.scenes.render import render
from demo.scenes.scene import draw_scene

#: Scenes that one task of a worker draws.
_CHUNK = 20


@dataclass(frozen=True, slots=True)
class Cut:
    """The crops of one picture."""

    pixels: NDArray[np.uint8]  # (n, S, S, 3)
    tiling: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Geometry:
    """What a record of the pool holds."""

    #: Most crops of a picture, the global one included.
    crops: int
    #: Side of a crop in pixels.
    side: int


class ScenePool:
    """Crops of the scenes with the seeds 0..size-1.

    Args:
        folder: Holds the files; made when it does not exist.
        size: Number of scenes.
        geometry: Of a record.
    """

    def __init__(self, folder: Path, size: int, geometry: Geometry) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.size, self.geometry = folder, size, geometry
        self._pixels = _open(
            folder / "pixels.npy", (size, geometry.crops, geometry.side, geometry.side, 3)
        )
        #: Rows and columns of every scene; 0, 0 where it is not drawn yet.
        self._tilings = _open(folder / "tilings.npy", (size, 2))

    def missing(self) -> list[int]:
        """Seeds that are not drawn yet."""
        return [int(seed) for seed in np.flatnonzero(self._tilings[:, 0] == 0)]

    def read(self, seed: int, *, is_mirrored: bool = False) -> Cut:
        """The crops of a scene, or of its mirror image."""
        rows, columns = (int(part) for part in self._tilings[seed])
        number = 1 if rows * columns == 1 else 1 + rows * columns
        pixels = self._pixels[seed, :number]
        if is_mirrored:
            pixels = _mirror(pixels, rows, columns)
        return Cut(pixels, (rows, columns))

    def write(self, seed: int, cut: Cut) -> None:
        """Keep the crops of a scene."""
        self._pixels[seed, : len(cut.pixels)] = cut.pixels
        # Last: a scene counts as drawn only when its pixels are there.
        self._tilings[seed] = cut.tiling

    def fill(
        self,
        cut: Callable[[Image.Image], Cut],
        processes: int,
        prepare: Callable[[], object] | None = None,
    ) -> Iterator[int]:
        """Draw what is missing and yield how many scenes are there, from time to time.

        Args:
            cut: Turns a picture into crops; must be importable by worker processes.
            processes: How many draw at the same time.
            prepare: Called once in every worker process.
        """
        seeds = self.missing()
        chunks = [seeds[start : start + _CHUNK] for start in range(0, len(seeds), _CHUNK)]
        done = self.size - len(seeds)
        parts = (repeat(self.folder), repeat(self.size), repeat(self.geometry), repeat(cut))
        # Spawned: a fork of a process that has computed with torch's threads hangs in them.
        context = get_context("spawn")
        with ProcessPoolExecutor(processes, context, initializer=prepare) as workers:
            for drawn in workers.map(_draw, chunks, *parts):
                done += drawn
                yield done


def camera_picture(image: Image.Image, rng: random.Random) -> Image.Image:
    """The picture after the camera's JPEG compression, more or less strong."""
    if rng.random() < 0.3:
        return image
    file = io.BytesIO()
    image.save(file, "JPEG", quality=rng.randint(60, 95))
    return Image.open(file)


def _draw(
    seeds: list[int],
    folder: Path,
    size: int,
    geometry: Geometry,
    cut: Callable[[Image.Image], Cut],
) -> int:
    pool = ScenePool(folder, size, geometry)
    for seed in seeds:
        image = camera_picture(render(draw_scene(seed)), random.Random(seed))
        pool.write(seed, cut(image))
    return len(seeds)


def _open(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    if not path.exists():
        # Sparse: takes room on the disk only as far as it is written.
        return np.lib.format.open_memmap(path, "w+", np.uint8, shape)
    pixels = np.lib.format.open_memmap(path, "r+")
    if pixels.shape != shape:
        raise ValueError(f"{path} holds {pixels.shape}, wanted {shape}; delete it to draw anew")
    return pixels


def _mirror(pixels: NDArray[np.uint8], rows: int, columns: int) -> NDArray[np.uint8]:
    flipped = pixels[:, :, ::-1]
    if len(pixels) == 1:
        return flipped
    local = flipped[1:].reshape(rows, columns, *pixels.shape[1:])[:, ::-1]
    return np.concatenate((flipped[:1], local.reshape(-1, *pixels.shape[1:])))
