"""Routes of backtests: try rules on what a session has kept, see how far that is, break it off."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Final, Literal

import msgspec

from aishark_panel.alerts.rule import MAX_FILE_BYTES, Rule, parse_rules
from aishark_panel.alerts.tally import Noise
from aishark_panel.errors import ConfigError
from aishark_panel.query.names import suggestion
from aishark_panel.streams.answers import AlertAnswer
from aishark_panel.streams.backtests import Over, Source
from aishark_panel.streams.guard import Guarded, Route
from aishark_panel.streams.operation import Answer, operation
from aishark_panel.streams.session import Session

__all__ = ["ROUTES"]


class BacktestRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body that begins a backtest."""

    session: str
    """its id"""
    yaml: Annotated[str, msgspec.Meta(max_length=MAX_FILE_BYTES)] | None = None
    """rules, as a rules file has them; null: those that watch one's sessions"""
    names: Annotated[list[str], msgspec.Meta(max_length=500)] | None = None
    """those of these rules that are tried; null: all"""
    over: Over = "ring"
    """what of the session is looked at"""


class BacktestStarted(Answer):
    """A backtest that began."""

    id: str


class TriedRule(Answer):
    """What one rule would have done."""

    rule: str
    alerts: int
    keys: int
    """how many different ones fired"""
    firing_s: float
    """how long something of it fired"""
    share_firing: float
    """of the time from the first packet to the last"""
    per_hour: float
    """alerts"""
    noise: Noise
    problem: str
    """what keeps it from seeing everything"""


class BacktestAnswer(Answer):
    """A backtest."""

    id: str
    state: Literal["running", "done", "failed", "cancelled"]
    done: int
    total: int
    """in packets or bytes"""
    packets: int
    reason: str
    """why it failed"""
    rules: list[TriedRule]
    alerts: list[AlertAnswer]
    """the first 500"""
    more: int
    """alerts beyond these"""
    first_ts: int
    last_ts: int


class Backtests(Guarded):
    """`/api/backtests`"""

    @operation(
        "Try rules on what a session has kept.",
        body=BacktestRequest,
        answer=BacktestStarted,
        status=201,
        errors=(404, 409),
    )
    async def post(self, *, body: BacktestRequest) -> None:
        session = self.hub.sessions.find(body.session, self.person)
        rules = await self._rules(body)
        job = self.hub.backtests.start(self._source(session, body.over), rules, self.person.name)
        self.audit("backtest.start", session.id, over=body.over)
        self.set_status(201)
        self.finish({"id": job.id})

    async def _rules(self, body: BacktestRequest) -> Sequence[Rule]:
        if body.yaml is None:
            rules = self.hub.rulebook.watching(self.person.name)
        else:
            # To compile what somebody thought up may take a while.
            loop, pool = asyncio.get_running_loop(), self.hub.query_pool
            rules = await loop.run_in_executor(pool, parse_rules, body.yaml, "these rules")
        if body.names is None:
            return rules
        known = {rule.name: rule for rule in rules}
        for name in body.names:
            if name not in known:
                raise ConfigError(f"no rule {name!r:.80}{suggestion(name[:80], list(known))}")
        return [known[name] for name in dict.fromkeys(body.names)]

    def _source(self, session: Session, over: Over) -> Source:
        journal = self.hub.journal.folder / session.id if self.hub.journal else None
        return Source(session, over, journal, self.hub.recorder.past(session))


class BacktestById(Guarded):
    """`/api/backtests/:id`"""

    @operation("How far a backtest is, and what it found.", answer=BacktestAnswer)
    async def get(self, backtest_id: str) -> None:
        job = self.hub.backtests.get(backtest_id, self.person.name)
        self.hub.sessions.find(job.session.id, self.person)
        # The job holds its lock while it looks at a piece.
        self.finish(await asyncio.get_running_loop().run_in_executor(self.hub.query_pool, job.answer))

    @operation("Break a backtest off, and forget it.", status=204)
    def delete(self, backtest_id: str) -> None:
        self.hub.backtests.forget(self.hub.backtests.get(backtest_id, self.person.name))
        self.set_status(204)


ROUTES: Final[tuple[Route, ...]] = (
    (r"/api/backtests", Backtests),
    (r"/api/backtests/([0-9a-f]+)", BacktestById),
)
