"""The protocol tables against one sample an entry, with tshark as the judge of the names."""

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from aishark_panel.dissect.table import TCP_TABLE, UDP_TABLE
from aishark_panel.wire.protocols import PROTOCOLS
from tests.dissect.rows import row_of
from tests.dissect.samples import SAMPLES, Sample

TSHARK_DIFFERS = {
    *(("TCP", name) for name in ("HTTP", "HTTP2", "SSHv2", "SSHv1", "FTP", "SMTP", "TLS")),
    *(("UDP", name) for name in ("RTP", "DNS")),
}
"""(tshark's name, ours) of samples for which tshark goes by ports, or by what their conversation announced, alone."""


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_each_protocol_is_named(sample: Sample) -> None:
    values = row_of(sample.frame)
    assert (values["protocol"], values["malformed"], values["truncated"]) == (sample.name, False, False)


def test_each_entry_of_the_tables_has_a_sample() -> None:
    named = {PROTOCOLS[entry.protocol] for entry in (*TCP_TABLE, *UDP_TABLE)}
    assert named - {sample.name for sample in SAMPLES} == set()


def test_the_names_are_tshark_s(tmp_path: Path) -> None:
    if not (tshark := shutil.which("tshark")):
        pytest.skip("tshark is not installed")
    capture = tmp_path / "samples.pcap"
    content = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    for number, sample in enumerate(SAMPLES):
        frame = bytearray(sample.frame)
        if frame[12:14] == b"\x08\0":
            frame[28:30] = struct.pack(">H", number)  # source address: each sample is a conversation of its own
        content += struct.pack("<IIII", number, 0, len(frame), len(frame)) + frame
    capture.write_bytes(content)
    command = [tshark, "-n", "-r", str(capture), "-T", "fields", "-e", "_ws.col.Protocol"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    names = done.stdout.splitlines()
    differ = {(name, sample.name) for sample, name in zip(SAMPLES, names, strict=True) if name != sample.name}
    assert differ <= TSHARK_DIFFERS
