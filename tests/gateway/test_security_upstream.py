"""Whom the gateway speaks to: verified, never redirected, and no place that hands out credentials."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from descant.gateway import load_gateway_config
from descant.schema.errors import InvalidConfig
from tests.gateway.raw import http, scripted
from tests.gateway.running import running, write_file

pytestmark = pytest.mark.anyio

UPSTREAM_KEY = "sk-upstream-4f1c0ffee"


def certificate(folder: Path, name: str) -> tuple[ssl.SSLContext, Path]:
    """Return what serves with a self-made certificate for this name, and the certificate."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    command += ["-nodes", "-days", "2", "-subj", f"/CN={name}"]
    command += ["-addext", f"subjectAltName=DNS:{name}", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context, cert


def with_key(file: Path, more: str = "") -> Path:
    """Let the first upstream have a key."""
    lines = f'priority = 0\nkey_env = "UP"\n{more}'
    file.write_text(file.read_text().replace("priority = 0", lines))
    return file


@pytest.mark.parametrize("name", ["localhost", "elsewhere"])
async def test_an_upstream_that_cannot_prove_who_it_is_hears_nothing(
    tmp_path: Path, name: str
) -> None:
    """Nobody vouches for the certificate, or it is another host's; the next upstream answers."""
    context, cert = certificate(tmp_path, name)
    trusted = "" if name == "localhost" else f'ca_file = "{cert}"'
    async with scripted(tls=context) as wrong, scripted() as right:
        file = with_key(write_file(tmp_path, wrong.url, right.url), trusted)
        async with running(file, UP=UPSTREAM_KEY) as gateway:
            answers = [await gateway.chat() for _ in range(3)]
    assert [answer.headers["x-descant-upstream"] for answer in answers] == ["u1"] * 3
    assert wrong.heard == []
    assert not any(UPSTREAM_KEY.encode() in heard for heard in right.heard)


async def test_an_upstream_that_proves_who_it_is_answers(tmp_path: Path) -> None:
    context, cert = certificate(tmp_path, "localhost")
    async with scripted(tls=context) as upstream:
        file = with_key(write_file(tmp_path, upstream.url), f'ca_file = "{cert}"')
        async with running(file, UP=UPSTREAM_KEY) as gateway:
            assert (await gateway.chat()).status == 200
    assert UPSTREAM_KEY.encode() in upstream.heard[0]


@pytest.mark.parametrize("status", [b"302 Found", b"307 Temporary"])
async def test_a_redirect_is_not_followed(tmp_path: Path, status: bytes) -> None:
    async with scripted() as elsewhere:
        places = (elsewhere.url, "http://169.254.169.254/latest/meta-data", "//metadata/")
        for place in places:
            said = http(b"{}", f"location: {place}".encode(), status=status)
            async with scripted(said) as upstream:
                file = with_key(write_file(tmp_path, upstream.url))
                async with running(file, UP=UPSTREAM_KEY) as gateway:
                    answer = await gateway.chat()
            assert answer.status == 503
            assert "location" not in answer.headers
            assert place not in answer.body.decode()
            assert len(upstream.heard) >= 1
    assert elsewhere.connections == 0


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest",
        "http://[fd00:ec2::254]/",
        "http://[::ffff:169.254.169.254]/",
        "http://100.100.100.200/",
        "http://2852039166/",
        "http://0xa9fea9fe/",
        "http://0251.0376.0251.0376/",
        "http://169.254.43518/",
        "http://0.0.0.0:8000/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:6379/",
        "http://api.openai.com@169.254.169.254/",
        "http://user:sesame-2@api.openai.com/",
    ],
)
def test_a_file_that_names_such_a_place_is_refused_with_its_line(tmp_path: Path, url: str) -> None:
    file = write_file(tmp_path, "http://127.0.0.1:1", url)
    line = 1 + file.read_text().splitlines().index(f'url = "{url}"')
    with pytest.raises(InvalidConfig) as found:
        load_gateway_config(file)
    told = str(found.value)
    assert f"{line}" in told
    assert "url" in told
    assert "sesame-2" not in told
