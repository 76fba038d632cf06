"""The downloader against a local server that misbehaves in every way a line or a server can."""

from __future__ import annotations

import hashlib
import io
import json
import re
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lessons.data.grid.archive import names_by_folder, unpack
from lessons.data.grid.download import download, known_files, speaker_numbers
from lessons.data.grid.fetch import TRIES, DownloadError, check_zip, fetch_zip


def make_zip(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


VIDEOS = make_zip(
    {"s1/bbaf2n.mpg": b"v" * 70_000, "s1/bbaf3s.mpg": b"w" * 50_000, "__MACOSX/s1/._bbaf2n.mpg": b"junk"}
)
ALIGNMENTS = make_zip({f"alignments/s{n}/bbaf2n.align": b"0 74500 sil\r\n" + b"%d" % n for n in (1, 2)})


@dataclass
class Server:
    """What to serve and how to misbehave; the requests it saw."""

    files: dict[str, bytes]
    ranges: bool = True
    drop_after: dict[str, int] = field(default_factory=dict)  # bytes a connection brings before it dies
    drops: int = 10**9  # how many connections die
    says: dict[str, int] = field(default_factory=dict)  # size that the server claims
    status: dict[str, int] = field(default_factory=dict)
    kind: str = "application/octet-stream"
    length: bool = True  # whether it tells one
    seen: list[tuple[str, str | None]] = field(default_factory=list)
    url: str = ""

    def asked(self, name: str) -> list[str | None]:
        return [where for path, where in self.seen if path == name]


def handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            name = self.path.strip("/").split("?")[0]
            where = self.headers.get("Range")
            server.seen.append((name, where))
            code = server.status.get(name, 200 if name in server.files else 404)
            if code >= 400:
                self.send_error(code)
                return
            body = server.files[name]
            whole = server.says.get(name, len(body))
            start = int(re.fullmatch(r"bytes=(\d+)-", where)[1]) if where and server.ranges else 0
            if start and start >= len(body):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Type", server.kind)
            if server.length:
                self.send_header("Content-Length", str(whole - start))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
            self.end_headers()
            piece = body[start:whole]
            if name in server.drop_after and server.drops > 0:
                server.drops -= 1
                piece = piece[: server.drop_after[name]]
            self.wfile.write(piece)
            self.close_connection = True

    return Handler


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server({"s1.zip": VIDEOS, "alignments.zip": ALIGNMENTS})
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler(state))
    state.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    http.shutdown()
    thread.join()
    http.server_close()


def fetch(server: Server, path: Path, **more: object) -> None:
    fetch_zip(f"{server.url}/s1.zip", path, pause=0.0, timeout=5.0, **more)


def get(server: Server, out: Path, record: bool = False) -> None:
    download(1, out, server.url + "/{name}?download=1", f"{server.url}/record" if record else None, pause=0.0)


