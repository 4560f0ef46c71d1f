"""Where an upstream is, and which addresses of the network may be spoken to at all."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Literal
from urllib.parse import SplitResult, urlsplit

from descant.schema.errors import InvalidConfig

Address = IPv4Address | IPv6Address
Reach = Literal["public", "private", "forbidden"]

_PRINTABLE = re.compile(r"[!-~]+")
_LONGEST_NAME = 253
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_NUMERIC = re.compile(r"(?:0[xX][0-9a-fA-F]*|[0-9]+)")
_METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "100.100.100.200",  # Alibaba
        "168.63.129.16",  # Azure's host
        "192.0.0.192",  # Oracle
        "fd00:ec2::254",  # AWS
        "fd00:ec2::23",  # AWS, containers
        "fd20:ce::254",  # Google
    )
)
"""Where clouds hand out credentials, beside the link-local addresses."""
_SHARED = ipaddress.ip_network("100.64.0.0/10")
_SITE_LOCAL = ipaddress.ip_network("fec0::/10")
_EMBEDDED = tuple(
    ipaddress.ip_network(text) for text in ("::/96", "64:ff9b::/96", "64:ff9b:1::/48")
)
"""IPv6 networks whose last four bytes are an IPv4 address that is meant."""


@dataclass(frozen=True, slots=True)
class UpstreamAddress:
    """A checked URL, in parts."""

    origin: str
    """``https://host:port``, without a path."""
    host: str
    path: str
    """Before every path of a request; empty or ``/…`` without a slash at its end."""
    may_be_private: bool
    """Whether the address is or may be one of this machine or a private network."""


def parse_address(url: str, *, allow_private: bool = False) -> UpstreamAddress:
    """Return the parts of an upstream's URL.

    A private address that is written out, or ``localhost``, is allowed as it stands; a name may lead
    to one only with `allow_private`.

    Raises:
        InvalidConfig: it is no plain HTTP address, or one that is never spoken to.
    """
    # The URL itself is not quoted: what is wrong with it may be a password.
    parts = _parts(url)
    host = (parts.hostname or "").removesuffix(".")
    literal = _literal(host)
    if literal is None and ("[" in url or not _is_name(host)):
        raise _refused("its host is neither a name nor an address as they are usually written")
    if literal is not None and reach_of(literal) == "forbidden":
        raise _refused("it is link-local, a cloud's metadata service, or no host's address")
    is_written = literal is not None and reach_of(literal) == "private"
    shown = f"[{host}]" if ":" in host else host
    port = "" if parts.port is None else f":{parts.port}"
    return UpstreamAddress(
        f"{parts.scheme}://{shown}{port}",
        host,
        parts.path.rstrip("/"),
        allow_private or is_written or host == "localhost",
    )


def reach_of(address: Address) -> Reach:
    """Return who is behind an address, whichever way it is written."""
    address = _meant(address)
    if address in _METADATA or address.is_link_local:
        return "forbidden"
    if address.is_unspecified or address.is_multicast:
        return "forbidden"
    if address == IPv4Address("255.255.255.255") or address in _SITE_LOCAL:
        return "forbidden"
    if address.is_private or address.is_loopback or address.is_reserved or address in _SHARED:
        return "private"
    return "public"


def _meant(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 one stands for, if it does."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped or address.sixtofour:
        return address.ipv4_mapped or address.sixtofour or address
    if address.teredo:
        return address.teredo[1]
    if address in (IPv6Address("::"), IPv6Address("::1")):
        return address
    if any(address in network for network in _EMBEDDED):
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def _parts(url: str) -> SplitResult:
    if not _PRINTABLE.fullmatch(url) or "\\" in url:
        raise _refused("it has spaces or characters beyond ASCII")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _refused("it is no URL") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise _refused("it must begin with http:// or https:// and a host")
    if "@" in parts.netloc or "?" in url or "#" in url:
        raise _refused("it carries a name, a password, a query or a fragment")
    if "/../" in parts.path + "/" or "/./" in parts.path + "/" or "//" in parts.path:
        raise _refused("its path is not plain")
    return parts


def _literal(host: str) -> Address | None:
    if "%" in host:
        return None
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _is_name(host: str) -> bool:
    """Return whether this is a host's name; what ends in a number would be read as an address."""
    labels = host.split(".")
    is_plain = all(_LABEL.fullmatch(label) for label in labels) and len(host) <= _LONGEST_NAME
    return is_plain and not _NUMERIC.fullmatch(labels[-1])


def _refused(reason: str) -> InvalidConfig:
    return InvalidConfig(
        f"The upstream's address cannot be used: {reason}.",
        field="url",
        remedy="Write, say, https://api.openai.com or http://127.0.0.1:8000.",
    )
