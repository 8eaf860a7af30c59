"""Rule editor: a rule as a form or as YAML, checked while it is typed, and tried on the past before it is kept.

What is typed stays in the browser until it is saved. The rule is tried by the hub, which tells how far it is and can be
told to stop.
"""

from collections.abc import Callable
from typing import Any, Final

from aishark_panel.errors import AisharkError
from aishark_panel.query.tokens import MAX_TEXT_CHARS
from aishark_panel.views.backtest_lines import backtest_lines
from aishark_panel.views.base import Element, View
from aishark_panel.views.completion import Place, place_of, word_at
from aishark_panel.views.feed import Feed
from aishark_panel.views.rule_completion import place_in_by, place_in_having
from aishark_panel.views.rule_form import (
    STAND_IN,
    Fault,
    content_of,
    content_of_yaml,
    faults_of,
    form_of,
    words_of,
    yaml_of,
    yaml_place,
)
from aishark_panel.views.theme import script
from aishark_panel.views.typing_help import is_unfinished, typing_answer, with_values_of

__all__ = ["RuleEditor"]

PASTS: Final = {"ring": "packets kept in memory", "journal": "the hub's journal", "recordings": "recorded files"}
"""What a rule can be tried on, by the hub's names."""

_FRESH: Final = {"over": "10s", "having": "packets >= 100", "by": ["src_ip"], "severity": "warning"}
_PLACES: Final[dict[str, Callable[[str, int], Place]]] = {
    "where": place_of,
    "having": place_in_having,
    "by": place_in_by,
}


class RuleEditorElement(Element):
    _esm = script("completion.js", "filters_menu.js", "rule_preview.js", "rule_editor.js")


