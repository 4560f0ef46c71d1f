from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from descant.gateway import load_gateway_config
from descant.gateway.upstream_address import parse_address, reach_of
from descant.schema.errors import InvalidConfig

FORBIDDEN = [
    "169.254.169.254",
    "169.254.0.1",
    "168.63.129.16",
    "100.100.100.200",
    "192.0.0.192",
    "0.0.0.0",
    "255.255.255.255",
    "224.0.0.1",
    "::",
    "fe80::1",
    "febf::1",
    "fec0::1",
    "fd00:ec2::254",
    "fd20:ce::254",
    "ff02::1",
    "::ffff:169.254.169.254",
    "::169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
    "2001:0:4136:e378:8000:63bf:5601:5601",
    "::ffff:0.0.0.0",
]
PRIVATE = [
    "127.0.0.1",
    "127.8.8.8",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "240.0.0.1",
    "::1",
    "fd12:3456::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
]
PUBLIC = ["1.1.1.1", "2606:4700:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]


def url(host: str) -> str:
    return f"http://[{host}]:8000" if ":" in host else f"http://{host}:8000"


@pytest.mark.parametrize("host", FORBIDDEN)
def test_some_addresses_are_never_spoken_to(host: str) -> None:
    assert reach_of(ipaddress.ip_address(host)) == "forbidden"
    with pytest.raises(InvalidConfig) as caught:
        parse_address(url(host), allow_private=True)
    assert caught.value.field == "url"


@pytest.mark.parametrize("host", PRIVATE)
def test_a_private_address_is_allowed_where_it_is_written(host: str) -> None:
    assert reach_of(ipaddress.ip_address(host)) == "private"
    assert parse_address(url(host)).may_be_private


@pytest.mark.parametrize("host", PUBLIC)
def test_public_addresses(host: str) -> None:
    assert reach_of(ipaddress.ip_address(host)) == "public"
    assert not parse_address(url(host)).may_be_private


def test_a_name_may_lead_into_a_private_network_only_if_that_is_said() -> None:
    assert not parse_address("http://vllm.models.svc:8000").may_be_private
    assert parse_address("http://vllm.models.svc:8000", allow_private=True).may_be_private
    assert parse_address("http://localhost:8000").may_be_private
    assert parse_address("http://LOCALHOST.:8000").may_be_private
    assert not parse_address("http://localhost.example.org").may_be_private


@pytest.mark.parametrize(
    "host",
    [
        "2130706433",
        "2852039166",
        "127.1",
        "0177.0.0.1",
        "0x7f.0.0.1",
        "0xa9fea9fe",
        "0251.0376.0251.0376",
        "169.254.43518",
        "127.0.0.01",
        "1.2.3.4.5",
        "example.0x7f",
        "127。0。0。1",
        "①②⑦.0.0.1",
        "127.0.0.1%00.example.org",
        "%31%32%37.0.0.1",
        "[fe80::1%25eth0]",
        "[::1%25lo]",
        "[::1",
        "[v1.x]",
        "a..b",
        "-a.example",
        ".example",
        "a" * 64,
        "exa mple",
        "exa\\mple",
        "",
    ],
)
def test_a_host_is_written_as_it_usually_is(host: str) -> None:
    with pytest.raises(InvalidConfig):
        parse_address(f"http://{host}/", allow_private=True)


@pytest.mark.parametrize(
    "text",
    [
        "ftp://example.org",
        "file:///etc/passwd",
        "unix:///run/x",
        "example.org",
        "//example.org",
        "http:/example.org",
        "http://user:hunter2@example.org",
        "http://hunter2@example.org",
        "http://@example.org",
        "http://example.org?hunter2=1",
        "http://example.org?",
        "http://example.org/#hunter2",
        "http://example.org#",
        "http://example.org:0",
        "http://example.org:99999",
        "http://example.org:x",
        "http://example.org/a\nb",
        "http://example.org\t",
        "http://example.org/../admin",
        "http://example.org//admin",
        "http://1.1.1.1#@169.254.169.254/",
        "http://1.1.1.1\\@169.254.169.254/",
    ],
)
def test_what_is_no_plain_http_address_is_refused_and_not_quoted(text: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        parse_address(text, allow_private=True)
    assert "hunter2" not in str(caught.value)


def test_the_parts_of_an_address() -> None:
    address = parse_address("https://Api.Example.org:8443/base/path/")
    assert address.origin == "https://api.example.org:8443"
    assert (address.host, address.path) == ("api.example.org", "/base/path")
    assert parse_address("http://[::1]:8000").origin == "http://[::1]:8000"
    assert parse_address("https://api.openai.com").path == ""


@given(st.text(max_size=40) | st.from_regex(r"https?://[ -~]{0,30}", fullmatch=True))
def test_any_text_is_an_address_or_a_typed_error(text: str) -> None:
    try:
        address = parse_address(text)
    except InvalidConfig as error:
        assert error.field == "url"
    else:
        assert "@" not in address.origin
        assert parse_address(address.origin + address.path).origin == address.origin


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_the_same_in_all_of_its_disguises(
    address: ipaddress.IPv4Address,
) -> None:
    number = int(address)
    for disguise in (0xFFFF << 32 | number, 0x64_FF9B << 96 | number, 0x2002 << 112 | number << 80):
        assert reach_of(ipaddress.IPv6Address(disguise)) == reach_of(address)


def test_a_file_names_the_line_of_an_address_that_cannot_be_used(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(
        '[upstreams.a]\nurl = "http://169.254.169.254"\n[routes."*"]\nupstreams = ["a"]\n'
    )
    with pytest.raises(InvalidConfig) as caught:
        load_gateway_config(path)
    assert "2" in str(caught.value) and "upstreams.a" in str(caught.value)
