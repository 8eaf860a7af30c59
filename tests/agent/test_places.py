"""Frames name the interface they came from, whatever the hub chose before and after."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from aishark_panel.agent.places import MAX_PLACES, Places
from aishark_panel.agent.source import SourceInterface
from aishark_panel.errors import CaptureError
from aishark_panel.wire.frames import Frames
from aishark_panel.wire.messages import decode_agent_message, encode_control
from tests.traffic import hello


def interfaces(*names: str, **more: str) -> list[SourceInterface]:
    return [SourceInterface(name=name, link_type=1, snaplen=100, **more) for name in names]


def named(places: Places, *iface: int) -> list[str]:
    """Names of the interfaces that frames of the source's interfaces `iface` are sent with."""
    frames = replace(Frames.from_list([b"frame"] * len(iface), [0] * len(iface)), iface=np.array(iface, np.uint16))
    return [places.infos()[place].name for place in places.renumber(frames).iface.tolist()]


def test_an_interface_keeps_its_place() -> None:
    places = Places()
    places.follow(interfaces("eth0", "eth1"))
    assert named(places, 0, 1) == ["eth0", "eth1"]
    places.follow(interfaces("wg0", "eth1"))
    assert named(places, 0, 1, 0) == ["wg0", "eth1", "wg0"]
    places.follow(interfaces("eth0"))
    assert named(places, 0) == ["eth0"]
    assert [(i.name, i.captured) for i in places.infos()] == [("eth0", True), ("eth1", False), ("wg0", False)]


def test_the_settings_told_are_the_newest() -> None:
    places = Places()
    places.follow(interfaces("eth0"))
    places.follow(interfaces("eth0", filter="udp"))
    assert [(i.name, i.filter) for i in places.infos()] == [("eth0", "udp")]


def test_interfaces_of_one_name_in_a_file_are_told_apart() -> None:
    places = Places()
    places.follow(interfaces("", ""))
    assert len(places.infos()) == len(places) == 2
    places.follow(interfaces("", "", ""))
    assert len(places.infos()) == 3


def test_an_interface_of_another_link_type_is_another_one() -> None:
    places = Places()
    places.follow([SourceInterface(name="tun0", link_type=1, snaplen=9)])
    places.follow([SourceInterface(name="tun0", link_type=101, snaplen=9)])
    assert [(i.link_type, i.captured) for i in places.infos()] == [(1, False), (101, True)]


def test_a_later_life_goes_on_with_the_places_of_the_one_before() -> None:
    before = Places()
    before.follow(interfaces("eth0", "eth1"))
    places = Places(before.infos())
    places.follow(interfaces("eth1"))
    assert named(places, 0) == ["eth1"]
    assert [i.name for i in places.infos()] == ["eth0", "eth1"]


def test_there_are_no_more_places_than_an_agent_may_announce() -> None:
    before = Places()
    before.follow(interfaces("any", *(f"veth{n}" for n in range(MAX_PLACES - 2))))
    places = Places(before.infos())
    places.follow(interfaces("any", "eth0", "eth1", "veth7"))
    assert len(places.infos()) == MAX_PLACES
    assert named(places, 0, 1, 2, 3) == ["any", "eth0", "any", "veth7"]
    with pytest.raises(CaptureError, match="eth1 is one more"):
        places.follow(interfaces("eth1"))


def test_a_thousand_interfaces_with_long_filters_fit_into_a_greeting() -> None:
    places = Places()
    places.follow([SourceInterface(f"vethabcdef{i:05}", 1, 262_144, "port 1 or " * 200) for i in range(MAX_PLACES)])
    greeting = msgspec.structs.replace(hello(), interfaces=places.infos())
    assert decode_agent_message(encode_control(greeting)) == greeting