class RuleEditor(View):
    """One rule in a dialog. Nothing is shown until `edit`."""

    root: RuleEditorElement

    def __init__(self, feed: Feed) -> None:
        super().__init__(feed)
        self._serial = 0
        """of the rule that is edited; grows with each"""
        self._editing = False
        self._rule: dict[str, Any] | None = None
        """the rule as the hub told it; None for a new one"""
        self._base: dict[str, Any] = {}
        self._names: dict[str, dict[str, Any]] = {}
        """the rules that there are, by name"""
        self._answer: dict[str, str] = {}
        self._backtest = ""
        """id of the backtest that goes on"""
        self._tried: dict[str, Any] | None = None
        """what the hub told last of it"""
        self.root = RuleEditorElement(
            self._receive, "completion.css", "rule_editor.css", css_classes=["rule-editor"], margin=0
        )

    async def edit(self, rule: dict[str, Any] | None) -> None:
        """Open a rule as HubClient.rules tells it, or a new one for the packets that the display filter selects."""
        await self._stop()
        self._serial, self._editing, self._rule = self._serial + 1, True, rule
        self._base = dict(rule["content"]) if rule else {"where": self.feed.where, **_FRESH}
        self._answer, self._tried, self._names = {}, None, {}
        self.repaint()
        self._names = {each["name"]: each for each in await self.feed.client.rules()}

    async def pull(self) -> None:
        if not self._backtest:
            return
        try:
            self._tried = await self.feed.client.backtest(self._backtest)
        except AisharkError as error:
            self._tried = {**(self._tried or _begun()), "state": "failed", "reason": str(error)}
        if self._tried["state"] != "running":
            self._backtest = ""

    def paint(self) -> None:
        if not self._editing:
            self.root.draw(serial=self._serial, editing=False)
            return
        self.root.draw(
            serial=self._serial,
            editing=True,
            title=f"Rule {self._rule['name']}" if self._rule else "New rule",
            form=form_of(self._base),
            yaml=yaml_of(self._base),
            pasts=PASTS,
            session=next((s["name"] for s in self.feed.sessions if s["id"] == self.feed.session), ""),
            tried=backtest_lines(self._tried) if self._tried else None,
            answer=self._answer,
        )

    async def _receive(self, message: Any) -> None:
        match message:
            case {"look": str(field), "edit": str(text), "cursor": int(cursor), "turn": int(turn)} if field in _PLACES:
                place = _place(field, text, cursor)
                place = await with_values_of(self.feed, place) if field == "where" else place
                self.root.send({"look": field, "turn": turn, **typing_answer(place, None)})
                return
            case {"check": dict(draft), "field": str(field), "cursor": int(cursor), "turn": int(turn)}:
                self.root.send({"checked": turn, **self._checked(draft, field, cursor)})
                return
            case {"save": dict(draft)}:
                await self._save(draft)
            case {"try": dict(draft), "over": str(over)} if over in PASTS:
                await self._try(draft, over)
            case {"cancel": True}:
                await self._stop()
            case {"close": True}:
                await self._stop()
                self._editing = False
        self.repaint()

    def _read(self, draft: dict[str, Any]) -> dict[str, Any] | Fault:
        """The rule of a draft, {form: fields} or {yaml: text}."""
        match draft:
            case {"yaml": str(text)}:
                return content_of_yaml(text)
            case {"form": dict(form)}:
                return content_of(form, self._base)
        return Fault(field="rule", message="There is nothing to read a rule from.")

    def _checked(self, draft: dict[str, Any], field: str, cursor: int) -> dict[str, Any]:
        """What is wrong with a draft, and the same rule in the other of the two shapes."""
        content = self._read(draft)
        if isinstance(content, Fault):
            return {"faults": [{**content.as_dict(), "unfinished": False}], "right": False}
        text = draft.get("yaml")
        faults = faults_of(content)
        if isinstance(text, str):
            self._base = content
            faults = [yaml_place(text, fault) for fault in faults]
        told = [{**fault.as_dict(), "unfinished": _unfinished(fault, field, cursor)} for fault in faults]
        return {
            "faults": told,
            "right": not faults,
            "form": form_of(content),
            "yaml": yaml_of(content),
            "words": words_of(content),
            **self._fate(str(content.get("name", ""))),
        }

    def _fate(self, name: str) -> dict[str, str]:
        """What saving under that name does: save (words on the button), note."""
        other = self._names.get(name)
        if self._rule and name == self._rule["name"]:
            own = self._rule["source"] == "own"
            note = "" if own else "It is kept as a rule of yours, in place of the one that came with the hub."
            return {"save": "Save", "note": note}
        if other:
            return {"save": f"Replace {name}", "note": f"There is a rule {name}; it is replaced by this one."}
        if self._rule and self._rule["source"] == "own":
            return {"save": "Save", "note": f"{self._rule['name']} is renamed."}
        return {"save": "Save", "note": f"A new rule; {self._rule['name']} stays as it is." if self._rule else ""}

    async def _save(self, draft: dict[str, Any]) -> None:
        content = self._read(draft)
        if isinstance(content, Fault):
            self._answer = {"kind": "bad", "text": content.message}
            return
        client, before = self.feed.client, self._rule
        try:
            await client.save_rule(content)
            if before and before["source"] == "own" and before["name"] != content["name"]:
                await client.delete_rule(before["name"])
        except AisharkError as error:
            self._answer = {"kind": "bad", "text": str(error)}
            return
        await self._stop()
        self._editing = False
        await self.feed.pull()

    async def _try(self, draft: dict[str, Any], over: str) -> None:
        await self._stop()
        self._answer = {}
        content = self._read(draft)
        if isinstance(content, Fault):
            self._answer = {"kind": "bad", "text": content.message}
            return
        text = yaml_of({"name": STAND_IN, **content, "enabled": True})
        try:
            self._backtest = await self.feed.client.start_backtest(self.feed.session, text, over=over)
        except AisharkError as error:
            self._tried = {**_begun(), "state": "failed", "reason": str(error)}
            return
        self._tried = _begun()
        await self.pull()

    async def _stop(self) -> None:
        """End the backtest that goes on, if one does."""
        running, self._backtest = self._backtest, ""
        if not running:
            return
        if self._tried:
            self._tried = {**self._tried, "state": "cancelled"}
        try:
            await self.feed.client.cancel_backtest(running)
        except AisharkError:
            return  # it has ended, or its hub has


def _begun() -> dict[str, Any]:
    """A backtest of which nothing was heard yet."""
    numbers = dict.fromkeys(("done", "total", "packets", "more", "first_ts", "last_ts"), 0)
    return {"state": "running", "reason": "", "rules": [], "alerts": [], **numbers}


def _place(field: str, text: str, cursor: int) -> Place:
    text = text[:MAX_TEXT_CHARS]
    return _PLACES[field](text, min(max(cursor, 0), len(text)))


def _unfinished(fault: Fault, field: str, cursor: int) -> bool:
    """Whether a field is wrong only as far as somebody is still typing in it."""
    if fault.field != field:
        return False
    return is_unfinished({"position": fault.position}, word_at(fault.text, min(max(cursor, 0), len(fault.text))))