def tree(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def record_of(files: dict[str, bytes], **wrong: object) -> bytes:
    rows = [
        {"key": name, "size": len(body), "checksum": "md5:" + hashlib.md5(body).hexdigest()} | wrong
        for name, body in files.items()
    ]
    return json.dumps({"files": rows}).encode()


def test_a_speaker_arrives_and_a_second_call_fetches_nothing(server: Server, tmp_path: Path) -> None:
    get(server, tmp_path)
    want = ["align/s1/bbaf2n.align", "download.json", "s1/bbaf2n.mpg", "s1/bbaf3s.mpg"]
    assert tree(tmp_path) == want
    assert (tmp_path / "s1/bbaf2n.mpg").read_bytes() == b"v" * 70_000
    assert (tmp_path / "align/s1/bbaf2n.align").read_bytes().endswith(b"1")  # of speaker 1, not of 2
    requests = len(server.seen)
    get(server, tmp_path)
    assert len(server.seen) == requests


def test_a_deleted_clip_is_fetched_again(server: Server, tmp_path: Path) -> None:
    get(server, tmp_path)
    (tmp_path / "s1/bbaf3s.mpg").unlink()
    get(server, tmp_path)
    assert (tmp_path / "s1/bbaf3s.mpg").read_bytes() == b"w" * 50_000


def test_a_dropped_connection_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.drop_after, server.drops = {"s1.zip": 50_000}, 2
    fetch(server, tmp_path / "s1.zip")
    assert (tmp_path / "s1.zip").read_bytes() == VIDEOS
    assert server.asked("s1.zip") == [None, "bytes=50000-", "bytes=100000-"]
    assert tree(tmp_path) == ["s1.zip"]


def test_a_dead_line_keeps_what_came_and_the_next_call_goes_on(server: Server, tmp_path: Path) -> None:
    server.drop_after = {"s1.zip": 0}
    (tmp_path / "s1.zip.part").write_bytes(VIDEOS[:30_000])
    with pytest.raises(DownloadError, match=rf"30000 of {len(VIDEOS)} bytes.*30000 bytes stay"):
        fetch(server, tmp_path / "s1.zip")
    assert len(server.seen) == TRIES and tree(tmp_path) == ["s1.zip.part"]
    server.drop_after = {}
    fetch(server, tmp_path / "s1.zip")
    assert (tmp_path / "s1.zip").read_bytes() == VIDEOS
    assert server.asked("s1.zip")[-1] == "bytes=30000-"


def test_a_server_that_ignores_range_begins_again(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    server.drop_after, server.drops = {"s1.zip": 50_000}, 1
    fetch(server, tmp_path / "s1.zip")
    assert (tmp_path / "s1.zip").read_bytes() == VIDEOS


def test_a_server_that_ignores_range_and_always_drops_is_given_up(server: Server, tmp_path: Path) -> None:
    server.ranges, server.drop_after = False, {"s1.zip": 50_000}
    with pytest.raises(DownloadError, match="gave up"):
        fetch(server, tmp_path / "s1.zip")
    assert len(server.seen) == TRIES + 1


def test_a_size_told_too_small_is_found_by_the_archive(server: Server, tmp_path: Path) -> None:
    server.says = {"s1.zip": len(VIDEOS) - 1000}
    with pytest.raises(DownloadError, match=r"not a sound zip.*deleted"):
        fetch(server, tmp_path / "s1.zip")
    assert tree(tmp_path) == []


def test_a_size_told_too_large_is_an_error(server: Server, tmp_path: Path) -> None:
    server.says = {"s1.zip": len(VIDEOS) + 1000}
    with pytest.raises(DownloadError, match="the server holds fewer"):
        fetch(server, tmp_path / "s1.zip")
    assert tree(tmp_path) == []


def test_a_size_that_changes_on_the_way_is_an_error(server: Server, tmp_path: Path) -> None:
    server.drop_after, server.drops = {"s1.zip": 50_000}, 1

    class Shrinking(dict):
        def get(self, key: str, default: int) -> int:
            return default - 5 * (len(server.seen) - 1)

    server.says = Shrinking()
    with pytest.raises(DownloadError, match=rf"{len(VIDEOS) - 5} bytes, says the server"):
        fetch(server, tmp_path / "s1.zip")
    assert tree(tmp_path) == []


def test_another_size_than_the_record_is_an_error(server: Server, tmp_path: Path) -> None:
    server.files["record"] = record_of({"s1.zip": VIDEOS + b"x"})
    with pytest.raises(DownloadError, match=f"expected {len(VIDEOS) + 1}"):
        get(server, tmp_path, record=True)
    assert tree(tmp_path) == []


@pytest.mark.parametrize("status, tries", [(404, 1), (403, 1), (503, TRIES)])
def test_a_refusal_names_the_status(server: Server, tmp_path: Path, status: int, tries: int) -> None:
    server.status = {"s1.zip": status}
    with pytest.raises(DownloadError, match=rf"s1\.zip.*HTTP {status}"):
        fetch(server, tmp_path / "s1.zip")
    assert len(server.seen) == tries and tree(tmp_path) == []


def test_a_web_page_is_no_archive(server: Server, tmp_path: Path) -> None:
    server.kind = "text/html; charset=utf-8"
    with pytest.raises(DownloadError, match="web page"):
        fetch(server, tmp_path / "s1.zip")
    assert tree(tmp_path) == []


def test_a_page_under_a_false_name_is_no_archive(server: Server, tmp_path: Path) -> None:
    server.files["s1.zip"] = b"<html>moved</html>"
    with pytest.raises(DownloadError, match="not a sound zip"):
        fetch(server, tmp_path / "s1.zip")
    assert tree(tmp_path) == []


def test_no_server_is_told(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"refused.*nothing came"):
        fetch_zip("http://127.0.0.1:9/s1.zip", tmp_path / "s1.zip", pause=0.0)
    assert tree(tmp_path) == []


def test_a_flipped_byte_is_found(server: Server, tmp_path: Path) -> None:
    spoilt = bytearray(VIDEOS)
    spoilt[40_000] ^= 1
    server.files["s1.zip"] = bytes(spoilt)
    with pytest.raises(DownloadError, match=r"damaged at 's1/bbaf2n\.mpg'"):
        fetch(server, tmp_path / "s1.zip")
    assert tree(tmp_path) == []


def test_the_record_gives_size_and_checksum(server: Server, tmp_path: Path) -> None:
    server.files["record"] = record_of(dict(server.files))
    assert known_files(f"{server.url}/record")["s1.zip"][0] == len(VIDEOS)
    get(server, tmp_path, record=True)
    note = json.loads((tmp_path / "download.json").read_text(encoding="utf-8"))["s1"]
    assert note["checksum"] == "md5:" + hashlib.md5(VIDEOS).hexdigest()


def test_another_checksum_than_the_record_is_an_error(server: Server, tmp_path: Path) -> None:
    server.files["record"] = record_of({"s1.zip": VIDEOS}, checksum="md5:" + "0" * 32)
    with pytest.raises(DownloadError, match=r"md5 is [0-9a-f]{32}, expected 0000"):
        get(server, tmp_path, record=True)
    assert tree(tmp_path) == []


def test_a_file_that_the_record_does_not_list_is_not_asked_for(server: Server, tmp_path: Path) -> None:
    server.files["record"] = record_of({"other.zip": b""})
    with pytest.raises(DownloadError, match=r"no s1\.zip, only \['other\.zip'\]"):
        get(server, tmp_path, record=True)
    assert [name for name, _ in server.seen] == ["record"]


@pytest.mark.parametrize(
    "answer", [b"<html>", b"[]", b'{"files": 3}', b'{"files": [{"size": 1}]}', b"\xff", b"[" * 100_000]
)
def test_a_record_that_makes_no_sense_counts_as_none(server: Server, answer: bytes) -> None:
    server.files["record"] = answer
    assert known_files(f"{server.url}/record") == {}


def test_members_cannot_leave_the_folder(tmp_path: Path) -> None:
    names = ["../../evil.mpg", "/abs.mpg", "s1/..mpg", "s1/a b.mpg", "s1/.hidden.mpg", "s1/good.mpg"]
    (tmp_path / "a.zip").write_bytes(make_zip({name: b"x" for name in names}))
    assert unpack(tmp_path / "a.zip", tmp_path / "in" / "s1", ".mpg") == 3
    assert tree(tmp_path) == ["a.zip", "in/s1/abs.mpg", "in/s1/evil.mpg", "in/s1/good.mpg"]


def test_an_archive_without_clips_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(make_zip({"s2/bbaf2n.align": b"x"}))
    with pytest.raises(DownloadError, match=r"no \.align file in a folder s1"):
        unpack(tmp_path / "a.zip", tmp_path / "in", ".align", "s1")
    assert tree(tmp_path) == ["a.zip"]


def test_a_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lessons.data.grid.archive.LARGEST_MEMBER", 10)
    (tmp_path / "a.zip").write_bytes(make_zip({"s1/bbaf2n.mpg": b"x" * 11}))
    with pytest.raises(DownloadError, match="11 bytes, too many"):
        unpack(tmp_path / "a.zip", tmp_path / "in", ".mpg")
    assert tree(tmp_path) == ["a.zip"]


def test_a_full_disk_is_told_before_the_first_byte(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "lessons.data.grid.fetch.shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000})
    )
    with pytest.raises(DownloadError, match=f"1000 bytes free on this disk, {len(VIDEOS)} needed"):
        fetch(server, tmp_path / "s1.zip")
    assert tree(tmp_path) == []


@pytest.mark.parametrize("speaker", [0, 21, 35])
def test_speakers_without_video_are_refused(tmp_path: Path, speaker: int) -> None:
    with pytest.raises(ValueError, match="1 to 34"):
        download(speaker, tmp_path)


def test_the_numbers_of_speakers() -> None:
    assert speaker_numbers("all") == [*range(1, 21), *range(22, 35)]
    assert speaker_numbers("5,s1, 2") == [1, 2, 5] == speaker_numbers([5, 2, 1, 1])
    for wrong in ("", "1,,2", "1-3", "s", "21", "1,99999999", "\u0663", []):
        with pytest.raises(ValueError, match=r"speakers=.*1 to 34, except 21"):
            speaker_numbers(wrong)


def test_many_speakers_share_the_archive_of_timings(server: Server, tmp_path: Path) -> None:
    """The timings of s5 and s6 are exchanged, but for a name of s5 with strange timings in its own folder."""
    ids = {n: [f"bb{letter}{n}n{a}"[:6] for letter in "abcdef" for a in "x"] for n in (5, 6)}
    for n, names in ids.items():
        server.files[f"s{n}.zip"] = make_zip({f"s{n}/{name}.mpg": b"v" for name in names})
    members = {f"alignments/s{11 - n}/{name}.align": b"%d" % n for n, names in ids.items() for name in names}
    server.files["alignments.zip"] = make_zip(members | {f"alignments/s5/{ids[5][0]}.align": b"strange"})
    download("5,6", tmp_path, server.url + "/{name}", None, pause=0.0)
    for n, names in ids.items():
        assert {path.stem for path in (tmp_path / "align" / f"s{n}").iterdir()} == set(names)
        assert all(path.read_bytes() == b"%d" % n for path in (tmp_path / "align" / f"s{n}").iterdir())
    assert len(server.asked("alignments.zip")) == 1
    requests = len(server.seen)
    download([6, 5], tmp_path, server.url + "/{name}", None, pause=0.0)
    assert len(server.seen) == requests


def test_timings_that_fit_no_video_are_not_kept(server: Server, tmp_path: Path) -> None:
    server.files["alignments.zip"] = make_zip(
        {f"alignments/s1/{n}.align": b"x" for n in ("a", "b", "c", "bbaf2n")}
    )
    (tmp_path / "align" / "s1").mkdir(parents=True)
    (tmp_path / "align" / "s1" / "old.align").write_bytes(b"another speaker")
    server.files["s1.zip"] = make_zip({f"s1/{n}.mpg": b"v" for n in ("bbaf2n", "bbaf3s", "bbaf4p")})
    with pytest.raises(DownloadError, match=r"in no folder do \.align files.*'align/s1'"):
        get(server, tmp_path)
    assert tree(tmp_path) == ["download.json", "s1/bbaf2n.mpg", "s1/bbaf3s.mpg", "s1/bbaf4p.mpg"]


@pytest.mark.parametrize("name", ["s1.zip", "alignments.zip"])
def test_an_archive_of_no_use_is_deleted(server: Server, tmp_path: Path, name: str) -> None:
    good = server.files[name]
    server.files[name] = make_zip({"readme.txt": b"moved"})
    with pytest.raises(DownloadError):
        get(server, tmp_path)
    assert not (tmp_path / name).exists()
    server.files[name] = good
    get(server, tmp_path)
    (tmp_path / "s1/bbaf2n.mpg").unlink()
    (tmp_path / "s1.zip").write_bytes(b"PK no zip")  # left by somebody else
    with pytest.raises(DownloadError, match=r"s1\.zip: not a sound zip.*deleted"):
        get(server, tmp_path)
    get(server, tmp_path)
    assert (tmp_path / "s1/bbaf2n.mpg").is_file()


@pytest.mark.parametrize("notes", [b"[" * 100_000, b"[]", b'{"s1": 3}', b'{"s1": {"files": "2"}}', b"\xff"])
def test_notes_that_make_no_sense_are_named(server: Server, tmp_path: Path, notes: bytes) -> None:
    (tmp_path / "download.json").write_bytes(notes)
    with pytest.raises(DownloadError, match=r"download\.json: .*delete it"):
        get(server, tmp_path)
    assert server.seen == []


@pytest.mark.parametrize("size", [-1, 0, True, "5", 1.5, None])
def test_a_size_that_makes_no_sense_counts_as_none(server: Server, tmp_path: Path, size: object) -> None:
    server.files["record"] = record_of(dict(server.files), size=size)
    assert known_files(f"{server.url}/record")["s1.zip"][0] is None
    get(server, tmp_path, record=True)


def limit_disk(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": free}))


def test_all_archives_together_must_fit_the_disk(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["s2.zip"] = VIDEOS
    server.files["record"] = record_of(dict(server.files))
    needed = 3 * len(VIDEOS) + len(ALIGNMENTS)
    limit_disk(monkeypatch, needed - 1)
    with pytest.raises(
        DownloadError, match=f"{needed - 1} bytes free on this disk, {needed} needed for 3 archives"
    ):
        download([1, 2], tmp_path, server.url + "/{name}", f"{server.url}/record", pause=0.0)
    assert tree(tmp_path) == [] and len(server.seen) == 1


def test_what_is_unpacked_must_fit_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.zip").write_bytes(VIDEOS)
    limit_disk(monkeypatch, 119_999)
    with pytest.raises(DownloadError, match="119999 bytes free on this disk, 120000 needed"):
        unpack(tmp_path / "a.zip", tmp_path / "in", ".mpg")
    assert tree(tmp_path) == ["a.zip"]  # it is sound, and stays
    limit_disk(monkeypatch, 120_000)
    assert unpack(tmp_path / "a.zip", tmp_path / "in", ".mpg") == 2
    limit_disk(monkeypatch, 0)
    assert unpack(tmp_path / "a.zip", tmp_path / "in", ".mpg") == 2  # nothing to write


def test_a_full_disk_without_a_told_length_names_the_file(server: Server, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    server.length = False
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (100_000, before[1])
    )  # a write beyond it fails, as on a full disk
    try:
        with pytest.raises(
            DownloadError, match=r"s1\.zip\.part: File too large; make room; 100000 bytes stay"
        ):
            fetch(server, tmp_path / "s1.zip")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    fetch(server, tmp_path / "s1.zip")
    assert server.asked("s1.zip") == [None, "bytes=100000-"]


def test_a_server_that_tells_no_length_is_trusted_when_the_zip_is_sound(
    server: Server, tmp_path: Path
) -> None:
    server.length = False
    fetch(server, tmp_path / "s1.zip")
    assert (tmp_path / "s1.zip").read_bytes() == VIDEOS


def test_the_names_in_an_archive(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(ALIGNMENTS)
    assert names_by_folder(tmp_path / "a.zip", ".align") == {"s1": {"bbaf2n"}, "s2": {"bbaf2n"}}


def test_check_zip_accepts_a_sound_one(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(VIDEOS)
    check_zip(tmp_path / "a.zip")
