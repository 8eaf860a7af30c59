"""Is CHANGELOG.md ready for a release? Checks a tag against it and the package's version, and prints what is new.

    python packaging/changelog.py v0.2.0

The tag is `v` and the version; the changelog has a section `## [VERSION] - YYYY-MM-DD` with something in it, and
nothing is left under Unreleased.
"""

import datetime
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def sections(changelog: str) -> dict[str, tuple[str, str]]:
    """Date and text of each version; Unreleased has no date."""
    parts = re.split(r"^## \[([^\]]+)\](?: - (\S+))?[ \t]*$", changelog, flags=re.MULTILINE)
    return {parts[i]: (parts[i + 1] or "", parts[i + 2].strip()) for i in range(1, len(parts), 3)}


def release_notes(tag: str, changelog: str, package: str) -> str:
    """The text of the release that the tag names; ValueError with a sentence if it cannot be released. `package` is the
    text of aishark_panel/__init__.py."""
    found = re.search(r'^__version__ = "([^"]+)"', package, re.MULTILINE)
    version = found[1] if found else ""
    if tag != f"v{version}":
        raise ValueError(f"The tag is {tag}, and the package's version {version}: the tag has to be v{version}.")
    known = sections(changelog)
    if version not in known:
        raise ValueError(f"CHANGELOG.md has no section '## [{version}] - YYYY-MM-DD'.")
    date, text = known[version]
    try:
        datetime.date.fromisoformat(date)
    except ValueError:
        raise ValueError(f"CHANGELOG.md dates {version} {date!r}; it has to be YYYY-MM-DD.") from None
    if not text:
        raise ValueError(f"CHANGELOG.md says nothing of {version}.")
    if known.get("Unreleased", ("", ""))[1]:
        raise ValueError(f"CHANGELOG.md still has something under Unreleased; move it to {version}.")
    return text


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python packaging/changelog.py TAG")
    changelog, package = ROOT / "CHANGELOG.md", ROOT / "aishark_panel" / "__init__.py"
    try:
        notes = release_notes(sys.argv[1], changelog.read_text("utf-8"), package.read_text("utf-8"))
    except ValueError as error:
        sys.exit(str(error))
    sys.stdout.write(notes + "\n")


if __name__ == "__main__":
    main()
