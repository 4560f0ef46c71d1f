"""Against real servers on loopback."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from descant.gateway.config import UpstreamConfig
from descant.gateway.dialects import UpstreamRequest
from descant.gateway.upstream_address import parse_address
from descant.gateway.upstream_connector import ForbiddenAddress, open_session, send, tls_context
from descant.schema.errors import InvalidConfig

GET = UpstreamRequest("GET", "/v1/models", {}, b"")
Answer = Callable[[web.Request], Awaitable[web.Response]]


class Names(AbstractResolver):
    """Resolves any name to the next of these addresses, the last one for ever."""

    def __init__(self, *addresses: str):
        self._addresses = list(addresses)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        address = self._addresses.pop(0) if len(self._addresses) > 1 else self._addresses[0]
        kind = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [
            ResolveResult(hostname=host, host=address, port=port, family=kind, proto=0, flags=0)
        ]

    async def close(self) -> None:
        return


@dataclass
class Certificate:
    cert: Path
    key: Path


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Return a self-made certificate for ``localhost``."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    made = Certificate(folder / "cert.pem", folder / "key.pem")
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    command += ["-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost"]
    command += ["-keyout", str(made.key), "-out", str(made.cert)]
    subprocess.run(command, check=True, capture_output=True)
    return made


@asynccontextmanager
async def served(answer: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve on a free port of loopback."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def fine(request: web.Request) -> web.Response:
    return web.Response(text="fine")


async def asked(
    config: UpstreamConfig, resolver: AbstractResolver | None = None
) -> tuple[int, str]:
    address = parse_address(config.url, allow_private=config.allow_private)
    async with open_session(config, resolver) as session, send(session, address, GET) as response:
        return response.status, await response.text()


async def asked_by(
    server: ssl.SSLContext, url: str, ca_file: Path | None, resolver: AbstractResolver | None = None
) -> tuple[int, str]:
    async with served(fine, server) as port:
        named = None if ca_file is None else str(ca_file)
        config = UpstreamConfig(url.format(port), ca_file=named, allow_private=True)
        return await asked(config, resolver)


def server_context(certificate: Certificate) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert, certificate.key)
    return context


def test_a_certificate_is_trusted_by_its_file(certificate: Certificate) -> None:
    server = server_context(certificate)
    found = asyncio.run(asked_by(server, "https://localhost:{}", certificate.cert))
    assert found == (200, "fine")


def test_without_the_file_it_is_refused(certificate: Certificate) -> None:
    with pytest.raises(aiohttp.ClientConnectorCertificateError):
        asyncio.run(asked_by(server_context(certificate), "https://localhost:{}", None))


def test_a_certificate_for_another_name_is_refused(certificate: Certificate) -> None:
    names, server = Names("127.0.0.1"), server_context(certificate)
    with pytest.raises(aiohttp.ClientConnectorCertificateError):
        asyncio.run(asked_by(server, "https://upstream.example:{}", certificate.cert, names))


def test_what_is_older_than_tls_1_2_is_refused(certificate: Certificate) -> None:
    context = tls_context(str(certificate.cert))
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_REQUIRED and context.check_hostname
    server = server_context(certificate)
    server.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        server.minimum_version = ssl.TLSVersion.TLSv1
        server.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(aiohttp.ClientConnectorError):
        asyncio.run(asked_by(server, "https://localhost:{}", certificate.cert))


@pytest.mark.parametrize("content", [None, "no certificate", ""])
def test_a_file_without_certificates_is_a_mistake(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InvalidConfig) as caught:
        tls_context(str(path))
    assert caught.value.field == "ca_file"


def test_there_is_no_setting_to_trust_anyone() -> None:
    assert not [
        name for name in UpstreamConfig.__annotations__ if "verify" in name or "insec" in name
    ]


async def one_request(config_url: str, resolver: AbstractResolver, allow_private: bool) -> str:
    async with served(fine) as port:
        config = UpstreamConfig(config_url.format(port), allow_private=allow_private)
        return (await asked(config, resolver))[1]


@pytest.mark.parametrize("leads_to", ["127.0.0.1", "10.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_a_name_that_leads_into_a_private_network_is_refused(leads_to: str) -> None:
    with pytest.raises(aiohttp.ClientConnectorError) as caught:
        asyncio.run(one_request("http://upstream.example:{}", Names(leads_to), allow_private=False))
    assert isinstance(caught.value.os_error, ForbiddenAddress)


def test_unless_that_is_allowed() -> None:
    url, names = "http://upstream.example:{}", Names("127.0.0.1")
    assert asyncio.run(one_request(url, names, allow_private=True)) == "fine"


@pytest.mark.parametrize(
    "leads_to", ["169.254.169.254", "fe80::1", "::ffff:169.254.169.254", "0.0.0.0"]
)
def test_a_name_that_leads_to_metadata_is_refused_always(leads_to: str) -> None:
    with pytest.raises(aiohttp.ClientConnectorError) as caught:
        asyncio.run(one_request("http://upstream.example:{}", Names(leads_to), allow_private=True))
    assert isinstance(caught.value.os_error, ForbiddenAddress)


async def rebound(names: Names) -> list[str]:
    """Ask twice, each time over a new connection, while the name's address changes."""
    closing = UpstreamRequest("GET", "/v1/models", {"connection": "close"}, b"")
    async with served(fine) as port:
        config = UpstreamConfig(f"http://upstream.example:{port}", allow_private=True)
        address, found = parse_address(config.url, allow_private=True), []
        async with open_session(config, names) as session:
            assert isinstance(session.connector, aiohttp.TCPConnector)
            for _ in range(2):
                try:
                    async with send(session, address, closing) as response:
                        found.append(await response.text())
                except aiohttp.ClientConnectorError as error:
                    found.append(type(error.os_error).__name__)
                session.connector.clear_dns_cache()
        return found


def test_a_name_that_changes_its_address_is_looked_at_each_time() -> None:
    names = Names("127.0.0.1", "169.254.169.254")
    assert asyncio.run(rebound(names)) == ["fine", "ForbiddenAddress"]


async def redirected() -> tuple[tuple[int, str], int]:
    visits = 0

    async def elsewhere(request: web.Request) -> web.Response:
        nonlocal visits
        visits += 1
        return web.Response(status=307, headers={"location": "/elsewhere"})

    async with served(elsewhere) as port:
        return await asked(UpstreamConfig(f"http://127.0.0.1:{port}")), visits


def test_a_redirect_is_not_followed() -> None:
    (status, _), visits = asyncio.run(redirected())
    assert (status, visits) == (307, 1)


async def headers_seen(url: str) -> dict[str, str]:
    async def echo(request: web.Request) -> web.Response:
        response = web.json_response(dict(request.headers))
        response.set_cookie("session", "1")
        return response

    async with served(echo) as port:
        config = UpstreamConfig(url.format(port))
        address = parse_address(config.url)
        request = UpstreamRequest(
            "POST", "/v1/x?a=%2F", {"accept": "x", "accept-encoding": "identity"}, b"{}"
        )
        async with open_session(config) as session:
            async with send(session, address, request) as response:
                await response.read()
            async with send(session, address, request) as response:
                seen: dict[str, str] = await response.json()
                return seen


def test_nothing_is_sent_but_what_the_request_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    # By name: a client that keeps cookies keeps none of a bare address.
    seen = asyncio.run(headers_seen("http://localhost:{}"))
    lower = {name.lower(): value for name, value in seen.items()}
    assert set(lower) <= {"host", "accept", "accept-encoding", "content-length", "content-type"}
    assert (lower["accept"], lower["accept-encoding"]) == ("x", "identity")
