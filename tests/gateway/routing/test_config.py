from __future__ import annotations

from pathlib import Path

import pytest

from descant.gateway.config import GatewayConfig, RouteConfig, UpstreamConfig, load_gateway_config
from descant.schema.errors import InvalidConfig

FILE = """
[upstreams.own]
url = "http://127.0.0.1:8000"
hours = "{hours}"
max_context_tokens = 8192
adapter_slots = 16

[routes."*"]
upstreams = ["own"]
canary_model = "polite-2"
canary_share = {share}
"""


def write(folder: Path, hours: str, share: float = 0.1) -> Path:
    path = folder / "gateway.toml"
    path.write_text(FILE.format(hours=hours, share=share))
    return path


def test_the_settings_of_routing_are_read(tmp_path: Path) -> None:
    config = load_gateway_config(write(tmp_path, "22-06:30"))
    assert config.upstreams["own"].hours == "22-06:30"
    assert config.upstreams["own"].adapter_slots == 16
    assert config.routes["*"].canary_share == 0.1


@pytest.mark.parametrize("hours", ["22", "22-24", "22-6", "22-06:60", "22-06 CET"])
def test_hours_that_are_none_are_refused(tmp_path: Path, hours: str) -> None:
    with pytest.raises(InvalidConfig, match="hours"):
        load_gateway_config(write(tmp_path, hours))


def test_a_share_above_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="canary_share"):
        load_gateway_config(write(tmp_path, "22-06", share=1.5))


def test_a_canary_that_no_route_answers_is_refused() -> None:
    upstreams = {"own": UpstreamConfig("http://127.0.0.1:8000")}
    route = RouteConfig(("own",), canary_model="polite-2", canary_share=0.1)
    with pytest.raises(InvalidConfig, match="'polite-2', which no route fits"):
        GatewayConfig(upstreams, {"polite": route})
    GatewayConfig(upstreams, {"polite": route, "polite-*": RouteConfig(("own",))})
