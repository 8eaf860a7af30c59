"""Routes of rules: those that watch one's sessions, and those of one's own, which are kept here."""

import asyncio
from typing import Annotated, Any, Final

import msgspec

from aishark_panel.alerts.rule import MAX_FILE_BYTES
from aishark_panel.streams.guard import Guarded, Route
from aishark_panel.streams.operation import Answer, operation
from aishark_panel.streams.rulebook import RuleSource, check, checked, listing

__all__ = ["ROUTES"]


class RuleRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body that keeps a rule."""

    content: dict[str, Any]
    """its keys, as in YAML (docs/rules.md)"""


class CheckRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body that asks what is wrong with rules."""

    yaml: Annotated[str, msgspec.Meta(max_length=MAX_FILE_BYTES)]
    """as a rules file has it"""


class RuleAnswer(Answer):
    """A rule."""

    name: str
    source: RuleSource
    replaces: bool
    """an own one: whether it takes the place of one that is there for everybody"""
    content: dict[str, Any]
    """its keys, as they were written"""
    yaml: str
    """a rules file with this rule"""
    problem: str
    """why it watches nothing, if it cannot"""


class RulesAnswer(Answer):
    """The rules that watch one's sessions."""

    rules: list[RuleAnswer]


class CheckAnswer(Answer):
    """Rules as they are kept."""

    rules: list[dict[str, Any]]


class Rules(Guarded):
    """`/api/rules`"""

    @operation("The rules that watch one's sessions.", answer=RulesAnswer)
    async def get(self) -> None:
        rules = self.hub.rulebook.of(self.person.name)
        lines = await asyncio.get_running_loop().run_in_executor(self.hub.query_pool, listing, rules)
        self.finish({"rules": lines})


class RuleCheck(Guarded):
    """`/api/rules/check`"""

    @operation("Check rules without keeping them: their keys, or what is wrong.", body=CheckRequest, answer=CheckAnswer)
    async def post(self, *, body: CheckRequest) -> None:
        rules = await asyncio.get_running_loop().run_in_executor(self.hub.query_pool, check, body.yaml)
        self.finish({"rules": rules})


class RuleByName(Guarded):
    """`/api/rules/:name`"""

    @operation("Keep a rule of one's own: it watches one's sessions at once.", body=RuleRequest, answer=RuleAnswer)
    async def put(self, name: str, *, body: RuleRequest) -> None:
        pool = self.hub.query_pool
        content = await asyncio.get_running_loop().run_in_executor(pool, checked, name, body.content)
        line = self.hub.rulebook.save(self.person.name, name, content)
        self.audit("rule.save", name)
        await self.hub.sessions.rules_changed(self.person.name)
        self.finish(line)

    @operation("Forget a rule of one's own; one of the hub that it replaced watches again.", status=204)
    async def delete(self, name: str) -> None:
        self.hub.rulebook.delete(self.person.name, name)
        self.audit("rule.delete", name)
        await self.hub.sessions.rules_changed(self.person.name)
        self.set_status(204)


ROUTES: Final[tuple[Route, ...]] = (
    (r"/api/rules", Rules),
    (r"/api/rules/check", RuleCheck),
    (r"/api/rules/([^/]+)", RuleByName),
)
