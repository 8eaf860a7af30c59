"""Texts from outside on one line of a terminal or a message."""

__all__ = ["printable"]


def printable(text: str) -> str:
    """A text on one line, without anything that steers a terminal, turns writing round or begins another line."""
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)
