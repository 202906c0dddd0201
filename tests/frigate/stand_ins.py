"""Empty modules in place of packages that Frigate's HTTP application imports and never uses.

Detectors, models, audio and camera control are no part of what is tested, and would be gigabytes.
"""

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

_ABSENT = frozenset(
    {
        "Levenshtein",
        "ai_edge_litert",
        "librosa",
        "norfair",
        "onnxruntime",
        "onvif",
        "py3nvml",
        "py_vapid",
        "pywebpush",
        "regex",
        "sherpa_onnx",
        "soundfile",
        "tensorflow",
        "transformers",
        "zeep",
    }
)


class _StandIn(ModuleType):
    __path__: list[str] = []  # noqa: RUF012 - what makes it a package

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        value = MagicMock(name=f"{self.__name__}.{name}")
        setattr(self, name, value)
        return value


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name.partition(".")[0] not in _ABSENT:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return _StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is in it."""


def install() -> None:
    """Let the import of one of them give an empty module."""
    sys.meta_path.insert(0, _Finder())
