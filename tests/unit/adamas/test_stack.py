"""A stack's ports never meet, and its members find each other."""

from dataclasses import replace
from pathlib import Path

import pytest

from adamas.stack import (
    MAX_REPLICAS,
    PORT_SPAN,
    Options,
    Ports,
    Stack,
    UpFailed,
    all_ports,
    simulator_member,
)

OPTIONS = Options(stones=20_000, seed=7, fresh=False, port_base=3000, api=1, process=1, data=Path(".adamas"))


def _stack(options: Options) -> Stack:
    return Stack(
        options, Ports(options.port_base), "127.0.0.1:3011", "postgresql://adamas:x@127.0.0.1:3013/adamas"
    )


def test_the_api_is_on_port_3000_by_default() -> None:
    assert Ports(OPTIONS.port_base).api(1) == 3000


def test_ports_are_all_different_and_within_the_span() -> None:
    ports = list(all_ports(replace(OPTIONS, api=MAX_REPLICAS, process=MAX_REPLICAS, port_base=5000)).values())
    assert len(set(ports)) == len(ports)
    assert {5000 <= port < 5000 + PORT_SPAN for port in ports} == {True}


def test_replicas_are_named_from_two() -> None:
    names = [member.name for member in _stack(replace(OPTIONS, api=2, process=3)).members()]
    assert names == ["api", "api-2", "sink", "process", "process-2", "process-3", "ingest"]


def test_simulator_and_ingest_agree_on_place_and_login() -> None:
    simulator = simulator_member(OPTIONS, Ports(3000)).environment
    ingest = next(member for member in _stack(OPTIONS).members() if member.name == "ingest").environment
    assert f":{simulator['ADAMAS_SIM_PORT']}/" in ingest["ADAMAS_VENDOR_URL"]
    assert simulator["ADAMAS_SIM_USERNAME"] == ingest["ADAMAS_VENDOR_USERNAME"]
    assert simulator["ADAMAS_SIM_PASSWORD"] == ingest["ADAMAS_VENDOR_PASSWORD"]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (replace(OPTIONS, api=0), "API must be from 1 to 10, not 0"),
        (replace(OPTIONS, process=11), "PROCESS must be from 1 to 10, not 11"),
        (replace(OPTIONS, port_base=65_530), "PORT_BASE must be"),
        (replace(OPTIONS, port_base=80), "PORT_BASE must be"),
        (replace(OPTIONS, stones=0), "STONES must be"),
    ],
)
def test_what_cannot_be_is_refused_by_its_make_name(options: Options, named: str) -> None:
    with pytest.raises(UpFailed, match=named):
        options.check()
