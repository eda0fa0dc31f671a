"""A layer under SQLite, in the library that Python's own `sqlite3` uses.

SQLite asks all of the system through a table of functions, its VFS
(https://sqlite.org/vfs.html). A copy of its default one is registered here, in which
the functions that open, change, sync and lock files are Python's. They ask a disk of
the test first, which may answer in the system's stead. It takes no compiler, and the
product knows nothing of it: while the layer is the default, every connection that this
process makes stands on it.

What is not asked about stays C: the system's own `xOpen` opens a file in the place that
SQLite made for it, and then only its table of methods is exchanged.
"""

from __future__ import annotations

import _sqlite3
import ctypes
import sys
from contextlib import contextmanager
from ctypes import CFUNCTYPE, POINTER, c_char_p, c_int, c_int64, c_void_p
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OK: Final = 0
OPEN_CREATE: Final = 0x4
_SHM_UNLOCK: Final = 0x1
_NAME: Final = b"tested"


class Io(NamedTuple):
    """Something that SQLite asks of the system.

    Attributes:
        kind: What: `open`, `write`, `sync` and so on.
        file: Where SQLite keeps the file; the same for all that is asked of it.
        name: The path of the file.
        go: Has the system do it, of a write the first so many bytes; gives SQLite's
            result code.
        data: The bytes to write.
        number: The place to write to, the size to cut to, the flags to open with;
            of `delete`, whether the directory is to be synced.
    """

    kind: str
    file: int
    name: str
    go: Callable[..., int]
    data: bytes = b""
    number: int = 0


class _Methods(ctypes.Structure):
    """`sqlite3_io_methods` up to version 3."""

    _fields_ = (
        ("iVersion", c_int),
        *(
            (name, c_void_p)
            for name in (
                *("xClose", "xRead", "xWrite", "xTruncate", "xSync", "xFileSize"),
                *("xLock", "xUnlock", "xCheckReservedLock", "xFileControl"),
                *("xSectorSize", "xDeviceCharacteristics", "xShmMap", "xShmLock"),
                *("xShmBarrier", "xShmUnmap", "xFetch", "xUnfetch"),
            )
        ),
    )


class _Vfs(ctypes.Structure):
    """`sqlite3_vfs` up to version 3."""

    _fields_ = (
        ("iVersion", c_int),
        ("szOsFile", c_int),
        ("mxPathname", c_int),
        ("pNext", c_void_p),
        ("zName", c_char_p),
        *(
            (name, c_void_p)
            for name in (
                *("pAppData", "xOpen", "xDelete", "xAccess", "xFullPathname"),
                *("xDlOpen", "xDlError", "xDlSym", "xDlClose", "xRandomness"),
                *("xSleep", "xCurrentTime", "xGetLastError", "xCurrentTimeInt64"),
                *("xSetSystemCall", "xGetSystemCall", "xNextSystemCall"),
            )
        ),
    )


# Names go as addresses: the system's functions keep them, and look for the parameters
# of a URI behind them.
_OPEN: Final = CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p, c_int, c_void_p)
_DELETE: Final = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int)
_SLEEP: Final = CFUNCTYPE(c_int, c_void_p, c_int)
_PLAIN: Final = CFUNCTYPE(c_int, c_void_p)
_NUMBER: Final = CFUNCTYPE(c_int, c_void_p, c_int)
_SIZE: Final = CFUNCTYPE(c_int, c_void_p, c_int64)
_FILE_SIZE: Final = CFUNCTYPE(c_int, c_void_p, c_void_p)
_BYTES: Final = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int, c_int64)
_SHM_MAP: Final = CFUNCTYPE(c_int, c_void_p, c_int, c_int, c_int, c_void_p)
_SHM_LOCK: Final = CFUNCTYPE(c_int, c_void_p, c_int, c_int, c_int)
_ASKED: Final = {
    "xRead": ("read", _BYTES),
    "xSync": ("sync", _NUMBER),
    "xFileSize": ("size", _FILE_SIZE),
    "xLock": ("lock", _NUMBER),
    "xUnlock": ("unlock", _NUMBER),
    "xShmMap": ("shm_map", _SHM_MAP),
}
"""The methods that are asked about and passed on as they are, by their kinds."""


@cache
def library() -> ctypes.CDLL | None:
    """Return the library that `sqlite3` uses; None where it is out of reach."""
    # Where `_sqlite3` is part of the interpreter, it has no file of its own.
    found = ctypes.CDLL(getattr(_sqlite3, "__file__", None))
    if not hasattr(found, "sqlite3_vfs_register"):
        return None
    found.sqlite3_vfs_find.restype = POINTER(_Vfs)
    found.sqlite3_vfs_register.argtypes = (c_void_p, c_int)
    found.sqlite3_vfs_unregister.argtypes = (c_void_p,)
    return found


OUT_OF_REACH: Final = (
    "Python's sqlite3 is linked with an SQLite whose functions are out of reach, "
    f"in {sys.executable}"
)


def _no_disk(io: Io) -> int:
    return io.go()


