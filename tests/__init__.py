"""Tests of aishark_panel; the folders mirror the package."""
