"""Who does the work: this process, or the worker processes of a Dask cluster. What is asked of both is the same."""

from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Final, Protocol, Self, TypeVar

from aishark_panel.errors import ConfigError

__all__ = ["Cluster", "Here", "Workers", "workers_at"]

T = TypeVar("T")
R = TypeVar("R")
_CONNECT_S: Final = 10


class Workers(Protocol):
    """Apply a function to each of some items. A context manager."""

    @property
    def count(self) -> int:
        """How many work at once."""

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """The results, in the order of the items. Errors of the function are raised here."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class Here:
    """This process."""

    count = 1

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        return map(function, items)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass


class Cluster:
    """The workers of a Dask cluster, on whose hosts aishark-panel is installed and which reach the files as we do."""

    def __init__(self, scheduler: str) -> None:
        """Connect to the scheduler, such as tcp://host:8786. Raises ConfigError."""
        try:
            from distributed import Client
        except ModuleNotFoundError:
            raise ConfigError(
                "A cluster needs Dask, which is not installed: pip install 'aishark-panel[cluster]'"
            ) from None
        try:
            self._client: Any = Client(scheduler, timeout=_CONNECT_S, set_as_default=False)
        except (OSError, ValueError, TimeoutError) as error:
            raise ConfigError(f"no Dask scheduler answers at {scheduler}: {error}") from None
        self.count = len(self._client.nthreads())
        if not self.count:
            self._client.close()
            raise ConfigError(f"the Dask cluster at {scheduler} has no workers; start some: dask worker {scheduler}")

    def map(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        futures = self._client.map(function, items, pure=False)
        try:
            for future in futures:
                yield future.result()
        finally:
            self._client.cancel(futures)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._client.close()


def workers_at(scheduler: str) -> Workers:
    """Those of the cluster with that scheduler; "" for this process."""
    return Cluster(scheduler) if scheduler else Here()
