"""A real PostgreSQL server in a temporary folder, reached through a unix socket only."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

_DEBIAN = Path("/usr/lib/postgresql")
_USERS = ("postgres", "nobody")


def binaries() -> Path | None:
    """Where initdb and pg_ctl are; None without PostgreSQL."""
    versions = sorted(_DEBIAN.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    found = versions[-1] if versions else shutil.which("initdb")
    return None if found is None else Path(found).resolve().parent


@contextmanager
def running() -> Iterator[str]:
    """Run a server until the block ends; yields a URL without a database's name.

    PostgreSQL does not run as root: there, another user of the machine runs it.
    """
    place = binaries()
    if place is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    # A socket's path may have a hundred characters, which pytest's folders exceed.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    user = _user()
    data, start = str(folder / "data"), ["-o", f"-k {folder} -c listen_addresses= -F"]
    try:
        folder.chmod(0o755)
        if user is not None:
            os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
        _run(user, [place / "initdb", "-D", data, "-U", "descant", "-A", "trust", "-N"])
        log = str(folder / "log")
        _run(user, [place / "pg_ctl", "-D", data, "-w", "-l", log, *start, "start"])
        try:
            yield f"postgresql://descant@/{{database}}?host={folder}"
        finally:
            _run(user, [place / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop"])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _user() -> str | None:
    if os.getuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in _USERS if name in known)


def _run(user: str | None, command: Sequence[str | Path]) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, user=user, cwd="/", timeout=120
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
