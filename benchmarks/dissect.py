"""How fast frames become columns, on one core: a mixed trace (about 600 bytes a frame), its ACKs alone, 64-byte frames.

    python benchmarks/dissect.py [--packets 1000000] [--rounds 5] [--seed 1]

The frames are made here from a seed. They lie in memory one after another, as in a capture file, and are dissected
in batches of 8,192 into one block that is used again, as the hub does. Then capture files with twice as many 64-byte
frames as mixed ones are read from the page cache:

- their bytes, in pieces into one buffer, and nothing else;
- reading and indexing: every frame found and copied into a batch;
- to columns with application metadata and TCP analysis, as `ais.read` does, of the first 66 bytes of each frame, as
  `tcpdump -s 66` would keep (Ethernet, IPv4, TCP with timestamps): next to nothing is left for application protocols.
  This is the nearest to header columns alone, which we do not make: TCP analysis and conversations are still in it;
- the same of whole frames;
- tshark with the same fields, dpkt and scapy, where they are installed, on as many packets as given with --sample;
  scapy on a fifth of them, pyshark on a fiftieth. Fewer would compare little but the start of tshark, some 0.4 s.

All times are CPU times of all threads; programs include their start.
"""

import random
import statistics
import struct
import tempfile
import time
from pathlib import Path

import numpy as np
from peers import bytes_alone, here, library, rounds_of, tshark
from results import Result, Table, arguments, finish, progress

from aishark_panel.capturefile import open_capture
from aishark_panel.dissect import dissect, warm_up
from aishark_panel.export.read import read_file
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.packets import Packets
from aishark_panel.wire.pcapwrite import PcapWriter

BATCH_ROWS = 8192
TEMPLATES = 4096
CUT_BYTES = 66
PPS, CPU_NS = "million packets/s", "CPU, ns a packet"
COLUMNS = "columns"
ETHERNET = np.ones(1, np.int32)
FIRST_INTERFACE = np.zeros(1, np.uint16)


def ethernet(rng: random.Random, payload: bytes, ether_type: int) -> bytes:
    tag = struct.pack(">HH", 0x8100, rng.randrange(1, 4095)) if rng.random() < 0.1 else b""
    return rng.randbytes(12) + tag + struct.pack(">H", ether_type) + payload


def network(rng: random.Random, proto: int, payload: bytes) -> bytes:
    if rng.random() < 0.2:
        addresses = b"\x20\x01\x0d\xb8" + rng.randbytes(12) + b"\x20\x01\x0d\xb8" + rng.randbytes(12)
        header = struct.pack(">IHBB", 0x60000000, len(payload), proto, 64) + addresses
        return ethernet(rng, header + payload, 0x86DD)
    header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), rng.randrange(65536), 0x4000, 64, proto, 0)
    return ethernet(rng, header + b"\x0a" + rng.randbytes(3) + b"\x0a" + rng.randbytes(3) + payload, 0x0800)


def tcp(rng: random.Random, port: int, payload: bytes) -> bytes:
    ports = [port, rng.randrange(32768, 60999)]
    rng.shuffle(ports)
    options = b"\x01\x01\x08\x0a" + rng.randbytes(8)
    header = struct.pack(">HHIIHHHH", *ports, rng.getrandbits(32), rng.getrandbits(32), 0x8018, 502, 0, 0)
    return network(rng, 6, header + options + payload)


def udp(rng: random.Random, port: int, payload: bytes) -> bytes:
    return network(rng, 17, struct.pack(">HHHH", rng.randrange(32768, 60999), port, 8 + len(payload), 0) + payload)


def host(rng: random.Random) -> bytes:
    return f"www.site{rng.randrange(300)}.example.com".encode()


def client_hello(rng: random.Random) -> bytes:
    name = host(rng)
    sni = struct.pack(">HHHBH", 0, len(name) + 5, len(name) + 3, 0, len(name)) + name
    extensions = struct.pack(">HH", 10, 8) + bytes(8) + sni + struct.pack(">HH", 43, 5) + b"\x04\x03\x04\x03\x03"
    body = b"\x03\x03" + rng.randbytes(32) + b"\x20" + rng.randbytes(32) + struct.pack(">H", 32) + rng.randbytes(32)
    body += b"\x01\x00" + struct.pack(">H", len(extensions)) + extensions
    return struct.pack(">BHHI", 22, 0x0301, len(body) + 4, 1 << 24 | len(body)) + body


def http_request(rng: random.Random) -> bytes:
    line = b"GET /page/%d?q=%d HTTP/1.1\r\n" % (rng.randrange(200), rng.randrange(10))
    return line + b"User-Agent: benchmark\r\nHost: " + host(rng) + b"\r\nAccept: */*\r\n\r\n"


def http_response(rng: random.Random) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + rng.randbytes(rng.randrange(200, 1300))


def dns_query(rng: random.Random) -> bytes:
    name = b"".join(bytes([len(label)]) + label for label in host(rng).split(b"."))
    return rng.randbytes(2) + struct.pack(">HHHHH", 0x0100, 1, 0, 0, 0) + name + b"\0" + struct.pack(">HH", 1, 1)


def tls_data(rng: random.Random) -> bytes:
    length = rng.randrange(100, 1380)
    return struct.pack(">BHH", 23, 0x0303, length) + rng.randbytes(length)


