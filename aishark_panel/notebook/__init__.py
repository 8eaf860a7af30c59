"""The package in people's own Python: what `import aishark_panel as ais` offers in JupyterLab, scripts and REPLs.

Every call is an ordinary one that blocks until its answer is there; the event loop that talks to the hub runs in a
thread of its own (background.py), so nobody meets asyncio and a busy cell does not lose the connection. Capturing is
done by child processes, so a busy cell does not lose packets either.
"""
