"""What do rules cost? Share of a core at 100,000 packets/s, by the number of rules, beside pandas; and a storm of keys.

    python benchmarks/alerts.py [--packets 500000] [--rules 1 20 200] [--rounds 3]

*Rules* are those of benchmarks/rules.yaml again and again with other windows; from the second time on each has a
condition of its own (`and orig_len != N`), so that nothing is shared which rules of different people would not share.
They see a mixed trace at 100,000 packets/s of packet time, in batches of 5,000 (20 a second), as the hub hands them
over. CPU of the engine alone; the rows are dissected before.

*Conditions* compares what selects the packets: 20 expressions, compiled by us and by `DataFrame.query`, on the same
columns in batches of 8,192.

*Storm*: 100,000 sources within a minute, each of which meets a rule by source: CPU, memory, alerts, and what was left
out.
"""

import copy
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from results import Result, Table, arguments, finish, progress
from traces import write_trace

import aishark_panel as ais
from aishark_panel.alerts.log import AlertLog
from aishark_panel.alerts.rule import Rule, parse_rules
from aishark_panel.capturefile import open_capture
from aishark_panel.dissect import Dissector
from aishark_panel.export.read import CaptureTable
from aishark_panel.query import compile_expression
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.packets import Interface, Packets

RATE_PPS = 100_000
BATCH_ROWS = 5_000
RULES = Path(__file__).with_name("rules.yaml")
CONDITIONS = (
    "dst_port == 443",
    "src_port == 53 or dst_port == 53",
    "protocol == 'TCP'",
    "protocol in ['DNS', 'HTTP', 'TLSv1.3']",
    "orig_len > 1000 and protocol == 'TCP'",
    "tcp_flags == 2",
    "tcp_window == 0",
    "dns_rcode == 3",
    "ip_ttl < 5",
    "src_ip == '10.0.0.1'",
    "dst_ip == '10.0.0.2'",
    "ip_version == 6",
    "payload_len == 0 and tcp_flags == 16",
    "tls_sni == 'example.com'",
    "dns_query.str.contains('example')",
    "http_status >= 500",
    "icmp_type == 8",
    "orig_len * 8 > 4000",
    "dst_port in [22, 23, 3389, 5900]",
    "not (protocol == 'UDP')",
)
INTERFACES = [Interface("a", "eth0", 1)]
CONDITION_NS = "CPU, ns a packet and condition"


def many(count: int) -> tuple[Rule, ...]:
    """So many rules."""
    known = yaml.safe_load(RULES.read_text())["rules"]
    rules = []
    for number in range(count):
        rule = copy.deepcopy(known[number % len(known)])  # what is shared would be written as an alias
        turn = number // len(known)
        if turn:
            rule["name"] = f"{rule['name']}_{turn}"
            rule["where"] = f"({rule.get('where', 'orig_len > 0')}) and orig_len != {65_000 + number}"
            if "over" in rule:
                rule["over"] = f"{5 + turn}s"
        rules.append(rule)
    return parse_rules(yaml.safe_dump({"rules": rules}), "rules")


def batches(trace: Path, packets: int) -> Iterator[Packets]:
    """The trace in batches, dissected, one memory for all."""
    dissector, block = Dissector(), Packets(BATCH_ROWS)
    done = 0
    with open_capture(trace) as file:
        for frames in file:
            start = 0
            while start < len(frames) and done < packets:
                block.clear()
                piece = frames.slice(start, min(start + BATCH_ROWS, len(frames)))
                taken = dissector.append(piece, 0, np.ones(1, np.int32), np.zeros(1, np.uint16), block)
                start, done = start + taken, done + taken
                yield block


def cost_s(rules: tuple[Rule, ...], trace: Path, packets: int) -> float:
    """CPU seconds of the rules over the trace."""
    log, total_s = AlertLog(rules), 0.0
    for block in batches(trace, packets):
        began_s = time.thread_time()
        log.take(block, 0, block.length, INTERFACES)
        log.settle()
        total_s += time.thread_time() - began_s
    return total_s