MIX = (
    (0.29, lambda rng: tcp(rng, 443, b"")),
    (0.30, lambda rng: tcp(rng, 443, tls_data(rng))),
    (0.02, lambda rng: tcp(rng, 443, client_hello(rng))),
    (0.02, lambda rng: tcp(rng, 80, http_request(rng))),
    (0.03, lambda rng: tcp(rng, 80, http_response(rng))),
    (0.14, lambda rng: tcp(rng, 443, b"\x80" + rng.randbytes(1380))),
    (0.06, lambda rng: udp(rng, 53, dns_query(rng))),
    (0.13, lambda rng: udp(rng, 443, b"\x40" + rng.randbytes(rng.randrange(30, 1350)))),
    (0.01, lambda rng: network(rng, 1, b"\x08\0" + rng.randbytes(62))),
)


def mixed(rng: random.Random) -> list[bytes]:
    makers = rng.choices([maker for _, maker in MIX], [share for share, _ in MIX], k=TEMPLATES)
    return [maker(rng) for maker in makers]


def acks(rng: random.Random) -> list[bytes]:
    return [tcp(rng, 443, b"") for _ in range(TEMPLATES)]


def smallest(rng: random.Random) -> list[bytes]:
    return [
        network(rng, 17, struct.pack(">HHHH", 9, 9, 8 + 22, 0) + bytes(22))[:64].ljust(64, b"\0")
        for _ in range(TEMPLATES)
    ]


def trace(templates: list[bytes], packets: int, rng: random.Random) -> Frames:
    frames = rng.choices(templates, k=packets)
    return Frames.from_list(frames, [1_700_000_000_000_000_000 + 1_000 * i for i in range(packets)])


def one_round(frames: Frames, block: Packets) -> float:
    """CPU seconds to dissect all frames; what else runs on the machine does not count."""
    began = time.thread_time()
    done = 0
    while done < len(frames):
        block.clear()
        batch = frames.slice(done, min(done + BATCH_ROWS, len(frames)))
        done += dissect(batch, 0, ETHERNET, FIRST_INTERFACE, block)
    return time.thread_time() - began


def write_file(path: Path, frames: Frames) -> None:
    writer = PcapWriter(link_type=1)
    with path.open("wb") as file:
        file.write(writer.header())
        for done in range(0, len(frames), BATCH_ROWS):
            file.write(writer.frames(frames.slice(done, min(done + BATCH_ROWS, len(frames)))))


def indexed(path: Path) -> None:
    with open_capture(path) as capture:
        for _ in capture:
            pass


def to_columns(path: Path) -> None:
    for _ in read_file(path):
        pass


def cut_to_columns(path: Path) -> None:
    for _ in read_file(path, snaplen=CUT_BYTES):
        pass


def in_memory(packets: int, seed: int, rounds: int) -> Table:
    """Frames that lie in memory, to columns."""
    block = Packets(BATCH_ROWS)
    table = Table("Frames in memory to columns", "frames", ["bytes each", PPS, CPU_NS])
    for name, make in (("mixed", mixed), ("bare ACKs", acks), ("64 bytes", smallest)):
        progress(f"{name}, in memory")
        rng = random.Random(seed)
        frames = trace(make(rng), packets, rng)
        seconds = [one_round(frames, block) for _ in range(rounds)]
        table.add(name, frames.captured_bytes / len(frames), *speeds(seconds, len(frames)))
    return table


def speeds(seconds: list[float], packets: int) -> tuple[float, list[float]]:
    """Cells: million packets a second (the median), nanoseconds a packet."""
    return packets / statistics.median(seconds) / 1e6, [1e9 * each / packets for each in seconds]


def from_files(name: str, frames: Frames, sample: int, rounds: int, notes: list[str]) -> Table:
    """All who read the trace from a file; who cannot is named in the notes."""
    ours = {
        "bytes, each looked at": here(bytes_alone),
        "read and indexed": here(indexed),
        f"{COLUMNS}, {CUT_BYTES} bytes of each": here(cut_to_columns),
        COLUMNS: here(to_columns),
    }
    sample = min(sample, len(frames))
    slow = {
        "tshark, same fields": (tshark(), sample),
        "dpkt, no columns": (library("dpkt"), sample),
        "scapy": (library("scapy"), sample // 5),
        "pyshark": (library("pyshark"), sample // 50),
    }
    table = Table(f"Files: {name}", "to", ["packets", PPS, CPU_NS], base=COLUMNS, of=CPU_NS)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.pcap"
        write_file(path, frames)
        for warm in (to_columns, cut_to_columns):
            warm(path)
        progress(f"{name}: ours")
        for reader, seconds in rounds_of(ours, path, rounds).items():
            table.add(reader, len(frames), *speeds(seconds, len(frames)))
        for reader, (read, packets) in slow.items():
            progress(f"{name}: {reader}")
            write_file(path, frames.slice(0, packets))
            times = rounds_of({reader: read}, path, rounds)
            if reader in times:
                table.add(reader, packets, *speeds(times[reader], packets))
            else:
                notes.append(f"{reader} is left out of {name}: it is not installed, or did not end well.")
    return table


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--packets", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sample", type=int, default=100_000, help="packets for the slower readers")
    options = parser.parse_args()
    warm_up()
    notes: list[str] = []
    tables = [in_memory(options.packets, options.seed, options.rounds)]
    for name, make, share in (("mixed", mixed, 1), ("64 bytes", smallest, 2)):
        rng = random.Random(options.seed)
        frames = trace(make(rng), share * options.packets, rng)
        tables.append(from_files(name, frames, options.sample, options.rounds, notes))
    finish(Result("dissect", tables, notes), options.json)


if __name__ == "__main__":
    main()
