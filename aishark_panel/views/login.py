"""Login card: asks for a name and password, the provider or a token, and says what went wrong with the last one."""

from typing import Any

import param

from aishark_panel.views.base import Element, Receive
from aishark_panel.views.theme import script

__all__ = ["Login"]


class Login(Element):
    """`receive` gets {"token": text}; all else goes to views/login_routes.py, if `remember` says they are there."""

    remember = param.Boolean(default=False, doc="Whether to go to /login, which sets the cookie, once it is accepted.")

    _esm = script("login.js")

    def __init__(self, receive: Receive, **params: Any) -> None:
        super().__init__(receive, "login.css", css_classes=["login"], sizing_mode="stretch_both", margin=0, **params)
