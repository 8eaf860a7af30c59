"""An OpenID provider, which is a program by others, as a process of its own."""

import json
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

from tests.integration.conftest import wait_for

__all__ = ["running_provider"]


@contextmanager
def running_provider(people: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Address of a provider that asks nobody for a password and tells these claims of people, by their subjects."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    claims = [json.dumps({"sub": sub, **told}) for sub, told in people.items()]
    command = [sys.executable, "-m", "oidc_provider_mock", "--port", str(port), "--require-nonce"]
    command += [word for claim in claims for word in ("--user-claims", claim)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"{url}/jwks", timeout=5):
                return True
        except OSError:
            assert process.poll() is None
            return False

    try:
        wait_for(answers, "the provider", timeout_s=30)
        yield url
    finally:
        process.kill()
        process.wait()
