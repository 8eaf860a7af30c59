"""The archive: what recorders wrote in Parquet, asked in SQL and by rules; on this machine, or on a cluster."""

from aishark_panel.archive.archive import Archive

__all__ = ["Archive"]
