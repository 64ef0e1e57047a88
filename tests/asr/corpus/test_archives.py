"""A release's archive: unpacked completely or not at all, and downloaded once by the Collective's client."""

import gzip
import io
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import namedtuple
from pathlib import Path

import pytest
from asr import InputError
from asr.corpus import archives
from asr.corpus.data_collective import download_archive
from hypothesis import given, settings
from hypothesis import strategies as st
from servers.collective import SIGNED, Collective

FLOWS = Path(archives.__file__).parents[2]
TOP = "cv-corpus-22.0-2025-06-20/sv-SE"
random_bytes = random.Random(22).randbytes
CLIP_COUNT = 5000
RELEASE = {
    f"{TOP}/train.tsv": b"client_id\tpath\tsentence\nx\tcommon_voice_sv-SE_1.mp3\tHej.\n",
    f"{TOP}/dev.tsv": b"client_id\tpath\tsentence\n",
    **{f"{TOP}/clips/common_voice_sv-SE_{at}.mp3": random_bytes(30_000 + at) for at in range(5)},
}


def tar_member(name=f"{TOP}/clips/odd.mp3", type=tarfile.REGTYPE, size=0, **fields):
    """A tar header; these fields are set in it."""
    member = tarfile.TarInfo(name)
    member.type, member.size = type, size
    for field, value in fields.items():
        setattr(member, field, value)
    return member


def tar(*extra, files=RELEASE, mode="w:gz", format=tarfile.PAX_FORMAT):
    """The bytes of an archive: the extra members first, each with as many zeros as its header states."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, format=format) as archive:
        for member in extra:
            archive.addfile(member, io.BytesIO(bytes(max(member.size, 0))) if member.isreg() else None)
        for name, content in files.items():
            archive.addfile(tar_member(name, size=len(content)), io.BytesIO(content))
    return buffer.getvalue()


def raw(*headers, end=bytes(1024)):
    """An archive of these raw headers and contents."""
    return b"".join(headers) + end


def header(format=tarfile.GNU_FORMAT, **fields):
    return tar_member(**fields).tobuf(format)


def tree(folder):
    """Every file below a folder with its content, and every empty folder, without lock files."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
        if (path.is_file() and path.suffix != ".lock") or (path.is_dir() and not any(path.iterdir()))
    }


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The cache folder of a user with an empty home folder and no settings of the Collective."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("MDC_API_KEY", "MDC_API_URL", "MDC_DOWNLOAD_PATH", "MDC_LOG_PATH"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cache" / "whisper-flow"


@pytest.fixture
def archive(tmp_path):
    """A function that writes bytes to a file and returns its path."""

    def make(content, name="cv-corpus-22.0-2025-06-20-sv-SE.tar.gz"):
        path = tmp_path / "downloads" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return path

    return make


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_release_is_unpacked_byte_for_byte(archive, mode, format):
    assert tree(archives.unpack_archive(archive(tar(mode=mode, format=format)))) == RELEASE


def test_a_second_call_reuses_the_unpacked_folder_and_reports_it(archive, cache, capsys):
    path = archive(tar())
    folder = archives.unpack_archive(path)
    assert folder.parent == cache
    assert folder.name.startswith(path.name)
    (folder / TOP / "train.tsv").write_bytes(b"mine")
    capsys.readouterr()
    assert archives.unpack_archive(path) == folder
    assert (folder / TOP / "train.tsv").read_bytes() == b"mine"
    assert str(folder) in capsys.readouterr().out


@pytest.mark.parametrize("change", ["content", "time", "name"])
def test_another_archive_is_not_mistaken_for_a_cached_one(archive, change):
    path = archive(tar())
    first = archives.unpack_archive(path)
    if change == "content":
        path = archive(tar(files={**RELEASE, "more.tsv": b"more"}))
    elif change == "time":
        os.utime(path, ns=(1, 1))
    else:
        path = path.rename(path.with_name("other.tar.gz"))
    assert archives.unpack_archive(path) != first


def test_the_cache_folder_can_be_chosen(archive, tmp_path):
    folder = archives.unpack_archive(archive(tar()), tmp_path / "here")
    assert folder.parent == tmp_path / "here"


def test_the_longest_possible_file_name_is_unpacked(archive):
    assert tree(archives.unpack_archive(archive(tar(), "å" * 127))) == RELEASE


