"""Prometheus' text exposition format 0.0.4: samples in, lines out."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Literal

__all__ = ["TEXT", "family", "single"]

TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
"""Its media type."""

_ESCAPES: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def family(
    name: str, kind: Literal["counter", "gauge"], about: str, samples: Iterable[tuple[Mapping[str, str], float]]
) -> Iterator[str]:
    """The lines of a metric: its help, its type, and its samples by their labels."""
    yield f"# HELP {name} {about}"
    yield f"# TYPE {name} {kind}"
    for labels, value in samples:
        inner = ",".join(f'{label}="{text.translate(_ESCAPES)}"' for label, text in labels.items())
        yield f"{name}{{{inner}}} {value}" if inner else f"{name} {value}"


def single(name: str, kind: Literal["counter", "gauge"], about: str, value: float) -> Iterator[str]:
    """The lines of a metric that has one sample, without labels."""
    return family(name, kind, about, [({}, value)])
