"""Available memory under control groups, from files as a kernel writes them."""

import platform
from pathlib import Path

import psutil
import pytest

from moondream2.memory import available_bytes, give_back

GIB = 1 << 30
#: Bytes of files of the group in the page cache; they can be read again.
STAT = "anon 5\ninactive_file 100\nactive_file 20\nshmem 7\n"
OLD_STAT = "cache 9\ninactive_file 1\ntotal_inactive_file 100\ntotal_active_file 20\n"


def put(root: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def group(root: Path, path: str, limit: str, used: int) -> None:
    folder = f"sys/fs/cgroup/{path}"
    put(
        root,
        {
            f"{folder}/memory.max": f"{limit}\n",
            f"{folder}/memory.current": f"{used}\n",
            f"{folder}/memory.stat": STAT,
        },
    )


def test_container_of_version_2_has_what_its_limit_leaves(tmp_path: Path) -> None:
    put(tmp_path, {"proc/self/cgroup": "0::/\n"})
    group(tmp_path, ".", "5000", 3000)
    assert available_bytes(tmp_path) == 5000 - 3000 + 120


def test_limit_of_a_parent_holds_for_its_children(tmp_path: Path) -> None:
    put(tmp_path, {"proc/self/cgroup": "0::/system.slice/moondream2mqtt.service\n"})
    group(tmp_path, "system.slice/moondream2mqtt.service", "max", 3000)
    group(tmp_path, "system.slice", "4000", 3500)
    assert available_bytes(tmp_path) == 4000 - 3500 + 120


def test_container_of_version_1_is_known_by_its_top(tmp_path: Path) -> None:
    """Its own path is that of the host, and not there."""
    put(
        tmp_path,
        {
            "proc/self/cgroup": "5:cpu,cpuacct:/x\n4:memory:/docker/abc\n0::/docker/abc\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9000\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": "1000\n",
            "sys/fs/cgroup/memory/memory.stat": OLD_STAT,
        },
    )
    assert available_bytes(tmp_path) == 9000 - 1000 + 120


@pytest.mark.parametrize("stat", ["", "nonsense\n", "inactive_file many\n"])
def test_limit_counts_where_its_files_cannot_be_read(tmp_path: Path, stat: str) -> None:
    put(tmp_path, {"proc/self/cgroup": "nonsense\n0::/\n"})
    group(tmp_path, ".", "5000", 3000)
    put(tmp_path, {"sys/fs/cgroup/memory.stat": stat})
    assert available_bytes(tmp_path) == 2000


def test_use_above_the_limit_leaves_nothing(tmp_path: Path) -> None:
    put(tmp_path, {"proc/self/cgroup": "0::/\n"})
    group(tmp_path, ".", "5000", 9000)
    assert available_bytes(tmp_path) == 0


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"proc/self/cgroup": "nonsense\n"},
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "plenty\n"},
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "5000\n"},
        {
            "proc/self/cgroup": "4:memory:/\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        },
    ],
    ids=["none", "unreadable", "no number", "no use", "no limit"],
)
def test_without_a_readable_limit_the_machine_counts(tmp_path: Path, files: dict[str, str]) -> None:
    put(tmp_path, files)
    assert available_bytes(tmp_path) == pytest.approx(psutil.virtual_memory().available, abs=GIB)


def test_here_it_is_a_number() -> None:
    assert 0 < available_bytes() <= psutil.virtual_memory().total


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator is another")
def test_what_was_freed_between_blocks_in_use_is_given_back() -> None:
    process = psutil.Process()
    blocks = [bytes(100_000) for _ in range(1000)]  # below the size that is mapped on its own
    blocks = blocks[99::100]
    before = process.memory_info().rss
    give_back()
    assert before - process.memory_info().rss > 50e6
    assert len(blocks) == 10
