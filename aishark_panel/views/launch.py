"""`aishark serve`, `demo` and `open`: a hub, the dashboard's server and maybe an agent, started and stopped together.

This process is the dashboard's server. Hub and agent are its children and end with it, however it ends.
"""

import asyncio
import contextlib
import errno
import gc
import logging
import os
import ssl
import subprocess
import sys
import webbrowser
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from bokeh.settings import settings as bokeh_settings
from panel.io.server import get_server
from tornado.ioloop import IOLoop
from tornado.netutil import bind_sockets
from tornado.websocket import WebSocketClosedError

import aishark_panel.views.page  # noqa: F401  # before the first visitor, and before what never goes is set aside
from aishark_panel.embedded import start_hub
from aishark_panel.errors import WHERE_TOKENS_COME_FROM, AisharkError, ConfigError
from aishark_panel.lifetime import until_told_to_stop
from aishark_panel.transport import hub_address, server_tls
from aishark_panel.views.access import LOGIN_COOKIE, TOKEN_COOKIE
from aishark_panel.views.chosen import refuse_chosen
from aishark_panel.views.routes import ROUTES

__all__ = ["run_dashboard"]

_LOCAL: Final = ("127.0.0.1", "::1", "localhost")
"""Where the page is shown without TLS; who has no certificate puts a proxy or an ssh tunnel before it (SECURITY.md)."""
APP: Final = Path(__file__).with_name("app.py")
_SESSION_LIFE_MS: Final = 10_000
"""How long a page's server side outlives its lost browser; long enough for a reload of the network."""


def run_dashboard(
    *,
    port: int,
    hub_port: int,
    hub_url: str,
    ring_mib: int,
    browser: bool,
    agent: list[str] | None = None,
    hub_options: Sequence[str] = (),
    host: str = "127.0.0.1",
    public_url: str = "",
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
) -> None:
    """Run until Ctrl-C. `host` is the address to show the page on, by the name that browsers use; `public_url` is
    what a proxy on this host shows page and hub as.

    Raises ConfigError if a port is in use or the page cannot be shown there, HubError if the hub does not start, and
    AisharkError when hub or agent ends by itself with an error.
    """
    tls = server_tls(tls_cert, tls_key)
    if tls is None and host not in _LOCAL:
        raise ConfigError(
            f"On {host} the page needs a certificate: add --tls-cert and --tls-key ('aishark tls init' makes them), or "
            "leave --host out and use an ssh tunnel."
        )
    if host in ("0.0.0.0", "::", ""):
        raise ConfigError(f"--host {host} is no name for browsers: give the one that they use, or the address.")
    public_url = _public(public_url, host) if public_url else ""
    port = _free_port(host, port)
    with contextlib.ExitStack() as stack:
        hub = None
        if hub_url:
            hub_url = hub_address(hub_url)
            # For the address that is printed, and nobody's requests. Without it the page asks who is there.
            token = os.environ.get("AISHARK_TOKEN", "")
            if agent and not token:
                raise ConfigError(f"No token for an agent of the hub at {hub_url}. {WHERE_TOKENS_COME_FROM}.")
        else:
            hub = start_hub("--port", str(hub_port), "--ring-mib", str(ring_mib), *hub_options)
            stack.callback(hub.close)
            hub_url, token = hub.url, hub.token
        os.environ.update(AISHARK_HUB=hub_url, AISHARK_TOKEN=token, AISHARK_PUBLIC_URL=public_url)
        children: dict[str, subprocess.Popen[Any]] = {}
        if hub:
            children["hub"] = hub.process
        if agent:
            children["agent"] = stack.enter_context(_agent(agent, hub_url, token, port))
        asyncio.run(_serve(host, port, token, children, browser=browser, tls=tls, public_url=public_url))


def _public(url: str, host: str) -> str:
    """The origin that browsers see. ConfigError if it is none, or if others than a proxy of this host reach the page:
    then anybody could say in a proxy's headers who they are."""
    if host not in _LOCAL:
        raise ConfigError(
            "--public-url is for a proxy on this host, which reaches the page on 127.0.0.1: no --host then."
        )
    parts = urlsplit(hub_address(url))
    if parts.path or parts.query or parts.fragment or parts.username is not None:
        raise ConfigError(f"--public-url {url!r:.100} has more than a host: page and hub need one for themselves.")
    # As browsers write it, without the port that they would take anyway.
    return f"{parts.scheme}://{parts.netloc.lower().removesuffix(':443' if parts.scheme == 'https' else ':80')}"


