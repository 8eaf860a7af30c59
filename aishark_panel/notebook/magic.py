"""%%capture_packets: the packets that a cell causes, as a table."""

from typing import Any, Final

from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, cell_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments, parse_argstring
from IPython.display import display

from aishark_panel.errors import AisharkError
from aishark_panel.notebook.capture import Capture, capture
from aishark_panel.notebook.table import ALL_COLUMNS, Table

__all__ = ["PacketMagics"]

_NAME: Final = "%%capture_packets"


@magics_class
class PacketMagics(Magics):
    """What `%load_ext aishark_panel` adds."""

    shell: InteractiveShell

    @magic_arguments()
    @argument("-i", "--interface", required=True, help="interface to capture on, such as eth0 or lo")
    @argument("-f", "--filter", default="", help="capture filter (BPF), such as 'tcp port 8000'")
    @argument("-s", "--snaplen", type=int, default=262_144, help="bytes kept of each frame")
    @argument("--into", default="packets", metavar="NAME", help="variable that gets the table (default: packets)")
    @cell_magic
    def capture_packets(self, line: str, cell: str) -> None:
        """Capture everything that matches from the beginning of the cell to its end, and show it as a table.

        %%capture_packets -i lo -f 'tcp port 8000' --into pkts
        """
        options = parse_argstring(self.capture_packets, line)
        into = _word(options.into)
        if not into.isidentifier():
            raise UsageError(f"--into {into!r:.60} is no name of a variable")
        interface, capture_filter = _word(options.interface), _word(options.filter)
        name = f"{_NAME} {interface}"
        try:
            session = capture(interface, capture_filter, snaplen=options.snaplen, name=name)
        except AisharkError as error:
            raise UsageError(str(error)) from None
        except KeyboardInterrupt:
            raise UsageError("Interrupted before the capture began; the cell did not run.") from None
        try:
            result = self.shell.run_cell(cell, store_history=False)  # shows its errors, an interrupt too, and returns
            session.close()  # the agent sends what it has before it leaves
            table = captured(session, f"{interface}: {capture_filter}" if capture_filter else interface)
        except AisharkError as error:
            raise UsageError(str(error)) from None
        except KeyboardInterrupt:
            raise UsageError(f"Interrupted while the packets were fetched; {into!r} was not set.") from None
        finally:
            session.close()
        self.shell.user_ns[into] = table
        display(table)
        if result.error_before_exec or result.error_in_exec:
            raise CellFailedError


class CellFailedError(Exception):
    """The body failed, and its error has been shown."""

    def _render_traceback_(self) -> list[str]:
        return []


def captured(session: Capture, title: str) -> Table:
    """Everything that a capture which is over has taken; the session is not needed any more."""
    stats = session.stats()
    limit = max(1, int(stats["packets"]))
    table = Table(session.hub.ask(lambda client: client.table(session.id, "", ALL_COLUMNS, limit)), title)
    lost = [f"{stats['lost']:,} packets were lost"] if stats["lost"] else []
    gone = stats["packets"] - len(table)
    lost += [f"{gone:,} did not fit into the hub's memory"] if gone else []
    table.warning = "; ".join(lost)
    session.hub.ask(lambda client: client.delete(session.id))
    return table


def _word(text: Any) -> str:
    """An argument without the quotes that IPython leaves around it."""
    return str(text).strip().strip("'\"")
