"""Prometheus' text exposition format 0.0.4: metrics that are declared once, their samples in, text out."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal, NamedTuple

__all__ = ["TEXT", "Metric", "Sample", "exposition"]

TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
"""Its media type."""

_ESCAPES: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class Metric(NamedTuple):
    """What a number is called, and what it means."""

    name: str
    kind: Literal["counter", "gauge"]
    about: str
    labels: tuple[str, ...] = ()


class Sample(NamedTuple):
    """A number of the metric `name`, with the values of its labels."""

    name: str
    value: float
    labels: tuple[str, ...] = ()


def exposition(metrics: Sequence[Metric], samples: Iterable[Sample]) -> str:
    """The samples below their metrics, which come in the order in which they are declared. KeyError, ValueError: a
    sample of no metric, or with too few or too many labels."""
    by_name: dict[str, list[Sample]] = {metric.name: [] for metric in metrics}
    for sample in samples:
        by_name[sample.name].append(sample)
    return "".join(f"{line}\n" for metric in metrics for line in _lines(metric, by_name[metric.name]))


def _lines(metric: Metric, samples: Iterable[Sample]) -> Iterator[str]:
    yield f"# HELP {metric.name} {metric.about}"
    yield f"# TYPE {metric.name} {metric.kind}"
    for sample in samples:
        pairs = zip(metric.labels, sample.labels, strict=True)
        inner = ",".join(f'{label}="{text.translate(_ESCAPES)}"' for label, text in pairs)
        yield f"{metric.name}{{{inner}}} {sample.value}" if inner else f"{metric.name} {sample.value}"
