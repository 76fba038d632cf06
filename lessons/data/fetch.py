"""Fetch one large file over a poor line: go on after a break, check what came, or leave nothing."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import shutil
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

from tqdm.auto import tqdm

BLOCK = 1 << 16  # bytes
TRIES = 5  # in a row that brought no new byte
AGENT = {"User-Agent": "lessons-grid/1"}


class DownloadError(OSError):
    """A download that failed; the message names the address, what came and what to do."""


class _Dropped(Exception):
    """The connection ended early; what came so far is kept and the next try goes on from there."""


def open_url(url: str, start: int = 0, timeout: float = 60.0) -> http.client.HTTPResponse:
    """Ask for a file, from byte ``start`` on.

    Raises:
        DownloadError: the server refuses (an HTTP status of 400 to 499, save 408 and 429).
        _Dropped: no connection, or the server is busy.
    """
    headers = AGENT | ({"Range": f"bytes={start}-"} if start else {})
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code >= 500 or error.code in (408, 429):
            raise _Dropped(f"HTTP {error.code} {error.reason}") from error
        advice = (
            "look at the address in a browser" if error.code == 404 else "try again later or with a browser"
        )
        raise DownloadError(f"{url}: HTTP {error.code} {error.reason}; {advice}") from error
    except (OSError, http.client.HTTPException) as error:  # no network, no such host, time out
        raise _Dropped(str(getattr(error, "reason", error))) from error


def _places(url: str, response: http.client.HTTPResponse, start: int) -> tuple[int, int | None]:
    """Where the answer begins and how long the whole file is: (0, ...) from a server that ignores Range."""
    kind = response.headers.get_content_type()
    if kind in ("text/html", "application/xhtml+xml"):
        raise DownloadError(
            f"{url}: the server sent a web page, not a file; look at the address in a browser"
        )
    if response.status == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
        if not match or int(match[1]) != start:
            found = response.headers.get("Content-Range")
            raise DownloadError(f"{url}: asked for bytes from {start} on, the server answers {found!r}")
        return start, int(match[2])
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdecimal() else None


def _one_try(url: str, part: Path, expected: int | None, timeout: float) -> int | None:
    """Bring ``part`` closer to the whole file; returns the whole size when the server tells it.

    Raises:
        _Dropped: with fewer bytes than the whole.
        DownloadError: anything that trying again will not mend.
    """
    have = part.stat().st_size if part.exists() else 0
    if expected is not None and have == expected:
        return expected
    with open_url(url, have, timeout) as response:
        start, whole = _places(url, response, have)
        if expected is not None and whole is not None and whole != expected:
            raise DownloadError(
                f"{url}: the server says {whole} bytes, before it was {expected}; the file changed or the "
                "server is wrong: try again later"
            )
        missing = (whole or 0) - start
        free = shutil.disk_usage(part.parent).free
        if missing > free:
            raise DownloadError(
                f"{part.parent}: {free} bytes free, but {url} needs {missing} more; make room"
            )
        with (
            part.open("r+b" if part.exists() else "wb") as file,
            tqdm(total=whole, initial=start, desc=part.stem, unit="B", unit_scale=True) as bar,
        ):
            file.truncate(start)
            file.seek(start)
            try:
                while block := response.read(BLOCK):
                    file.write(block)
                    bar.update(len(block))
            except (TimeoutError, ConnectionError, http.client.HTTPException) as error:
                raise _Dropped(str(error) or type(error).__name__) from error
    got = part.stat().st_size
    if whole is not None and got < whole:
        raise _Dropped(f"the connection ended after {got} of {whole} bytes")
    return whole


def _checksum(path: Path, method: str) -> str:
    digest = hashlib.new(method)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def check_zip(path: Path) -> None:
    """Read a whole zip archive and its CRC sums.

    Raises:
        ValueError: it is no zip, or damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, EOFError, OSError, RuntimeError, NotImplementedError) as error:
        raise ValueError(f"not a sound zip archive ({error})") from error
    if damaged is not None:
        raise ValueError(f"the zip archive is damaged at {damaged!r}")


def fetch_zip(
    url: str,
    path: Path,
    size: int | None = None,
    checksum: str | None = None,
    pause: float = 2.0,
    timeout: float = 60.0,
) -> None:
    """Download a zip archive to ``path``, which appears only when it is whole and sound.

    What has come so far is in ``path`` + ".part": after a break, here or in a later call, the download goes
    on from there where the server allows it, and begins again where it does not.

    Args:
        url: address.
        path: the file to write.
        size: bytes, when known from elsewhere; the server must agree.
        checksum: "md5:..." or "sha256:...", when known.
        pause: seconds before the second try, doubled for each one after it.
        timeout: seconds without a byte that count as a break.

    Raises:
        DownloadError: the server refuses, contradicts itself, sends a web page, or breaks off five times in a
            row without a new byte; the archive is damaged or has another size or checksum; the disk is full.
    """
    part = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    tries = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        if size is not None and before > size:  # left by another file of the same name
            part.unlink()
            before = 0
        try:
            size = _one_try(url, part, size, timeout) or size
            break
        except _Dropped as error:
            got = part.stat().st_size if part.exists() else 0
            tries = 0 if got > before else tries + 1
            if tries >= TRIES:
                kept = f"{got} bytes stay, the same command goes on" if got else "nothing came"
                raise DownloadError(f"{url}: {error}; gave up after {TRIES} tries; {kept}") from error
            time.sleep(pause * 2 ** max(0, tries - 1))
        except DownloadError:
            part.unlink(missing_ok=True)
            raise
    try:
        got = part.stat().st_size
        if size is not None and got != size:
            raise ValueError(f"{got} bytes came, expected {size}")
        if checksum is not None:
            method, _, wanted = checksum.partition(":")
            found = _checksum(part, method)
            if found != wanted:
                raise ValueError(f"its {method} is {found}, expected {wanted}")
        check_zip(part)
    except ValueError as error:
        part.unlink(missing_ok=True)
        raise DownloadError(f"{url}: {error}; what came was deleted, run the same command again") from error
    os.replace(part, path)