def test_progress_is_reported(archive, monkeypatch, capsys):
    monkeypatch.setattr(archives, "PROGRESS_SECONDS", 0.005)
    content = tar(files={f"clips/{at}.mp3": random_bytes(10_000) for at in range(1000)}, mode="w")
    archives.unpack_archive(archive(content, "cv.tar"))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("unpacking cv.tar")]
    shares = [int(line.split()[2]) for line in lines]
    assert shares == sorted(shares)
    assert any(0 < share < 100 for share in shares)
    assert all(line.endswith(" %") for line in lines)


def test_repeated_folders_and_a_leading_dot_are_accepted(archive):
    folders = [tar_member(name, tarfile.DIRTYPE) for name in (".", "./clips", "./clips")]
    folder = archives.unpack_archive(archive(tar(*folders, files={"./clips/a.mp3": b"a", "./train.tsv": b"b"})))
    assert tree(folder) == {"clips/a.mp3": b"a", "train.tsv": b"b"}


def test_permissions_in_the_archive_are_ignored(archive):
    members = [tar_member("clips", tarfile.DIRTYPE, mode=0o000), tar_member("clips/a.mp3", mode=0o4000, uid=12345)]
    folder = archives.unpack_archive(archive(tar(*members)))
    file = (folder / "clips/a.mp3").stat()
    assert file.st_mode & 0o7600 == 0o600
    assert file.st_uid == os.getuid()


def test_non_ascii_names_are_kept(archive):
    assert tree(archives.unpack_archive(archive(tar(files={"sv/Åsa köper ägg.mp3": b"a"})))) == {
        "sv/Åsa köper ägg.mp3": b"a"
    }


