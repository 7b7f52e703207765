"""The watched namespaces, and which reads the API server denies in each of them."""

import logging
from collections.abc import Sequence
from threading import Lock

logger = logging.getLogger(__name__)

ALL = ""  # stands for all namespaces, as in paths of the API


class Namespaces:
    """Notes and logs in which namespaces reads are denied. Methods may be called from any thread.

    The API server denies all reads in a namespace that does not exist, because its Roles do not exist either.
    Empty `names` stand for all namespaces, which then count as one.
    """

    def __init__(self, names: Sequence[str] = ()) -> None:
        self.names = tuple(names) or (ALL,)
        self._denied: dict[str, set[tuple[str, str]]] = {name: set() for name in self.names}
        self._lock = Lock()

    def of(self, key: str) -> str:
        """Return the watched namespace of `namespace/name`: ALL if all namespaces are watched."""
        namespace, _, _name = key.partition("/")
        return namespace if namespace in self._denied else ALL

    @property
    def denied(self) -> tuple[str, ...]:
        """The namespaces in which at least one read is denied."""
        return tuple(name for name in self.names if self._denied[name])

    def is_denied(self, namespace: str, read: str) -> bool:
        """Return whether this read was denied when it was last tried."""
        return (namespace, read) in self._denied[self.of(namespace)]

    def forget(self) -> None:
        """Forget all denials, because this process no longer tries every read; the next denial is logged."""
        with self._lock:
            for reads in self._denied.values():
                reads.clear()

    def deny(self, namespace: str, read: str, error: object) -> None:
        """Note that a read, such as `list pods`, is denied; log the first denial in a namespace."""
        name = self.of(namespace)
        with self._lock:
            is_first = not self._denied[name]
            self._denied[name].add((namespace, read))
        if is_first:
            fields = {"namespace": describe(name), "error": str(error)}
            logger.warning("Namespace is not watched, reads are denied", extra={"fields": fields})

    def allow(self, namespace: str, read: str) -> None:
        """Note that a read is allowed; log it if it was the last one that was denied in a namespace."""
        name = self.of(namespace)
        if not self._denied[name]:
            return
        with self._lock:
            was_denied = bool(self._denied[name])
            self._denied[name].discard((namespace, read))
            is_last = was_denied and not self._denied[name]
        if is_last:
            fields = {"namespace": describe(name)}
            logger.info("Namespace is watched again", extra={"fields": fields})


def describe(name: str) -> str:
    """Return the name, or `*` for all namespaces."""
    return name or "*"
