"""Files of the service's own: the folder they are in, and what the file system says about them.

Two kinds of trouble are told apart here. No room passes, so it is waited for; everything else (no
right to write, a file in the way, a disk mounted read-only) is the operator's to mend.
"""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

from service.errors import ConfigurationError, StoreFullError

#: No space left, or the quota is used up.
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


def open_data_dir(path: Path) -> None:
    """Make the folder for its owner alone, and see that files can be made in it.

    Raises:
        ConfigurationError: They cannot.
        StoreFullError: The disk is full.
    """
    with usable(f"data_dir {path}"):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Not os.access: what it says of network shares and of root is not what happens.
        with TemporaryFile(dir=path):
            pass


def check_data_dir(path: Path) -> None:
    """See that `open_data_dir` would succeed, and leave nothing behind.

    Raises:
        ConfigurationError, StoreFullError: As there.
    """
    folder = path.absolute()
    # A folder that may not be looked into counts as missing, and its parent decides.
    existing = next(each for each in (folder, *folder.parents) if os.path.lexists(each))
    with usable(f"data_dir {path}"), TemporaryDirectory(dir=existing):
        pass


@contextmanager
def usable(what: str) -> Iterator[None]:
    """Turn an error of the file system into one that says what it was about.

    Raises:
        ConfigurationError: The operator has to do something.
        StoreFullError: The disk is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM:
            raise StoreFullError(f"{what}: {error.strerror}") from error
        is_in_the_way = isinstance(error, FileExistsError | NotADirectoryError)
        reason = "a file is in its way" if is_in_the_way else error.strerror or str(error)
        raise ConfigurationError(f"{what}: {reason}") from error


def write_whole(path: Path, text: str) -> None:
    """Write a file for its owner alone; after a power cut it has all of the text, or is as before.

    The owner is the folder's: root may do it for the service.

    Raises:
        OSError: It cannot be written.
    """
    owner = path.parent.stat()
    descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
            if os.geteuid() == 0:
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
        os.replace(draft, path)
    except BaseException:
        os.unlink(draft)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
