"""Other hosts: network namespaces of their own behind cables, each with a DNS and a web server that really answer.

For cases that run in a network namespace themselves (tests/agent/own_network.py).
"""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Host", "cable", "host", "ip"]

SERVER = """
import http.server, socket, struct, sys, threading
address = sys.argv[1]
names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
names.bind(("0.0.0.0", 53))
def answer():
    while True:
        query, who = names.recvfrom(512)
        head = query[:2] + struct.pack(">HHHHH", 0x8180, 1, 1, 0, 0)
        record = struct.pack(">HHHIH4s", 0xC00C, 1, 1, 60, 4, socket.inet_aton(address))
        names.sendto(head + query[12:] + record, who)
threading.Thread(target=answer, daemon=True).start()
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "5000")
        self.end_headers()
        self.wfile.write(b"x" * 5000)
    def log_message(self, *a): pass
server = http.server.HTTPServer(("0.0.0.0", 80), Page)
print("ready", flush=True)
server.serve_forever()
"""


class Host(NamedTuple):
    """A host with one interface, eth0."""

    address: str
    inside: tuple[str, ...]
    """in front of a command that is to run there"""
    process: "subprocess.Popen[str]"

    def run(self, program: str, *arguments: str) -> str:
        """Run a Python program there to its end; what it printed."""
        command = [*self.inside, sys.executable, "-I", "-S", "-c", program, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout.strip()


def ip(*arguments: str) -> None:
    """Run iproute2's `ip` in this namespace."""
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@contextlib.contextmanager
def host(address: str) -> Iterator[Host]:
    """A host that serves, and that nothing reaches before it has a cable."""
    process = subprocess.Popen(
        ["unshare", "--net", sys.executable, "-I", "-S", "-c", SERVER, address], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        yield Host(address, ("nsenter", "--target", str(process.pid), "--net", "--"), process)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def cable(there: Host, here: str) -> None:
    """Connect the host's eth0, which gets its address, to a new interface of that name in this namespace."""
    ip("link", "add", here, "type", "veth", "peer", "name", "eth0", "netns", str(there.process.pid))
    ip("link", "set", here, "up")
    for arguments in (
        ("link", "set", "lo", "up"),
        ("address", "add", f"{there.address}/24", "dev", "eth0"),
        ("link", "set", "eth0", "up"),
    ):
        subprocess.run([*there.inside, "ip", *arguments], check=True, capture_output=True)
