"""Routes of accounts: log in and out, by a password or at a provider, and an admin's view of who may."""

import time
from typing import Annotated, Any, ClassVar, Final

import msgspec

from aishark_panel.errors import ConflictError, ForbiddenError, NotAuthorizedError, NotFoundError
from aishark_panel.streams.guard import Guarded, Open, Route
from aishark_panel.streams.logins import Tokens
from aishark_panel.streams.oidc import Provider
from aishark_panel.streams.operation import Answer, operation
from aishark_panel.streams.store import Account

__all__ = ["ROUTES"]

Word = Annotated[str, msgspec.Meta(max_length=200)]
Secret = Annotated[str, msgspec.Meta(max_length=4_000)]
Capabilities = Annotated[tuple[str, ...], msgspec.Meta(max_length=10)]


class Credentials(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body that logs in."""

    name: Word
    password: Secret


class Renewal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body that asks for the next tokens of a login."""

    refresh_token: Secret


class PasswordChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body that changes one's own password."""

    password: Secret
    new_password: Secret


class Beginning(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body that begins a login at the provider."""

    redirect_uri: Secret
    """where the provider sends the browser back to, as it is registered there"""


class Return(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body with what the provider sent the browser back with."""

    state: Secret
    code: Secret


class NewAccount(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body that makes an account."""

    name: Word
    password: Secret
    capabilities: Capabilities = ("view",)


class AccountChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body that changes an account; what is left out stays."""

    password: Secret | None = None
    capabilities: Capabilities | None = None
    disabled: bool | None = None


class AwayAnswer(Answer):
    """Where to log in."""

    url: str
    """send the browser there"""
    state: str
    """it comes back with this"""


class AccountAnswer(Answer):
    """An account."""

    name: str
    capabilities: tuple[str, ...]
    created_s: int
    """Unix time"""
    disabled: bool
    issuer: str
    """the provider that it logs in at; empty: here"""


class UsersAnswer(Answer):
    """Accounts."""

    users: tuple[AccountAnswer, ...]


class LoginHandler(Open):
    """`/api/login`"""

    needs: ClassVar = {"DELETE": "view"}

    @operation(
        "A name and its password give the tokens of a login.",
        body=Credentials,
        answer=Tokens,
        errors=(401,),
        needs_token=False,
    )
    async def post(self, *, body: Credentials) -> None:
        try:
            tokens = await self.hub.accounts.login(body.name, body.password)
        except NotAuthorizedError as error:
            raise self.failure(str(error)) from error
        self.hub.store.record(tokens.name, "login", tokens.name)
        self.finish(msgspec.to_builtins(tokens))

    @operation("The login of the access token that is sent ends, and what is open with it.", status=204, errors=(409,))
    def delete(self) -> None:
        now_s = time.time()
        if self.hub.store.login(self.person.token_id, int(now_s)) is None:
            raise ConflictError("This token is not of a login; 'aishark token revoke' takes others back.")
        self.hub.accounts.logins.end(self.person.token_id, now_s)
        self.audit("logout", self.person.name)
        self.set_status(204)


class RefreshHandler(Open):
    """`/api/login/refresh`"""

    is_guess = False  # a dashboard renews everybody's logins from one address; wrong tokens count as for all routes

    @operation(
        "A refresh token gives new tokens, once; one that comes again ends its login.",
        body=Renewal,
        answer=Tokens,
        errors=(401,),
        needs_token=False,
    )
    def post(self, *, body: Renewal) -> None:
        try:
            tokens = self.hub.accounts.logins.renew(body.refresh_token, time.time())
        except NotAuthorizedError as error:
            raise self.failure(str(error)) from error
        self.finish(msgspec.to_builtins(tokens))


class OwnPassword(Guarded):
    """`/api/me/password`"""

    needs: ClassVar = {"POST": "view"}

    @operation("Change one's own password; one's other logins end.", body=PasswordChange, status=204)
    async def post(self, *, body: PasswordChange) -> None:
        me = self.person
        self.hub.accounts.let_try(self.visitor)
        try:
            await self.hub.accounts.change_own_password(me.name, body.password, body.new_password, me.token_id)
        except NotAuthorizedError as error:
            # The token was good: 401 would have clients think that it was not.
            raise ForbiddenError("The password that you have now is another.") from error
        self.audit("user.password", me.name)
        self.set_status(204)


class OidcStart(Open):
    """`/api/oidc/start`"""

    @operation(
        "Where to send a browser that wants to log in at the provider.",
        body=Beginning,
        answer=AwayAnswer,
        errors=(401, 409),
        needs_token=False,
    )
    async def post(self, *, body: Beginning) -> None:
        self.finish(await _provider(self).begin(body.redirect_uri))


class OidcFinish(Open):
    """`/api/oidc/finish`"""

    @operation(
        "The state and code with which a browser came back give the tokens of a login.",
        body=Return,
        answer=Tokens,
        errors=(401, 403, 409),
        needs_token=False,
    )
    async def post(self, *, body: Return) -> None:
        provider = _provider(self)
        try:
            who = await provider.finish(body.state, body.code)
        except NotAuthorizedError as error:
            raise self.failure(str(error)) from error
        tokens = self.hub.accounts.login_as(who.issuer, who.subject, who.name, provider.config.capabilities)
        self.hub.store.record(tokens.name, "login", tokens.name, issuer=who.issuer)
        self.finish(msgspec.to_builtins(tokens))


class Users(Guarded):
    """`/api/users`"""

    needs: ClassVar = {"GET": "admin", "POST": "admin"}

    @operation("The accounts.", answer=UsersAnswer)
    def get(self) -> None:
        self.finish({"users": [_told(account) for account in self.hub.store.accounts()]})

    @operation(
        "Make an account that logs in with a password.",
        body=NewAccount,
        answer=AccountAnswer,
        status=201,
        errors=(409,),
    )
    async def post(self, *, body: NewAccount) -> None:
        account = await self.hub.accounts.add(body.name, body.password, body.capabilities)
        self.audit("user.add", account.name, capabilities=" ".join(account.capabilities))
        self.set_status(201)
        self.finish(_told(account))


class UserByName(Guarded):
    """`/api/users/:name`"""

    needs: ClassVar = {"PATCH": "admin"}

    @operation(
        "Another password, other capabilities, disabled or not; the person's logins end.",
        body=AccountChange,
        answer=AccountAnswer,
        errors=(409,),
    )
    async def patch(self, name: str, *, body: AccountChange) -> None:
        accounts = self.hub.accounts
        if self.hub.store.account(name) is None:
            raise NotFoundError(f"no account {name!r:.80}")
        if body.password is not None:
            await accounts.set_password(name, body.password)
            self.audit("user.password", name)
        if body.capabilities is not None:
            accounts.set_capabilities(name, body.capabilities)
            self.audit("user.capabilities", name, capabilities=" ".join(body.capabilities))
        if body.disabled is not None:
            accounts.set_disabled(name, body.disabled)
            self.audit("user.disable" if body.disabled else "user.enable", name)
        self.hub.end_links_of(name)
        account = self.hub.store.account(name)
        assert account is not None
        self.finish(_told(account))


def _provider(handler: Guarded) -> Provider:
    if handler.hub.provider is None:
        raise ConflictError("This hub has no provider to log in at; 'aishark hub --oidc' gives it one.")
    return handler.hub.provider


def _told(account: Account) -> dict[str, Any]:
    """What an admin is told of an account."""
    return {
        "name": account.name,
        "capabilities": account.capabilities,
        "created_s": account.created_s,
        "disabled": account.disabled_s is not None,
        "issuer": account.issuer or "",
    }


ROUTES: Final[tuple[Route, ...]] = (
    (r"/api/login", LoginHandler),
    (r"/api/login/refresh", RefreshHandler),
    (r"/api/oidc/start", OidcStart),
    (r"/api/oidc/finish", OidcFinish),
    (r"/api/me/password", OwnPassword),
    (r"/api/users", Users),
    (r"/api/users/([^/]+)", UserByName),
)
