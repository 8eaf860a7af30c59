"""aishark_panel: see, live and from anywhere, what the network of remote hosts is doing."""

__version__ = "0.1.0"
