"""Connections to one upstream: verified, never redirected, and only to addresses it may have."""

from __future__ import annotations

import io
import ipaddress
import socket
import ssl
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.client import _RequestContextManager
from yarl import URL

from descant.gateway.config import UpstreamConfig
from descant.gateway.dialects import UpstreamRequest
from descant.gateway.upstream_address import UpstreamAddress, parse_address, reach_of
from descant.schema.errors import InvalidConfig

_MOST_AT_ONCE_BYTES = 1 << 20
"""Larger bodies are written in pieces, and others get their turn between them."""
AddressInfo = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[Any, ...]]


class ForbiddenAddress(OSError):
    """A name led to an address that this upstream must not have."""


def connector(
    config: UpstreamConfig, resolver: AbstractResolver | None = None
) -> aiohttp.TCPConnector:
    """Return a pool of connections to this upstream; how many is decided where calls are let in.

    Every address is looked at when its socket is opened: after the name was resolved, each time.

    Raises:
        InvalidConfig: the address cannot be used, or there are no certificates in `ca_file`.
    """
    address = parse_address(config.url, allow_private=config.allow_private)

    def open_socket(info: AddressInfo) -> socket.socket:
        _check(info, address)
        family, kind, protocol, _, _ = info
        return socket.socket(family, kind, protocol)

    return aiohttp.TCPConnector(
        ssl=tls_context(config.ca_file), socket_factory=open_socket, resolver=resolver, limit=0
    )


def open_session(
    config: UpstreamConfig, resolver: AbstractResolver | None = None
) -> aiohttp.ClientSession:
    """Return a client for this upstream alone: no cookies, no proxy and no password of the machine's.

    Raises:
        InvalidConfig: see `connector`.
    """
    return aiohttp.ClientSession(
        connector=connector(config, resolver),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
        skip_auto_headers=("user-agent",),
        timeout=aiohttp.ClientTimeout(
            total=None, sock_connect=config.connect_timeout_s, sock_read=config.idle_timeout_s
        ),
    )


def send(
    session: aiohttp.ClientSession, address: UpstreamAddress, request: UpstreamRequest
) -> _RequestContextManager:
    """Send a request as it is written; a redirect is an answer like any other."""
    body = request.body
    return session.request(
        request.method,
        URL(address.origin + request.path, encoded=True),
        headers=request.headers,
        data=body if len(body) <= _MOST_AT_ONCE_BYTES else io.BytesIO(body),
        allow_redirects=False,
    )


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """Return the settings of TLS: certificates and names are verified, whatever is configured.

    Raises:
        InvalidConfig: there are no certificates in `ca_file`.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=ca_file)
        except OSError as error:
            raise InvalidConfig(
                f"No certificates can be read from {ca_file}.",
                field="ca_file",
                remedy="It is to be a file of certificates in PEM.",
            ) from error
    return context


def _check(info: AddressInfo, upstream: UpstreamAddress) -> None:
    address = ipaddress.ip_address(str(info[4][0]))
    reach = reach_of(address)
    if reach == "forbidden":
        raise ForbiddenAddress(f"{upstream.host} leads to an address that is never spoken to.")
    if reach == "private" and not upstream.may_be_private:
        raise ForbiddenAddress(f"{upstream.host} leads into a private network (allow_private).")
