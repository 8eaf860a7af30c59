"""Info texts of devices' protocols against tshark's, for frames made here by scapy."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.asn1.asn1 import ASN1_STRING
from scapy.contrib.modbus import (
    ModbusADURequest,
    ModbusADUResponse,
    ModbusPDU01ReadCoilsError,
    ModbusPDU03ReadHoldingRegistersRequest,
)
from scapy.contrib.mqtt import MQTT, MQTTConnack, MQTTConnect, MQTTPublish, MQTTSuback, MQTTSubscribe, MQTTTopicQOS
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.layers.rtp import RTP
from scapy.layers.snmp import SNMP, SNMPbulk, SNMPget, SNMPresponse, SNMPtrapv2, SNMPvarbind
from scapy.packet import Packet, Raw

from aishark_panel.dissect.infos import devices
from aishark_panel.dissect.infos.view import Info, View
from tests.dissect.rows import ETHERNET, dissect_frames
from tests.wire.capture_bytes import pcap

BASE = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / IP(src="10.0.0.1", dst="10.0.0.2")


def tcp(sport: int, dport: int) -> Packet:
    return BASE / TCP(sport=sport, dport=dport, flags="PA", seq=1, ack=1)


def snmp(sport: int, dport: int, pdu: Packet, version: int = 1) -> Packet:
    return BASE / UDP(sport=sport, dport=dport) / SNMP(version=version, PDU=pdu)


def variables(*names: str) -> list[Packet]:
    return [SNMPvarbind(oid=name, value=ASN1_STRING(b"x" * 200)) for name in names]


CASES: list[tuple[Info, Packet]] = [
    (devices.mqtt, tcp(50_001, 1883) / MQTT() / MQTTConnect(protoname=b"MQTT", protolevel=4, clientId=b"c")),
    (devices.mqtt, tcp(1883, 50_002) / MQTT() / MQTTConnack()),
    (devices.mqtt, tcp(50_003, 1883) / MQTT(QOS=1) / MQTTPublish(topic=b"a/b", msgid=7, value=b"x")),
    (devices.mqtt, tcp(50_004, 1883) / MQTT(QOS=0) / MQTTPublish(topic=b"a/c", value=b"x" * 300)),
    (devices.mqtt, tcp(50_005, 1883) / MQTT(QOS=1) / MQTTSubscribe(msgid=5, topics=[MQTTTopicQOS(topic=b"t", QOS=1)])),
    (devices.mqtt, tcp(1883, 50_006) / MQTT() / MQTTSuback(msgid=5, retcodes=[0])),
    (devices.mqtt, tcp(50_007, 1883) / Raw(b"\xc0\x00\xd0\x00\xe0\x00")),
    (devices.snmp, snmp(50_000, 161, SNMPget(varbindlist=variables("1.3.6.1.2.1.1.1.0", "1.3.6.1.4.1.20000.1")), 0)),
    (devices.snmp, snmp(161, 50_000, SNMPresponse(varbindlist=variables("1.3.6.1.2")))),
    (devices.snmp, snmp(50_000, 162, SNMPtrapv2(varbindlist=variables("1.3.6.1.2.1.1.3.0")))),
    (devices.snmp, snmp(50_000, 161, SNMPbulk(varbindlist=variables("1.3.6.1")))),
    (devices.rtp, BASE / UDP(sport=5004, dport=5004) / RTP(payload_type=0, sequence=7, sourcesync=0xABC, marker=1)),
    (devices.rtp, BASE / UDP(sport=5004, dport=5004) / RTP(payload_type=97, timestamp=8) / Raw(bytes(20))),
    (
        devices.modbus,
        tcp(50_008, 502) / ModbusADURequest(transId=3, unitId=9) / ModbusPDU03ReadHoldingRegistersRequest(),
    ),
    (devices.modbus, tcp(502, 50_009) / ModbusADUResponse(transId=3) / ModbusPDU01ReadCoilsError()),
    (devices.modbus, tcp(50_010, 502) / Raw(bytes.fromhex("0000000000060a0800040000"))),
]


@pytest.fixture(scope="module")
def by_tshark(require_tool: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    path: Path = tmp_path_factory.mktemp("devices") / "all.pcap"
    frames = [bytes(packet) for _, packet in CASES]
    path.write_bytes(pcap([(second, 0, len(frame), frame) for second, frame in enumerate(frames)]))
    command = [require_tool("tshark"), "-n", "-r", str(path), "-d", "udp.port==5004,rtp", "-T", "fields"]
    done = subprocess.run([*command, "-e", "_ws.col.Info"], capture_output=True, check=True, text=True)
    return done.stdout.splitlines()


@pytest.mark.parametrize("case", range(len(CASES)))
def test_texts_are_those_of_tshark(by_tshark: list[str], case: int) -> None:
    info, packet = CASES[case]
    text = info(View(dissect_frames(packet), 0, ETHERNET))
    assert text is not None
    assert text.strip() == by_tshark[case].strip()


@given(st.sampled_from([devices.mqtt, devices.snmp, devices.rtp, devices.modbus]), st.binary(max_size=80))
def test_no_bytes_break_them(info: Info, payload: bytes) -> None:
    for start in (b"", b"\x30\x20\x02\x01\x00\x04\x00\xa0"):
        frame = bytes(BASE / UDP(sport=5, dport=9) / Raw(start + payload))
        text = info(View(dissect_frames(frame), 0, ETHERNET))
        assert text is None or text.isprintable()
