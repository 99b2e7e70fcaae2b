"""Modules of others that are loaded when something is first asked of them, or not at all.

asyncio and protobuf import modules that most daemons never use: TLS (with OpenSSL, a tenth of the daemon's memory), and
messages in plain Python. This is for a program's first lines: it does nothing about a module that is there already.
Whether a late module exists is still seen when it is imported; only running it waits. `from module import name` uses
it at once. (`importlib`'s own LazyLoader cannot be used: with Python 3.11 a second `import` makes a module load.)
"""

from __future__ import annotations

import contextlib
import sys
import threading
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from importlib.abc import Loader

_WAITING = "__waiting__"


def load_late(names: Collection[str], known: Mapping[str, Mapping[str, object]] | None = None) -> None:
    """From now on, modules with these full names are run at the first look at an attribute, by whatever thread.

    `known` has attributes by module that stand for the module's own until then, and do not make it run.
    """
    finder = _LateFinder(frozenset(names), known or {})
    if finder not in sys.meta_path:
        sys.meta_path.insert(0, finder)


def is_waiting(module: ModuleType) -> bool:
    """Whether it is a late one that has not been used yet."""
    return isinstance(module, _LateModule)


@contextlib.contextmanager
def without(name: str) -> Iterator[None]:
    """Within the block a module that is not there yet seems not to be installed."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # the import system's own way of saying so
    try:
        yield
    finally:
        del sys.modules[name]


class _LateFinder:
    def __init__(self, names: frozenset[str], known: Mapping[str, Mapping[str, object]]) -> None:
        self._names = names
        self._known = known

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _LateFinder) and (self._names, self._known) == (other._names, other._known)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in self._names:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _LateLoader(spec.loader, self._known.get(fullname, {}))  # type: ignore[assignment]  # what the import system needs of one
        return spec


class _LateLoader:
    def __init__(self, loader: Loader, known: Mapping[str, object]) -> None:
        self._loader = loader
        self._known = known

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__.update(self._known)
        module.__dict__[_WAITING] = (self._loader, threading.RLock(), [])
        module.__class__ = _LateModule


class _LateModule(ModuleType):
    def __getattr__(self, name: str) -> Any:
        """Of an attribute that is not there. Others wait for who loads the module; what it asks of itself has to be."""
        if name == "__path__":  # the import system asks whether it is a package
            raise AttributeError(name)
        loader, lock, begun = self.__dict__[_WAITING]
        with lock:
            if not begun:
                begun.append(True)
                try:
                    loader.exec_module(self)
                except BaseException:
                    begun.clear()  # perhaps only a descriptor or memory was missing: the next use tries again
                    raise
                self.__class__ = ModuleType  # type: ignore[assignment]  # it is one now, and as fast
        return object.__getattribute__(self, name)
