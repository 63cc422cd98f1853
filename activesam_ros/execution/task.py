"""What an executor runs: a task, its parts, and the worker that computes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from activesam_ros.pipeline import NetworkOptions


@dataclass(frozen=True, slots=True)
class Part:
    """The images with ``start`` <= place < ``stop``; all from ``start`` on if stop is None."""

    start: int
    stop: int | None = None

    def __contains__(self, place: int) -> bool:
        return self.start <= place and (self.stop is None or place < self.stop)

    def __str__(self) -> str:
        if self.stop is None:
            return f"images from {self.start} on"
        return f"images {self.start} to {self.stop - 1}"


class PartResult(Protocol):
    """The result of one part, or of several that follow each other."""

    @property
    def images(self) -> int:
        """How many images were used."""
        ...

    @property
    def read(self) -> int:
        """How many images were read, used or not."""
        ...

    @property
    def ended(self) -> bool:
        """The source ends within the part."""
        ...

    def check(self) -> None:
        """Raise ActiveSamError if the source cannot be used; for a result that starts at 0."""
        ...

    def extend(self: Result, later: Result) -> None:
        """Add the result of the following part; raises what :meth:`check` raises."""
        ...


Result = TypeVar("Result", bound=PartResult)
Result_co = TypeVar("Result_co", bound=PartResult, covariant=True)
AnyTask = TypeVar("AnyTask", bound="Task[Any]")


@dataclass(frozen=True)
class ResultFormat(Generic[Result]):
    """How results of a task become bytes, for its journal and the pipe of a worker process.

    work: what messages call the task, such as "evaluation". version: to be raised whenever the
    bytes change their meaning. decode: the reverse of ``encode``; raises PlainDataError for bytes
    that are no result of the task.
    """

    work: str
    version: int
    encode: Callable[[Result], bytes]
    decode: Callable[[bytes], Result]


class Worker(Protocol[Result_co]):
    """A loaded network and an open source."""

    @property
    def machine(self) -> dict[str, Any]:
        """What the results say about the computer."""
        ...

    def run(self, part: Part, advance: Callable[[], object] = ...) -> Result_co:
        """Compute ``part``; ``advance`` is called after each used image. Raises ActiveSamError."""
        ...


class Task(Protocol[Result]):
    """A complete piece of work; it can be pickled and sent to another process."""

    @property
    def network(self) -> NetworkOptions:
        """The network of each worker."""
        ...

    @property
    def threads(self) -> int | None:
        """CPU threads of each network, None for PyTorch's default."""
        ...

    @property
    def is_streamed(self) -> bool:
        """Each image depends on those before it, so the source is one part."""
        ...

    @property
    def results(self) -> ResultFormat[Result]:
        """How results become bytes."""
        ...

    def placed(self: AnyTask, network: NetworkOptions, threads: int | None) -> AnyTask:
        """The same task for a worker on another device or with other threads."""
        ...

    def worker(self) -> Worker[Result]:
        """Load the network and open the source; raises ActiveSamError."""
        ...
