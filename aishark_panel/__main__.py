"""`python -m aishark_panel` is the `aishark` command."""

from aishark_panel.cli import main

if __name__ == "__main__":
    main()
