"""Imports of what a process needs to its end.

Modules and what they define stay, and there are 300,000 of them: to look for garbage among them
while they are imported finds none and takes a fifth of the time, and every full collection of a
running service would go through all of it again.
"""

import gc
import sys
from importlib import import_module
from types import ModuleType


def import_to_stay(name: str) -> ModuleType:
    """Import a module, and leave what there is by then out of all collections to come."""
    if name in sys.modules:
        return sys.modules[name]
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        module = import_module(name)
        gc.freeze()
    finally:
        if was_enabled:
            gc.enable()
    return module
