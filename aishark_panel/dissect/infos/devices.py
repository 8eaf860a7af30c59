"""What devices speak: Modbus, MQTT, SNMP, RTP."""

from typing import Final

from aishark_panel.dissect.headers import number
from aishark_panel.dissect.infos.view import MAX_PARTS, View, printable

__all__ = ["modbus", "mqtt", "rtp", "snmp"]

_MODBUS_PORT: Final = 502
_MODBUS: Final = {1: "Read Coils", 2: "Read Discrete Inputs", 3: "Read Holding Registers", 4: "Read Input Registers",
                  5: "Write Single Coil", 6: "Write Single Register", 7: "Read Exception Status", 8: "Diagnostics",
                  11: "Get Comm. Event Counters", 12: "Get Comm. Event Log", 15: "Write Multiple Coils",
                  16: "Write Multiple Registers", 17: "Report Slave ID", 20: "Read File Record",
                  21: "Write File Record", 22: "Mask Write Register", 23: "Read Write Register",
                  24: "Read FIFO Queue", 43: "Encapsulated Interface Transport"}  # fmt: skip
_MODBUS_DIAGNOSTICS: Final = {0: "Return Query Data", 1: "Restart Communications Option",
                              2: "Return Diagnostic Register", 3: "Change ASCII Input Delimiter",
                              4: "Force Listen Only Mode", 10: "Clear Counters and Diagnostic Register"}  # fmt: skip
_MODBUS_ENCAPSULATED: Final = {13: "CANopen General Reference Request and Response", 14: "Read Device Identification"}
_MQTT: Final = {1: "Connect Command", 2: "Connect Ack", 3: "Publish Message", 4: "Publish Ack",
                5: "Publish Received", 6: "Publish Release", 7: "Publish Complete", 8: "Subscribe Request",
                9: "Subscribe Ack", 10: "Unsubscribe Request", 11: "Unsubscribe Ack", 12: "Ping Request",
                13: "Ping Response", 14: "Disconnect Req", 15: "Authentication Exchange"}  # fmt: skip
_SNMP: Final = ("get-request", "get-next-request", "get-response", "set-request", "trap", "getBulkRequest",
                "informRequest", "snmpV2-trap", "report")  # fmt: skip
_SNMP_TRAP_1: Final = 0xA4
"""The trap of version 1, which has fields of its own."""
_RTP: Final = {0: "ITU-T G.711 PCMU", 3: "GSM 06.10", 4: "ITU-T G.723", 8: "ITU-T G.711 PCMA", 9: "ITU-T G.722",
               10: "16-bit uncompressed audio, stereo", 11: "16-bit uncompressed audio, monaural",
               13: "Comfort noise", 14: "MPEG-I/II Audio", 18: "ITU-T G.729", 26: "JPEG-compressed video",
               31: "ITU-T H.261", 32: "MPEG-I/II Video", 33: "MPEG-II transport streams",
               34: "ITU-T H.263"}  # fmt: skip


def modbus(view: View) -> str | None:
    """Modbus over TCP: transaction, unit, function; a sub-function shows by its name, its number is always a 1."""
    data = view.payload
    if len(data) < 8 or number(data, 2):
        return None
    is_query = view.ports[1] == _MODBUS_PORT
    function, is_error = data[7] & 0x7F, bool(data[7] & 0x80)
    name, detail = _MODBUS.get(function, "Unknown function"), ""
    if not is_error and function == 8 and len(data) >= 10:
        part = number(data, 8)
        name, detail = _MODBUS_DIAGNOSTICS.get(part, f"Unknown ({part})"), "/  1"
    elif not is_error and function == 43 and len(data) >= 10:
        name, detail = _MODBUS_ENCAPSULATED.get(data[8], f"Unknown ({data[8]})"), "/  1"
    kind = "   Query" if is_query else "Response"
    start = f"{kind}: Trans: {number(data, 0):>5}; Unit: {data[6]:>3}, Func: {function:>3}{detail}: {name}"
    return start + (". Exception returned " if is_error else "")


def mqtt(view: View) -> str | None:
    """The control packets of a segment (MQTT 3.1.1 section 2)."""
    data, at = view.payload, 0
    words: list[str] = []
    while at + 2 <= len(data) and data[at] >> 4 in _MQTT and len(words) < MAX_PARTS:
        kind, quality = data[at] >> 4, data[at] >> 1 & 3
        length, start, shift = 0, at + 1, 0
        while start < len(data) and shift <= 21:
            length |= (data[start] & 0x7F) << shift
            start, shift = start + 1, shift + 7
            if not data[start - 1] & 0x80:
                break
        words.append(_MQTT[kind] + _mqtt_detail(data[start : start + length], kind, quality))
        at = start + length
    return ", ".join(words) or None


def _mqtt_detail(body: bytes, kind: int, quality: int) -> str:
    if kind == 3:
        end = 2 + number(body, 0)
        identifier = f" (id={number(body, end)})" if quality else ""
        return f"{identifier} [{printable(body[2:end])}]"
    if 4 <= kind <= 11 and len(body) >= 2:
        topic = f" [{printable(body[4 : 4 + number(body, 2)])}]" if kind == 8 else ""
        return f" (id={number(body, 0)}){topic}"
    return ""


def snmp(view: View) -> str | None:
    """SNMP version 1 and 2c: operation and the objects it is about (RFC 3416, in BER)."""
    try:
        return _snmp(view.payload)
    except (IndexError, ValueError):  # lengths that lead out of the message, or leave nothing in it
        return None


def _snmp(data: bytes) -> str | None:
    (_, start, end), *_ = _elements(data, 0, len(data))
    (_, version, _), _, (kind, start, end), *_ = _elements(data, start, end)
    if data[version] > 1:
        return None
    if not 0 <= kind - 0xA0 < len(_SNMP):
        return None
    words = [_SNMP[kind - 0xA0]]
    if kind != _SNMP_TRAP_1:
        *_, (_, start, end) = _elements(data, start, end)
        for _, first, last in _elements(data, start, end)[:MAX_PARTS]:
            (_, start, end), *_ = _elements(data, first, last)
            words.append(_object_identifier(data[start:end]))
    return " ".join(words)


def _elements(data: bytes, at: int, end: int) -> list[tuple[int, int, int]]:
    """(tag, start, end) of the content of each BER element; IndexError where one is not whole."""
    found: list[tuple[int, int, int]] = []
    while at < end and len(found) < MAX_PARTS:
        tag, length, start = data[at], data[at + 1], at + 2
        if length & 0x80:
            size = length & 0x7F
            length, start = number(data, start, size), start + size
        if start + length > end:
            raise IndexError
        found.append((tag, start, start + length))
        at = start + length
    return found


def _object_identifier(raw: bytes) -> str:
    parts: list[int] = []
    value = 0
    for byte in raw:
        value = value << 7 | byte & 0x7F
        if not byte & 0x80:
            parts += [value] if parts else [min(value // 40, 2), value - 40 * min(value // 40, 2)]
            value = 0
    return ".".join(str(part) for part in parts)


def rtp(view: View) -> str | None:
    """RTP payload type, source, sequence number, time (RFC 3550 section 5.1)."""
    data = view.payload
    if len(data) < 12 or data[0] >> 6 != 2:
        return None
    kind = data[1] & 0x7F
    name = _RTP.get(kind, f"DynamicRTP-Type-{kind}" if kind >= 96 else f"Unknown ({kind})")
    mark = ", Mark" if data[1] & 0x80 else ""
    return f"PT={name}, SSRC=0x{number(data, 8, 4):X}, Seq={number(data, 2)}, Time={number(data, 4, 4)}{mark}"