def _free_port(host: str, port: int) -> int:
    """The port if it can be listened on (0: any free one), so that an error comes before anything starts."""
    try:
        sockets = bind_sockets(port, host)
    except OSError as error:
        why = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be listened on ({error.strerror})"
        raise ConfigError(f"Port {port} on {host} {why}. Choose another with --port, or 0 for any free one.") from error
    number: int = sockets[0].getsockname()[1]
    for each in sockets:
        each.close()
    return number


@contextlib.contextmanager
def _agent(options: list[str], hub_url: str, token: str, page_port: int) -> Iterator["subprocess.Popen[bytes]"]:
    """An agent as a child; it never captures the dashboard it is watched by."""
    process = subprocess.Popen(
        [sys.executable, "-m", "aishark_panel", "agent", *options, "--hub", hub_url, "--with-parent"]
        + ["--exclude-port", str(page_port)],
        stdin=subprocess.PIPE,
        env={**os.environ, "AISHARK_TOKEN": token},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def _serve(
    host: str,
    port: int,
    token: str,
    children: "dict[str, subprocess.Popen[Any]]",
    *,
    browser: bool,
    tls: ssl.SSLContext | None,
    public_url: str,
) -> None:
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    origins = {authority, f"localhost:{port}", *filter(None, [urlsplit(public_url).netloc])}
    server = get_server(
        {"/": str(APP)},
        port=port,
        address=host,
        loop=IOLoop.current(),
        websocket_origin=[origin for origin in origins if "[" not in origin],
        # What a proxy says of the visitor, X-Forwarded-For and -Proto, is believed only where there is to be one.
        http_server_kwargs={"ssl_options": tls, "xheaders": bool(public_url)},
        extra_patterns=ROUTES,
        exclude_headers=["Cookie"],  # what is not excluded stands in the page, in Bokeh's token
        exclude_cookies=[TOKEN_COOKIE, LOGIN_COOKIE],
        title="aishark",
        show=False,
        start=False,
        verbose=False,
        unused_session_lifetime_milliseconds=_SESSION_LIFE_MS,
        check_unused_sessions_milliseconds=_SESSION_LIFE_MS,
    )
    server._tornado.websocket_origins.update(origins)  # the option takes no address of IPv6
    refuse_chosen(server._tornado)
    asyncio.get_running_loop().set_exception_handler(_unhandled)
    for name in ("bokeh.server.views.ws", "panel.io.document"):
        logging.getLogger(name).addFilter(_is_no_farewell)
    server.start()
    # Asked again for every column of every chart of every tick; what the environment says is not going to change.
    bokeh_settings.simple_ids = bokeh_settings.simple_ids()
    # What every page imports leaves more than a hundred thousand objects that never go; looking through them again and
    # again took a sixth of the time of thirty open pages.
    gc.collect()
    gc.freeze()
    origin = public_url or f"{'https' if tls else 'http'}://{authority}"
    address = f"{origin}/{f'login?token={token}' if token else ''}"
    print(f"\n  aishark is ready. Open\n\n    {address}\n\n  Ctrl-C stops it.\n", flush=True)
    if browser:
        await asyncio.to_thread(webbrowser.open, address)
    stop = asyncio.create_task(until_told_to_stop(with_parent=False))
    try:
        while not stop.done():
            await asyncio.wait([stop], timeout=0.5)
            for name, child in children.items():
                # An agent ends well when its file is read; a hub has no reason to end before us.
                if (status := child.poll()) is not None and (status or name == "hub"):
                    why = f"was killed by signal {-status}" if status < 0 else "ended; it says why above"
                    raise AisharkError(f"the {name} {why}.")
    finally:
        stop.cancel()
        server.stop()


def _unhandled(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Report what no task waits for, but for a message to a tab that was closed meanwhile: Bokeh waits for none."""
    if not isinstance(context.get("exception"), WebSocketClosedError):
        loop.default_exception_handler(context)


def _is_no_farewell(record: logging.LogRecord) -> bool:
    return record.getMessage() != "Failed sending message as connection was closed"