def conditions(trace: Path, packets: int, rounds: int) -> Table:
    """Nanoseconds a packet and condition: ours, and DataFrame.query."""
    frame: Any = ais.read(trace).df.head(packets)
    pieces = [frame.iloc[i : i + 8_192] for i in range(0, len(frame), 8_192)]
    predicates = [compile_expression(text) for text in CONDITIONS]

    def pandas() -> float:
        began_s = time.thread_time()
        for piece in pieces:
            for text in CONDITIONS:
                piece.query(text, engine="python")
        return time.thread_time() - began_s

    def ours() -> float:
        spent = 0.0
        with open_capture(trace) as file:
            table = CaptureTable(file)
            for block, _ in table.blocks():
                began_s = time.thread_time()
                for predicate in predicates:
                    predicate.mask(block, 0, block.length, table.interfaces)
                spent += time.thread_time() - began_s
        return spent

    per = 1e9 / (len(frame) * len(CONDITIONS))
    table = Table(f"{len(CONDITIONS)} conditions", "", [CONDITION_NS], base="compiled by us", of=CONDITION_NS)
    table.add("compiled by us", [ours() * per for _ in range(rounds)])
    table.add("DataFrame.query", [pandas() * per for _ in range(rounds)])
    return table


def storm(keys: int) -> Table:
    """So many sources in a minute, each worth an alert."""
    text = "rules: [{name: storm, by: [src_ip], over: 10s, having: packets >= 1, annotations: {summary: '{src_ip}'}}]"
    log = AlertLog(parse_rules(text, "storm"))
    frame = bytearray(bytes(12) + b"\x08\x00\x45\x00\x00\x1c" + bytes(4) + b"\x40\x11\x00\x00" + bytes(8) + bytes(8))
    dissector, block = Dissector(), Packets(1_000)
    before, spent, told = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0.0, 0
    for first in range(0, keys, 1_000):
        content = []
        for key in range(first, first + 1_000):
            frame[26:30] = (0x0A000000 + key).to_bytes(4, "big")
            content.append(bytes(frame))
        times = [1_700_000_000 * 10**9 + (first + i) * 60 * 10**9 // keys for i in range(1_000)]
        block.clear()
        dissector.append(Frames.from_list(content, times), 0, np.ones(1, np.int32), np.zeros(1, np.uint16), block)
        began_s = time.thread_time()
        log.take(block, 0, block.length, INTERFACES)
        log.settle()
        told += len(log.take_news())
        spent += time.thread_time() - began_s
    log.finish()
    (status,) = log.rules()
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    counts = log.counts()
    heads = ["CPU, s", "memory, MiB", "alerts", "of them kept", "packets left out, counted"]
    table = Table("A storm: each key worth an alert, within a minute", "keys", heads)
    kept = counts["raised"] - counts["forgotten"]
    table.add(f"{keys:,}", spent, grown_kib / 1024, counts["raised"], kept, status.missed_keys)
    return table


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--packets", type=int, default=500_000)
    parser.add_argument("--rules", type=int, nargs="+", default=[1, 20, 200])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        trace = Path(folder) / "trace.pcap"
        write_trace(trace, options.packets, snaplen=128, even_pps=RATE_PPS)
        cost_s(many(options.rules[-1]), trace, 20_000)  # kernels are loaded
        progress("a storm of keys")
        storms = storm(100_000)  # before what takes more memory than it
        table = Table(f"Rules at {RATE_PPS:,} packets/s", "rules", ["share of a core, %", "CPU, ns a packet and rule"])
        for count in options.rules:
            progress(f"{count} rules")
            rules = many(count)
            spent_s = [cost_s(rules, trace, options.packets) for _ in range(options.rounds)]
            shares = [100 * each / (options.packets / RATE_PPS) for each in spent_s]
            table.add(f"{count:,}", shares, [1e9 * each / options.packets / count for each in spent_s])
        progress("conditions, ours and by pandas")
        compared = conditions(trace, min(options.packets, 200_000), options.rounds)
    finish(Result("alerts", [table, compared, storms]), options.json)


if __name__ == "__main__":
    main()
