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
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tqdm.auto import tqdm

BLOCK = 1 << 16  # bytes
TRIES = 5  # in a row that brought no new byte
DAMAGED_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError)
AGENT = {"User-Agent": "lessons-grid/1"}


class DownloadError(OSError):
    """A download that failed; the message names the address, what came and what to do."""


class _Contradiction(DownloadError):
    """The server contradicts itself or the archive's record: what came so far cannot be trusted."""


class _Dropped(Exception):
    """The connection ended early; what came so far is kept and the next try goes on from there."""


def open_url(url: str, start: int = 0, timeout: float = 60.0) -> http.client.HTTPResponse:
    """Ask for a file, from byte ``start`` on.

    Raises:
        DownloadError: the server refuses (an HTTP status of 400 to 499, save 408 and 429).
        _Dropped: no connection, or a busy server.
    """
    headers = AGENT | ({"Range": f"bytes={start}-"} if start else {})
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        found = f"HTTP {error.code} {error.reason}"
        if error.code >= 500 or error.code in (408, 429):
            raise _Dropped(found) from error
        if error.code == 416:
            raise _Contradiction(f"{url}: {start} bytes came, the server holds fewer; try again") from error
        raise DownloadError(f"{url}: {found}; look at the address in a browser, it may have moved") from error
    except (OSError, http.client.HTTPException) as error:  # no network, no such host, time out
        raise _Dropped(str(getattr(error, "reason", error))) from error


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read(BLOCK)
    except (OSError, http.client.HTTPException) as error:
        raise _Dropped(str(error) or type(error).__name__) from error


@dataclass
class _Partial:
    """The beginning of a file, and the size of the whole once it is known."""

    url: str
    path: Path
    size: int | None

    def have(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def advance(self, timeout: float) -> None:
        """Bring it closer to the whole, in one connection.

        Raises:
            _Dropped: it ended before the whole was there.
            DownloadError: anything that trying again will not mend.
        """
        have = self.have()
        if self.size is not None and have == self.size:
            return
        with open_url(self.url, have, timeout) as response:
            start = self._start(response, have)
            free = shutil.disk_usage(self.path.parent).free
            missing = (self.size or 0) - start
            if missing > free:
                raise DownloadError(
                    f"{self.path}: {free} bytes free on this disk, {missing} needed; make room"
                )
            with (
                self.path.open("r+b" if self.path.exists() else "wb", buffering=0) as file,
                tqdm(total=self.size, initial=start, desc=self.path.stem, unit="B", unit_scale=True) as bar,
            ):
                file.truncate(start)
                file.seek(start)
                while block := _read(response):
                    self._write(file, block)
                    bar.update(len(block))
        if self.size is not None and self.have() < self.size:
            raise _Dropped(f"the connection ended after {self.have()} of {self.size} bytes")

    def _write(self, file: BinaryIO, block: bytes) -> None:
        try:
            while block:  # a disk that is nearly full takes a part
                block = block[file.write(block) :]
        except OSError as error:
            kept = f"{self.have()} bytes stay, the same command goes on from there"
            raise DownloadError(f"{self.path}: {error.strerror}; make room; {kept}") from error

    def _start(self, response: http.client.HTTPResponse, asked: int) -> int:
        """The byte the answer begins with, 0 when the server ignores Range. Notes the size of the whole."""
        if response.headers.get_content_type() in ("text/html", "application/xhtml+xml"):
            raise DownloadError(f"{self.url}: a web page came, not a file; look at the address in a browser")
        start, length = 0, response.headers.get("Content-Length", "")
        size = int(length) if length.isdecimal() else None
        if response.status == 206:
            place = response.headers.get("Content-Range", "")
            match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", place)
            if not match or int(match[1]) != asked:
                raise _Contradiction(f"{self.url}: asked for bytes from {asked} on, got {place!r}; try again")
            start, size = asked, int(match[2])
        if None not in (size, self.size) and size != self.size:
            raise _Contradiction(
                f"{self.url}: {size} bytes, says the server, expected {self.size}; try later"
            )
        self.size = self.size or size
        return start


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
    except (*DAMAGED_ZIP, OSError) as error:
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
    partial = _Partial(url, part, size)
    if size is not None and partial.have() > size:  # left by another file of the same name
        part.unlink()
    tries, most = 0, partial.have()
    while True:
        try:
            partial.advance(timeout)
            break
        except _Contradiction:
            part.unlink(missing_ok=True)
            raise
        except _Dropped as error:
            got = partial.have()
            tries, most = (0, got) if got > most else (tries + 1, most)
            if tries == TRIES:
                kept = f"{got} bytes stay, the same command goes on from there" if got else "nothing came"
                raise DownloadError(f"{url}: {error}; gave up after {TRIES} tries; {kept}") from error
            time.sleep(pause * 2**tries)
    try:
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
