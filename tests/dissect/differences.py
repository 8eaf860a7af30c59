"""Count where columns differ from tshark's: the figures of docs/differences.md.

python -m tests.dissect.differences ../shared
"""

import sys
from pathlib import Path

from tests.dissect.test_oracle import HEADERS, NAMES, compared, differing, outer_only
from tests.dissect.test_oracle_applications import applications_of, carried_by

__all__: list[str] = []


def report(shared: Path) -> str:
    """Columns, frames that have a value on either side, and frames that differ; then pairs of names."""
    both = compared(shared / "oracle" / "oracle.parquet", shared / "captures")
    plain = outer_only(both)
    payloads = carried_by(both)
    applications = applications_of(payloads)
    lines = [f"{len(both):,} frames, {len(plain):,} of them without tunnels, {len(payloads):,} of TCP and UDP"]
    columns = [(both[~both.icmp_quoted], name, name) for name in HEADERS]
    columns += [(applications, name, theirs) for name, theirs in NAMES.items()]
    for frames, ours, theirs in columns:
        filled, differ = differing(frames, ours, theirs)
        lines.append(f"{ours:15} {filled:>7,} {len(differ):>6,}  {', '.join(sorted(differ.file.unique())[:3])}")
    equal = plain.ws_col_protocol == plain.our_protocol
    lines.append(
        f"protocol: {equal.sum():,} equal, {equal[payloads.index].sum():,} of TCP and UDP; tshark's, ours, frames:"
    )
    pairs = plain[~equal].groupby(["ws_col_protocol", "our_protocol"]).size()
    return "\n".join([*lines, pairs.sort_values(ascending=False).to_string(), ""])


if __name__ == "__main__":
    sys.stdout.write(report(Path(sys.argv[1])))
