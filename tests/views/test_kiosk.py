"""A screen on a wall: the views its address names, and words where it names others."""

from aishark_panel.views.bandwidth import Bandwidth
from aishark_panel.views.feed import Feed
from aishark_panel.views.header import Header
from aishark_panel.views.kiosk import KIOSK_VIEWS, Kiosk
from aishark_panel.views.link import Link
from aishark_panel.views.timeline import Timeline
from tests.views.hub import MemoryHub, wait


def said(kiosk: Kiosk) -> tuple[str, str]:
    """Of the line below the header: the filter, and what is not as the address says."""
    state = kiosk._line.root.drawn
    return state["unit"], state["value"]


def test_the_views_of_the_address_are_shown_in_its_order(hub: MemoryHub, feed: Feed) -> None:
    hub.add(["tcp", "dns", "dns"])
    kiosk = Kiosk(feed, Link(kiosk=True, views=("bandwidth", "timeline"), session="lab", where="dns"))
    wait(kiosk.open())
    assert [type(view) for view in kiosk.views] == [Header, Bandwidth, Timeline]
    assert (feed.where, feed.extent.count) == ("dns", 2)
    assert said(kiosk) == ("display filter  dns", "")
    for view in kiosk.views:
        view.paint()
    assert isinstance(header := kiosk.views[0], Header)
    assert header.root.drawn["bare"]


def test_a_wall_without_a_word_has_something_to_show(feed: Feed) -> None:
    kiosk = Kiosk(feed, Link(kiosk=True))
    wait(kiosk.open())
    assert len(kiosk.views) > 2
    assert not kiosk._line.root.visible


def test_names_of_no_view_and_what_else_is_wrong_are_told(feed: Feed) -> None:
    kiosk = Kiosk(feed, Link(kiosk=True, views=("moon", "timeline"), session="gone", where="src_prt == 1"))
    wait(kiosk.open())
    (_, problems) = said(kiosk)
    assert f"There is no view 'moon'; there are {', '.join(KIOSK_VIEWS)}." in problems
    assert "session 'gone' is gone, or not yours to see. Shown is lab." in problems
    assert "did you mean src_port?" in problems
    assert len(kiosk.views) == 2


def test_every_view_of_a_wall_can_be_drawn(hub: MemoryHub, feed: Feed) -> None:
    hub.add(["tcp"])
    kiosk = Kiosk(feed, Link(kiosk=True, views=tuple(KIOSK_VIEWS)))
    wait(kiosk.open())
    for view in kiosk.views:
        wait(view.pull())
        view.paint()