HOSTILE = {
    "up": (tar_member("../up.txt"), "leads out"),
    "up in the middle": (tar_member(f"{TOP}/../../../up.txt"), "leads out"),
    "up, a folder": (tar_member("../up", tarfile.DIRTYPE), "leads out"),
    "absolute": (tar_member("/tmp/whisper-flow-was-here"), "leads out"),
    "absolute by pax": (tar_member(pax_headers={"path": "/tmp/whisper-flow-was-here"}), "leads out"),
    "symbolic link": (tar_member(type=tarfile.SYMTYPE, linkname="/etc/passwd"), "link"),
    "symbolic link inside": (tar_member(type=tarfile.SYMTYPE, linkname="common_voice_sv-SE_1.mp3"), "link"),
    "hard link": (tar_member(type=tarfile.LNKTYPE, linkname=f"{TOP}/train.tsv"), "link"),
    "pipe": (tar_member(type=tarfile.FIFOTYPE), "neither a file nor a folder"),
    "device": (tar_member(type=tarfile.CHRTYPE, devmajor=1, devminor=3), "neither a file nor a folder"),
    "block device": (tar_member(type=tarfile.BLKTYPE, devmajor=8, devminor=0), "neither a file nor a folder"),
    "unknown type": (tar_member(type=b"Q"), "neither a file nor a folder"),
    "sparse": (tar_member(pax_headers={"GNU.sparse.map": "0,0", "GNU.sparse.size": str(10**12)}), "sparse"),
    "null": (tar_member(pax_headers={"path": "a\0b"}), "unprintable letters"),
    "new line": (tar_member("a\nb"), "unprintable letters"),
    "colours": (tar_member("\033[2Jb"), "unprintable letters"),
    "right to left": (tar_member("a\u202e3pm.exe"), "unprintable letters"),
    "no UTF-8": (tar_member(b"\xff\xfe".decode("utf-8", "surrogateescape")), "unprintable letters"),
    "backslash": (tar_member("..\\up.txt"), "unprintable letters"),
    "long": (tar_member("a" * 300), "too long a name"),
    "deep": (tar_member("a/" * 120 + "a"), "too long a name"),
    "nameless": (tar_member(""), "leads out"),
    "a negative size": (tar_member(pax_headers={"size": "-512"}), "negative size"),
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_an_archive_with_a_forbidden_member_is_refused_by_name(archive, cache, tmp_path, refusal, kind, mode):
    member, reason = HOSTILE[kind]
    path = archive(tar(member, mode=mode))
    before = tree(tmp_path)
    line = refusal(archives.unpack_archive, path)
    assert str(path) in line
    assert reason in line
    assert repr(member.pax_headers.get("path", member.name)[:200]) in line
    assert tree(tmp_path) == before
    assert not Path("/tmp/whisper-flow-was-here").exists()


def test_the_same_name_twice_is_refused(archive, cache, refusal):
    for first, second in [(f"{TOP}/train.tsv",) * 2, ("a", "./a"), ("a/b", "a"), ("a", "a/b"), ("a", "a//")]:
        line = refusal(archives.unpack_archive, archive(tar(tar_member(first), files={second: b"x"})))
        assert "comes twice" in line or "directory" in line.lower()
        assert tree(cache) == {}


def compression_bomb(members, size):
    """A small archive of this many members, each of this many zeros."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as archive_file:
        for at in range(members):
            archive_file.addfile(tar_member(f"clips/{at}.mp3", size=size), io.BytesIO(bytes(size)))
    return buffer.getvalue()


def test_a_compression_bomb_is_refused(archive, cache, refusal):
    path = archive(compression_bomb(3, 50_000_000))
    line = refusal(archives.unpack_archive, path)
    assert str(path) in line
    assert "'clips/1.mp3' is more than a speech corpus" in line
    assert tree(cache) == {}


def test_a_small_archive_of_text_may_shrink_well(archive):
    content = b"client_id\tpath\tsentence\n" * 400_000
    assert tree(archives.unpack_archive(archive(tar(files={"train.tsv": content})))) == {"train.tsv": content}


def test_an_archive_of_too_many_empty_members_is_refused(archive, cache, refusal, monkeypatch):
    monkeypatch.setattr(archives, "MAX_MEMBERS", 10)
    assert "'clips/10.mp3' is more than" in refusal(archives.unpack_archive, archive(compression_bomb(11, 0)))
    assert tree(cache) == {}


@pytest.mark.parametrize("size", [10**11, 2**80])
def test_a_member_of_a_giant_size_is_refused_at_its_header(archive, cache, refusal, size):
    assert "is more than a speech corpus" in refusal(archives.unpack_archive, archive(raw(header(size=size)), "cv.tar"))
    assert tree(cache) == {}


@pytest.mark.parametrize("type", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
@pytest.mark.parametrize("size", [10**6, 2**40])
def test_a_header_that_would_exhaust_memory_is_refused(archive, cache, refusal, type, size):
    content = gzip.compress(raw(header(type=type, size=size), end=bytes(10**7)), 1)
    assert "its headers are too long" in refusal(archives.unpack_archive, archive(content))
    assert tree(cache) == {}


def record(keyword, value):
    """A record of a pax header, which begins with its own length."""
    rest = f" {keyword}={value}\n"
    length = len(rest) + 1
    while len(str(length)) + len(rest) != length:
        length += 1
    return f"{length}{rest}"


def pax(*records, type=tarfile.XHDTYPE):
    content = "".join(record(*pair) for pair in records).encode()
    return header(type=type, size=len(content)) + content + bytes(-len(content) % 512)


SLOW_HEADERS = {
    "headers of headers": [pax(("comment", "x"))] * 100,
    "thousands of headers of headers": [pax()] * 5000,
    "a map without an end": [pax(("GNU.sparse.major", 1), ("GNU.sparse.minor", 0)), header(), b"99999999\n"],
    "a map of no numbers": [pax(("GNU.sparse.map", "x,y")), header()],
    "a map cut short": [pax(("GNU.sparse.map", "1")), header()],
    "an old map cut short": [header(type=tarfile.GNUTYPE_SPARSE)[:482] + b"\1" + bytes(29)],
    "only headers": [pax(("path", "a")), pax(("path", "b"), type=tarfile.XGLTYPE)],
    "digits": [*[header(type=tarfile.XHDTYPE, size=20_480), b"1" * 20_480, header()] * 2],
}


@pytest.mark.parametrize("kind", SLOW_HEADERS)
def test_headers_that_take_long_to_parse_are_refused_quickly(archive, cache, refusal, kind):
    started = time.monotonic()
    refusal(archives.unpack_archive, archive(raw(*SLOW_HEADERS[kind]), "cv.tar"))
    assert time.monotonic() - started < 5
    assert tree(cache) == {}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"x", "damaged, cut short or no .tar"),
        (b"client_id\tpath\n" * 1000, "damaged, cut short or no .tar"),
        (b"PK\3\4" + bytes(2000), "damaged, cut short or no .tar"),
        (gzip.compress(b""), "damaged, cut short or no .tar"),
        (gzip.compress(b"no tar" * 1000), "damaged, cut short or no .tar"),
        (b"\x1f\x8b" + bytes(100), "damaged, cut short or no .tar"),
        (b"BZh9" + bytes(100), "damaged, cut short or no .tar"),
        (b"\xfd7zXZ\0" + bytes(100), "damaged, cut short or no .tar"),
        (bytes(10240), "holds nothing"),
        (tar(files={}), "holds nothing"),
        (tar()[:-1], "damaged, cut short"),
        (tar()[:50_000], "damaged, cut short"),
        (tar(mode="w")[:60_000], "damaged, cut short"),
        (tar(mode="w")[: 512 * 41], "damaged, cut short"),
        (tar() + b"what a proxy appended", "damaged, cut short"),
    ],
    # gzip writes the time, so ids of bytes would differ between processes
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_incomplete_archive_is_refused_in_one_line(archive, cache, refusal, content, reason):
    path = archive(content)
    line = refusal(archives.unpack_archive, path)
    assert reason in line
    assert str(path) in line
    assert tree(cache) == {}


def test_a_tar_that_ends_between_two_members_is_incomplete(archive, refusal):
    """tarfile itself takes such an end, or a damaged header, for the end of the archive."""
    content = tar(files={"a.mp3": bytes(512), "b.mp3": bytes(512)}, mode="w")
    assert "cut short" in refusal(archives.unpack_archive, archive(content[:1024], "cv.tar"))
    assert "cut short" in refusal(archives.unpack_archive, archive(content[:1024] + b"x" + content[1025:], "cv.tar"))


def test_a_missing_file_and_a_folder_are_refused(tmp_path, cache, refusal):
    assert "No such file" in refusal(archives.unpack_archive, tmp_path / "none.tar.gz")
    assert "is no file" in refusal(archives.unpack_archive, tmp_path)
    assert not cache.exists()


def test_a_cache_that_cannot_be_written_is_refused(archive, cache, refusal):
    cache.parent.mkdir()
    cache.write_bytes(b"")
    assert "cannot be unpacked" in refusal(archives.unpack_archive, archive(tar()))


Usage = namedtuple("Usage", "total used free")


def test_a_disk_without_space_is_reported_before_and_during_unpacking(archive, cache, refusal, monkeypatch):
    path = archive(tar(files={"a": bytes(100), "b": bytes(10_000)}))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, 50))
    assert f"{path} needs 0.00 GB" in refusal(archives.unpack_archive, path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, 5000))
    assert "its member 'b' needs 0.00 GB" in refusal(archives.unpack_archive, path)
    assert tree(cache) == {}


def test_a_disk_that_fills_during_unpacking_leaves_nothing(archive, cache, refusal, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tarfile.TarFile, "makefile", full)
    assert refusal(archives.unpack_archive, archive(tar())).endswith("cannot be unpacked: No space left on device")
    assert tree(cache) == {}


def start_unpacking(path):
    """Unpack the archive in another process."""
    # A shell's background jobs and their children ignore SIGINT.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code += f"from pathlib import Path; from asr.corpus import archives; archives.unpack_archive(Path({str(path)!r}))"
    return subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(FLOWS)}, stdout=subprocess.PIPE, text=True
    )


@pytest.fixture
def large_archive(archive):
    """An archive that takes some seconds to unpack."""
    return archive(
        tar(files={f"{TOP}/clips/{at}.mp3": random_bytes(3000) for at in range(CLIP_COUNT)}, mode="w"), "cv.tar"
    )


def wait_for_clips(cache):
    for _ in range(2000):
        if any(cache.glob(".*.partial/**/*.mp3")):
            return
        time.sleep(0.005)
    raise AssertionError("nothing was unpacked in ten seconds")


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_unpacking_is_not_mistaken_for_a_complete_one(large_archive, cache, signal_number):
    process = start_unpacking(large_archive)
    wait_for_clips(cache)
    process.send_signal(signal_number)
    process.communicate()
    assert process.returncode != 0
    assert not [path for path in cache.iterdir() if not path.name.startswith(".")]
    assert any(cache.glob("*.partial")) == (signal_number == signal.SIGKILL)
    assert len(tree(archives.unpack_archive(large_archive))) == CLIP_COUNT
    assert not any(cache.glob("*.partial"))


def test_two_processes_at_once_unpack_once(large_archive, cache):
    first = start_unpacking(large_archive)
    wait_for_clips(cache)
    second = start_unpacking(large_archive)
    assert "waiting for another run" not in first.communicate()[0]
    assert [line.split()[0] for line in second.communicate()[0].splitlines()] == ["waiting", "already"]
    assert (first.returncode, second.returncode) == (0, 0)
    assert [len(tree(path)) for path in cache.iterdir() if path.is_dir()] == [CLIP_COUNT]


SMALL = {f"{TOP}/train.tsv": b"path\tsentence\n1.mp3\tHej.\n", f"{TOP}/clips/1.mp3": random_bytes(900)}
COMPLETE = {mode: tar(files=SMALL, mode=mode) for mode in ("w", "w:gz", "w:bz2", "w:xz")}


def unpack_content(content):
    """The unpacked files, or None if the archive was refused. No other file may remain."""
    with tempfile.TemporaryDirectory() as folder:
        path, cache = Path(folder, "cv.tar"), Path(folder, "cache")
        path.write_bytes(content)
        try:
            unpacked = tree(archives.unpack_archive(path, cache))
        except InputError as error:
            assert "\n" not in str(error)
            assert not cache.exists() or not tree(cache)
            return None
        assert set(os.listdir(folder)) == {"cv.tar", "cache"}
        return unpacked


damage = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), max_size=4)


@settings(max_examples=200)
@given(st.sampled_from(["w:gz", "w:bz2", "w:xz"]), damage, st.just(1) | st.floats(0, 1))
def test_a_changed_compressed_archive_is_refused_or_complete(mode, changes, kept_share):
    content = bytearray(COMPLETE[mode])
    for position, mask in changes:
        content[int(position * len(content))] ^= mask
    cut = content[: round(kept_share * len(content))]
    assert unpack_content(bytes(cut)) in (None, SMALL)


@settings(max_examples=200)
@given(damage, st.integers(0, len(COMPLETE["w"]) // 512))
def test_a_changed_plain_archive_is_refused_or_unpacked(changes, kept_blocks):
    content = bytearray(COMPLETE["w"])
    for position, mask in changes:
        content[int(position * 4096)] ^= mask
    unpack_content(bytes(content[: kept_blocks * 512]))


def with_checksum(block):
    """The header with a correct checksum, whatever else is in it."""
    block = block[:148] + b" " * 8 + block[156:]
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


forged = st.builds(
    lambda start, changes, type: with_checksum(
        bytes(start[:156] + type + start[157:])
        if not changes
        else bytes(changes.get(at, byte) for at, byte in enumerate(start[:156] + type + start[157:]))
    ),
    st.sampled_from([header(), header(size=700), header(name="a/b", format=tarfile.USTAR_FORMAT)]),
    st.dictionaries(st.integers(0, 511), st.integers(0, 255), max_size=6),
    st.sampled_from([bytes([kind]) for kind in b"01234567LKSxgXDMV\0A"]),
)


@settings(max_examples=200)
@given(st.lists(st.one_of(forged, st.binary(max_size=40).map(lambda block: block.ljust(512, b"\0"))), max_size=6))
def test_a_forged_archive_is_refused_or_unpacked(blocks):
    unpack_content(raw(*blocks))


@pytest.fixture
def collective(archive, monkeypatch):
    """The Collective with one release, and the environment of a user who has its key."""
    with Collective({"cv-22-sv": archive(tar())}) as server:
        for name, value in server.env().items():
            monkeypatch.setenv(name, value)
        yield server


def test_a_release_is_fetched_and_unpacked_end_to_end(collective, cache, tmp_path):
    path = download_archive("cv-22-sv")
    assert path.read_bytes() == collective.archives["cv-22-sv"].read_bytes()
    assert tree(archives.unpack_archive(path)) == RELEASE
    assert {name.split("/")[0] for name in tree(tmp_path)} == {"cache", "downloads"}
    assert tree(cache / "fetched") == {f"cv-22-sv/{path.name}": path.read_bytes()}


def test_a_downloaded_archive_is_not_requested_again(collective, monkeypatch, capsys):
    path = download_archive("cv-22-sv")
    requests = list(collective.requests)
    monkeypatch.delenv("MDC_API_KEY")
    assert download_archive("cv-22-sv") == path
    assert collective.requests == requests
    assert "already there" in capsys.readouterr().out


def test_a_removed_archive_is_reported(collective, refusal):
    download_archive("cv-22-sv").unlink()
    assert "is empty; remove it to fetch cv-22-sv again" in refusal(download_archive, "cv-22-sv")


def test_the_key_may_be_in_a_file_as_the_client_documents(collective, tmp_path):
    (tmp_path / ".env").write_text("MDC_API_KEY=right-key\n")
    env = {name: value for name, value in os.environ.items() if name != "MDC_API_KEY"}
    code = "from asr.corpus import data_collective; data_collective.download_archive('cv-22-sv')"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env={**env, "PYTHONPATH": str(FLOWS)}, check=True)
    assert download_archive("cv-22-sv").exists()


def test_an_interrupted_download_is_resumed(collective, refusal):
    collective.breaks_at = [70_000, 140_000]
    assert "was interrupted at 64.0 KB of" in refusal(download_archive, "cv-22-sv")
    assert "run again to resume" in refusal(download_archive, "cv-22-sv")
    path = download_archive("cv-22-sv")
    assert collective.ranges == [None, "bytes=65536-", "bytes=131072-"]
    assert tree(archives.unpack_archive(path)) == RELEASE
    assert os.listdir(path.parent) == [path.name]


def test_a_new_release_during_a_download_is_downloaded_from_the_start(collective, archive, refusal):
    collective.breaks_at = [70_000]
    refusal(download_archive, "cv-22-sv")
    collective.archives["cv-22-sv"] = archive(tar(files={"new.tsv": random_bytes(50_000)}), "cv-23.tar.gz")
    path = download_archive("cv-22-sv")
    assert path.read_bytes() == collective.archives["cv-22-sv"].read_bytes()
    assert os.listdir(path.parent) == [path.name]


def test_a_download_killed_before_its_rename_is_fetched_again(collective, cache, refusal):
    """The client would request the bytes past the end again and again."""
    collective.breaks_at = [70_000]
    refusal(download_archive, "cv-22-sv")
    archive = collective.archives["cv-22-sv"]
    part = next(cache.glob("fetched/.cv-22-sv.partial/*.part"))
    part.write_bytes(archive.read_bytes())
    assert download_archive("cv-22-sv").read_bytes() == archive.read_bytes()


@pytest.mark.parametrize("wrong", [{"checksum": "0" * 64}, {"sizeBytes": 10**5 + 1}])
def test_a_download_that_differs_from_its_description_is_removed(collective, cache, refusal, wrong):
    collective.details = wrong
    assert "did not arrive as announced" in refusal(download_archive, "cv-22-sv")
    assert tree(cache) == {}
    collective.details = {}
    assert download_archive("cv-22-sv").exists()


@pytest.mark.parametrize("key", [None, "", " ", "two words", "right-key\n", "nyckelö"])
def test_a_missing_or_invalid_key_is_reported_with_its_variable_and_page(collective, cache, refusal, monkeypatch, key):
    monkeypatch.delenv("MDC_API_KEY") if key is None else monkeypatch.setenv("MDC_API_KEY", key)
    line = refusal(download_archive, "cv-22-sv")
    assert "MDC_API_KEY" in line
    assert "https://mozilladatacollective.com" in line
    assert "right-key" not in line
    assert collective.requests == []
    assert tree(cache) == {}


@pytest.mark.parametrize("id", ["", "..", "../up", "/etc/passwd", ".hidden", "a/b", "a?b", "å", "a" * 101])
def test_an_invalid_id_is_not_requested(collective, cache, refusal, id):
    assert "is no id or slug" in refusal(download_archive, id)
    assert not cache.exists()
    assert collective.requests == []


@pytest.mark.parametrize("kind", ["terms", "paid", "busy", "ill"])
def test_the_servers_message_is_shown_but_never_the_key(collective, cache, refusal, kind):
    collective.refusal = kind
    line = refusal(download_archive, "cv-22-sv")
    messages = {
        "terms": "Agree to the",
        "paid": "has to be bought",
        "busy": "try again later",
        "ill": "Something broke",
    }
    assert messages[kind] in line
    assert "right-key" not in line
    assert tree(cache) == {}


def test_a_wrong_key_is_reported_and_not_shown(collective, cache, refusal, monkeypatch):
    monkeypatch.setenv("MDC_API_KEY", "wrong-key")
    line = refusal(download_archive, "cv-22-sv")
    assert "the key in MDC_API_KEY is wrong, expired or revoked" in line
    assert "wrong-key" not in line
    assert tree(cache) == {}


def test_an_unknown_and_a_withdrawn_release_have_different_messages(collective, cache, refusal):
    assert "no such id" in refusal(download_archive, "cv-99-xx")
    collective.withdrawn = {"cv-22-sv"}
    assert "withdrawn" in refusal(download_archive, "cv-22-sv")
    assert tree(cache) == {}


@pytest.mark.parametrize("filename", ["../up.tar.gz", "/tmp/whisper-flow-was-here", "a/b", "", "..", "a\nb", None])
def test_the_collective_does_not_choose_where_its_archive_is_written(collective, tmp_path, refusal, filename):
    before = tree(tmp_path)
    collective.details = {"filename": filename}
    assert "its archive is called" in refusal(download_archive, "cv-22-sv")
    assert tree(tmp_path) == before


@pytest.mark.parametrize("session", [{}, [], "x", {"downloadUrl": "http://127.0.0.1:1/?" + SIGNED}, {"sizeBytes": 5}])
def test_a_malformed_answer_is_reported_in_one_line_without_the_signed_address(collective, refusal, session):
    collective.session = session
    line = refusal(download_archive, "cv-22-sv")
    assert "makes no sense" in line
    assert SIGNED not in line


def test_an_expired_address_is_not_shown(collective, refusal):
    address = f"{collective.url}/nothing?{SIGNED}"
    collective.session = {**collective.dataset_details("cv-22-sv"), "downloadUrl": address}
    line = refusal(download_archive, "cv-22-sv")
    assert "was interrupted at 0.0 B" in line
    assert SIGNED not in line


def test_without_a_network_the_unreachable_server_is_named(cache, collective, refusal, monkeypatch):
    monkeypatch.setenv("MDC_API_URL", "http://127.0.0.1:9/api")
    assert "no connection to http://127.0.0.1:9/api" in refusal(download_archive, "cv-22-sv")
    assert tree(cache) == {}


def test_a_disk_too_small_for_the_download_is_reported_before_it_starts(collective, cache, refusal, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, 50))
    assert "cv-22-sv needs 0.00 GB" in refusal(download_archive, "cv-22-sv")
    assert not any("download" in request for request in collective.requests)
    assert tree(cache) == {}


def fail_download(monkeypatch, error):
    """Raise the error at the archive's first bytes. The API's answers are read in smaller chunks than archives."""
    import requests

    read = requests.Response.iter_content

    def broken(response, chunk_size=1, decode_unicode=False):
        if chunk_size == 1 << 16:
            raise error
        return read(response, chunk_size, decode_unicode)

    monkeypatch.setattr(requests.Response, "iter_content", broken)


def test_a_disk_that_fills_during_the_download_is_reported(collective, refusal, monkeypatch):
    fail_download(monkeypatch, OSError(28, "No space left on device"))
    assert "(No space left on device); run again" in refusal(download_archive, "cv-22-sv")


def test_an_interrupt_is_not_swallowed(collective, monkeypatch):
    """The client turns it into an error."""
    fail_download(monkeypatch, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        download_archive("cv-22-sv")


def test_download_progress_is_reported(collective, archive, monkeypatch, capsys):
    monkeypatch.setattr(archives, "PROGRESS_SECONDS", 0.001)
    collective.archives["cv-22-sv"] = archive(random_bytes(20_000_000))
    download_archive("cv-22-sv")
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("fetching cv-corpus-22.0")]
    assert any(0 < int(line.split()[2]) < 100 for line in lines)
