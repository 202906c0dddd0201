import gc
import subprocess
import sys
from pathlib import Path

import pytest

from service.importing import import_to_stay

# In a process of its own: what is frozen stays so.
_COUNT = """
import gc, sys
from service.importing import import_to_stay
looks = []
gc.callbacks.append(lambda phase, info: looks.append(phase))
module = import_to_stay("service.settings")
assert module is sys.modules["service.settings"]
assert not looks, looks
assert gc.isenabled()
assert gc.get_freeze_count() > 10_000
frozen = gc.get_freeze_count()
import_to_stay("service.settings")
assert gc.get_freeze_count() == frozen
"""


def test_import_looks_for_no_garbage_and_is_left_out_of_later_looks() -> None:
    subprocess.run([sys.executable, "-c", _COUNT], check=True)


def test_import_that_fails_leaves_collection_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_module.py").write_text("raise OSError('torn')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(OSError, match="torn"):
        import_to_stay("broken_module")
    assert gc.isenabled()