class Layer:
    """The functions between SQLite and the system.

    Attributes:
        disk: Is asked first.
        system: The system's own functions.
        vfs: Those to give to SQLite.
    """

    def __init__(self, system: _Vfs) -> None:
        """Stand on the system's functions."""
        self.disk: Callable[[Io], int] = _no_disk
        self.system = system
        self._names: dict[int, str] = {}
        self._tables: dict[int, _Methods] = {}
        self._kept: list[Any] = []
        self.vfs = _Vfs.from_buffer_copy(system)
        self.vfs.zName = _NAME
        self.vfs.pNext = None
        self._real_open = _OPEN(system.xOpen)
        self._real_delete = _DELETE(system.xDelete)
        self.vfs.xOpen = self._keep(_OPEN(self._open))
        self.vfs.xDelete = self._keep(_DELETE(self._delete))
        self.vfs.xSleep = self._keep(_SLEEP(self._sleep))

    def _keep(self, function: Any) -> int | None:
        """Keep a function for as long as SQLite may call it; return its address."""
        self._kept.append(function)
        return ctypes.cast(function, c_void_p).value

    def _open(
        self, vfs: int, name: int | None, file: int, flags: int, out: int | None
    ) -> int:
        def go() -> int:
            return int(self._real_open(vfs, name, file, flags, out))

        if name is None:
            return go()
        # SQLite closes what is there even if it could not be opened.
        c_void_p.from_address(file).value = None
        path = ctypes.string_at(name).decode()
        code = self.disk(Io("open", file, path, go, number=flags))
        if code == OK:
            self._names[file] = path
            methods = c_void_p.from_address(file)
            methods.value = self._table(methods.value or 0)
        return code

    def _delete(self, vfs: int, name: int, syncs: int) -> int:
        def go() -> int:
            return int(self._real_delete(vfs, name, syncs))

        path = ctypes.string_at(name).decode()
        return self.disk(Io("delete", 0, path, go, number=syncs))

    @staticmethod
    def _sleep(_vfs: int, microseconds: int) -> int:
        """Say that the time has passed: nobody else is there to be waited for."""
        return microseconds

    def _table(self, real: int) -> int:
        """Return the methods to put in the place of the system's."""
        if real not in self._tables:
            self._tables[real] = self._methods(_Methods.from_address(real))
        return ctypes.addressof(self._tables[real])

    def _methods(self, real: _Methods) -> _Methods:
        made = _Methods.from_buffer_copy(real)
        for field, (kind, form) in _ASKED.items():
            # A journal has no methods for shared memory.
            if (address := getattr(real, field)) is not None:
                passed = self._passed(kind, form(address))
                setattr(made, field, self._keep(form(passed)))
        made.xClose = self._keep(_PLAIN(self._close_with(_PLAIN(real.xClose))))
        made.xWrite = self._keep(_BYTES(self._write_with(_BYTES(real.xWrite))))
        made.xTruncate = self._keep(_SIZE(self._truncate_with(_SIZE(real.xTruncate))))
        if real.xShmLock is not None:
            shm_lock = self._shm_lock_with(_SHM_LOCK(real.xShmLock))
            made.xShmLock = self._keep(_SHM_LOCK(shm_lock))
        return made

    def _passed(self, kind: str, real: Any) -> Callable[..., int]:
        def call(file: int, *arguments: int | None) -> int:
            return self.disk(
                Io(kind, file, self._names[file], lambda: real(file, *arguments))
            )

        return call

    def _close_with(self, real: Any) -> Callable[[int], int]:
        def close(file: int) -> int:
            return self.disk(
                Io("close", file, self._names.pop(file), lambda: real(file))
            )

        return close

    def _write_with(self, real: Any) -> Callable[..., int]:
        def write(file: int, data: int, length: int, offset: int) -> int:
            def go(first: int = length) -> int:
                return int(real(file, data, first, offset))

            copied = ctypes.string_at(data, length)
            return self.disk(Io("write", file, self._names[file], go, copied, offset))

        return write

    def _truncate_with(self, real: Any) -> Callable[..., int]:
        def truncate(file: int, size: int) -> int:
            name = self._names[file]
            return self.disk(
                Io("truncate", file, name, lambda: real(file, size), number=size)
            )

        return truncate

    def _shm_lock_with(self, real: Any) -> Callable[..., int]:
        def shm_lock(file: int, place: int, count: int, flags: int) -> int:
            kind = "shm_unlock" if flags & _SHM_UNLOCK else "shm_lock"
            name = self._names[file]
            return self.disk(
                Io(kind, file, name, lambda: real(file, place, count, flags))
            )

        return shm_lock


@cache
def _only_layer() -> Layer:
    """Return the layer, made once: what SQLite may call has to be kept for good."""
    found = library()
    if found is None:
        raise RuntimeError(OUT_OF_REACH)
    return Layer(found.sqlite3_vfs_find(None).contents)


@contextmanager
def layer(disk: Callable[[Io], int]) -> Iterator[None]:
    """Have a disk asked by all connections that are made meanwhile."""
    made, found = _only_layer(), library()
    assert found is not None
    made.disk = disk
    assert found.sqlite3_vfs_register(ctypes.addressof(made.vfs), 1) == OK
    try:
        yield
    finally:
        found.sqlite3_vfs_unregister(ctypes.addressof(made.vfs))
        found.sqlite3_vfs_register(ctypes.addressof(made.system), 1)
        made.disk = _no_disk
