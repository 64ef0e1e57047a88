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
SOUND = random.Random(22).randbytes
MANY = 5000  # clips
RELEASE = {
    f"{TOP}/train.tsv": b"client_id\tpath\tsentence\nx\tcommon_voice_sv-SE_1.mp3\tHej.\n",
    f"{TOP}/dev.tsv": b"client_id\tpath\tsentence\n",
    **{f"{TOP}/clips/common_voice_sv-SE_{at}.mp3": SOUND(30_000 + at) for at in range(5)},
}


def odd(name=f"{TOP}/clips/odd.mp3", type=tarfile.REGTYPE, size=0, **more):
    """A header that needs no content."""
    member = tarfile.TarInfo(name)
    member.type, member.size = type, size
    for field, value in more.items():
        setattr(member, field, value)
    return member


def tar(*extra, files=RELEASE, mode="w:gz", format=tarfile.PAX_FORMAT):
    """The bytes of an archive: the extra members first, each with as many zeros as it promises."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=mode, format=format) as archive:
        for member in extra:
            archive.addfile(member, io.BytesIO(bytes(max(member.size, 0))) if member.isreg() else None)
        for name, content in files.items():
            archive.addfile(odd(name, size=len(content)), io.BytesIO(content))
    return made.getvalue()


def raw(*headers, end=bytes(1024)):
    """An archive of headers as they are, with what follows each."""
    return b"".join(headers) + end


def header(format=tarfile.GNU_FORMAT, **fields):
    return odd(**fields).tobuf(format)


def tree(folder):
    """Every file below a folder with its content, and every empty folder; locks are no content."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
        if (path.is_file() and path.suffix != ".lock") or (path.is_dir() and not any(path.iterdir()))
    }


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The cache of a user who has nothing else and may write nowhere else."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("MDC_API_KEY", "MDC_API_URL", "MDC_DOWNLOAD_PATH", "MDC_LOG_PATH"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cache" / "whisper-flow"


@pytest.fixture
def archive(tmp_path):
    """A function from bytes to the file of them."""

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


def test_it_is_unpacked_once_and_the_second_call_says_so(archive, cache, capsys):
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


def test_an_archive_may_go_to_a_cache_that_is_named(archive, tmp_path):
    folder = archives.unpack_archive(archive(tar()), tmp_path / "here")
    assert folder.parent == tmp_path / "here"


def test_the_longest_possible_file_name_is_unpacked(archive):
    assert tree(archives.unpack_archive(archive(tar(), "å" * 127))) == RELEASE


def test_progress_is_reported(archive, monkeypatch, capsys):
    monkeypatch.setattr(archives, "PROGRESS_SECONDS", 0.005)
    content = tar(files={f"clips/{at}.mp3": SOUND(10_000) for at in range(1000)}, mode="w")
    archives.unpack_archive(archive(content, "cv.tar"))
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("unpacking cv.tar")]
    shares = [int(line.split()[2]) for line in told]
    assert shares == sorted(shares)
    assert any(0 < share < 100 for share in shares)
    assert all(line.endswith(" %") for line in told)


def test_repeated_folders_and_a_leading_dot_are_accepted(archive):
    folders = [odd(name, tarfile.DIRTYPE) for name in (".", "./clips", "./clips")]
    folder = archives.unpack_archive(archive(tar(*folders, files={"./clips/a.mp3": b"a", "./train.tsv": b"b"})))
    assert tree(folder) == {"clips/a.mp3": b"a", "train.tsv": b"b"}


def test_odd_permissions_are_ignored(archive):
    members = [odd("clips", tarfile.DIRTYPE, mode=0o000), odd("clips/a.mp3", mode=0o4000, uid=12345)]
    folder = archives.unpack_archive(archive(tar(*members)))
    file = (folder / "clips/a.mp3").stat()
    assert file.st_mode & 0o7600 == 0o600
    assert file.st_uid == os.getuid()


def test_swedish_names_stay_swedish(archive):
    assert tree(archives.unpack_archive(archive(tar(files={"sv/Åsa köper ägg.mp3": b"a"})))) == {
        "sv/Åsa köper ägg.mp3": b"a"
    }


HOSTILE = {
    "up": (odd("../up.txt"), "leads out"),
    "up in the midst": (odd(f"{TOP}/../../../up.txt"), "leads out"),
    "up, a folder": (odd("../up", tarfile.DIRTYPE), "leads out"),
    "absolute": (odd("/tmp/whisper-flow-was-here"), "leads out"),
    "absolute by pax": (odd(pax_headers={"path": "/tmp/whisper-flow-was-here"}), "leads out"),
    "symbolic link": (odd(type=tarfile.SYMTYPE, linkname="/etc/passwd"), "link"),
    "symbolic link inside": (odd(type=tarfile.SYMTYPE, linkname="common_voice_sv-SE_1.mp3"), "link"),
    "hard link": (odd(type=tarfile.LNKTYPE, linkname=f"{TOP}/train.tsv"), "link"),
    "pipe": (odd(type=tarfile.FIFOTYPE), "neither a file nor a folder"),
    "device": (odd(type=tarfile.CHRTYPE, devmajor=1, devminor=3), "neither a file nor a folder"),
    "disk": (odd(type=tarfile.BLKTYPE, devmajor=8, devminor=0), "neither a file nor a folder"),
    "unheard of": (odd(type=b"Q"), "neither a file nor a folder"),
    "sparse": (odd(pax_headers={"GNU.sparse.map": "0,0", "GNU.sparse.size": str(10**12)}), "sparse"),
    "null": (odd(pax_headers={"path": "a\0b"}), "unprintable letters"),
    "new line": (odd("a\nb"), "unprintable letters"),
    "colours": (odd("\033[2Jb"), "unprintable letters"),
    "right to left": (odd("a\u202e3pm.exe"), "unprintable letters"),
    "no text": (odd(b"\xff\xfe".decode("utf-8", "surrogateescape")), "unprintable letters"),
    "backslash": (odd("..\\up.txt"), "unprintable letters"),
    "long": (odd("a" * 300), "too long a name"),
    "deep": (odd("a/" * 120 + "a"), "too long a name"),
    "nameless": (odd(""), "leads out"),
    "a negative size": (odd(pax_headers={"size": "-512"}), "negative size"),
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_member_that_no_release_has_refuses_the_archive_by_name(archive, cache, tmp_path, refusal, kind, mode):
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
        line = refusal(archives.unpack_archive, archive(tar(odd(first), files={second: b"x"})))
        assert "comes twice" in line or "directory" in line.lower()
        assert tree(cache) == {}


def swollen(members, size):
    """A few kilobytes that promise, and hold, so many members of so many zeros."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz", compresslevel=1) as packed:
        for at in range(members):
            packed.addfile(odd(f"clips/{at}.mp3", size=size), io.BytesIO(bytes(size)))
    return made.getvalue()


def test_a_compression_bomb_is_refused(archive, cache, refusal):
    path = archive(swollen(3, 50_000_000))
    line = refusal(archives.unpack_archive, path)
    assert str(path) in line
    assert "'clips/1.mp3' is more than a speech corpus" in line
    assert tree(cache) == {}


def test_a_small_archive_of_text_may_shrink_well(archive):
    content = b"client_id\tpath\tsentence\n" * 400_000
    assert tree(archives.unpack_archive(archive(tar(files={"train.tsv": content})))) == {"train.tsv": content}


def test_a_bomb_of_nothing_but_names_is_refused(archive, cache, refusal, monkeypatch):
    monkeypatch.setattr(archives, "MAX_MEMBERS", 10)
    assert "'clips/10.mp3' is more than" in refusal(archives.unpack_archive, archive(swollen(11, 0)))
    assert tree(cache) == {}


@pytest.mark.parametrize("size", [10**11, 2**80])
def test_a_member_that_claims_to_be_a_giant_is_refused_at_its_header(archive, cache, refusal, size):
    assert "is more than a speech corpus" in refusal(archives.unpack_archive, archive(raw(header(size=size)), "cv.tar"))
    assert tree(cache) == {}


@pytest.mark.parametrize("type", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
@pytest.mark.parametrize("size", [10**6, 2**40])
def test_a_header_that_would_fill_the_memory_is_refused(archive, cache, refusal, type, size):
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
    content = "".join(record(*one) for one in records).encode()
    return header(type=type, size=len(content)) + content + bytes(-len(content) % 512)


TANGLED = {
    "headers of headers": [pax(("comment", "x"))] * 100,
    "thousands of headers of headers": [pax()] * 5000,
    "a map without an end": [pax(("GNU.sparse.major", 1), ("GNU.sparse.minor", 0)), header(), b"99999999\n"],
    "a map of no numbers": [pax(("GNU.sparse.map", "x,y")), header()],
    "a map cut short": [pax(("GNU.sparse.map", "1")), header()],
    "an old map cut short": [header(type=tarfile.GNUTYPE_SPARSE)[:482] + b"\1" + bytes(29)],
    "only headers": [pax(("path", "a")), pax(("path", "b"), type=tarfile.XGLTYPE)],
    "digits": [*[header(type=tarfile.XHDTYPE, size=20_480), b"1" * 20_480, header()] * 2],
}


@pytest.mark.parametrize("kind", TANGLED)
def test_headers_that_would_keep_the_reader_busy_are_refused_soon(archive, cache, refusal, kind):
    begun = time.monotonic()
    refusal(archives.unpack_archive, archive(raw(*TANGLED[kind]), "cv.tar"))
    assert time.monotonic() - begun < 5
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
    ids=lambda value: value if isinstance(value, str) else "",  # gzip writes the time, which no two processes share
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


def test_no_file_and_a_folder_are_refused(tmp_path, cache, refusal):
    assert "No such file" in refusal(archives.unpack_archive, tmp_path / "none.tar.gz")
    assert "is no file" in refusal(archives.unpack_archive, tmp_path)
    assert not cache.exists()


def test_an_impossible_cache_is_refused(archive, cache, refusal):
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


def test_a_disk_that_is_full_all_at_once_leaves_nothing(archive, cache, refusal, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tarfile.TarFile, "makefile", full)
    assert refusal(archives.unpack_archive, archive(tar())).endswith("cannot be unpacked: No space left on device")
    assert tree(cache) == {}


def start(path):
    """Another process that unpacks."""
    # A shell's background job has SIGINT ignored, and so have its children.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code += f"from pathlib import Path; from asr.corpus import archives; archives.unpack_archive(Path({str(path)!r}))"
    return subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(FLOWS)}, stdout=subprocess.PIPE, text=True
    )


@pytest.fixture
def large(archive):
    """Some seconds of work."""
    return archive(tar(files={f"{TOP}/clips/{at}.mp3": SOUND(3000) for at in range(MANY)}, mode="w"), "cv.tar")


def wait_for_clips(cache):
    for _ in range(2000):
        if any(cache.glob(".*.partial/**/*.mp3")):
            return
        time.sleep(0.005)
    raise AssertionError("nothing was unpacked in ten seconds")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_unpacking_is_not_mistaken_for_a_complete_one(large, cache, how):
    process = start(large)
    wait_for_clips(cache)
    process.send_signal(how)
    process.communicate()
    assert process.returncode != 0
    assert not [path for path in cache.iterdir() if not path.name.startswith(".")]
    assert any(cache.glob("*.partial")) == (how == signal.SIGKILL)
    assert len(tree(archives.unpack_archive(large))) == MANY
    assert not any(cache.glob("*.partial"))


def test_two_processes_at_once_unpack_once(large, cache):
    first = start(large)
    wait_for_clips(cache)
    second = start(large)
    assert "waiting for another run" not in first.communicate()[0]
    assert [line.split()[0] for line in second.communicate()[0].splitlines()] == ["waiting", "already"]
    assert (first.returncode, second.returncode) == (0, 0)
    assert [len(tree(path)) for path in cache.iterdir() if path.is_dir()] == [MANY]


SMALL = {f"{TOP}/train.tsv": b"path\tsentence\n1.mp3\tHej.\n", f"{TOP}/clips/1.mp3": SOUND(900)}
WHOLE = {mode: tar(files=SMALL, mode=mode) for mode in ("w", "w:gz", "w:bz2", "w:xz")}


def attempt(content):
    """The tree of what was unpacked; None where it was refused. Nothing else may come of it."""
    with tempfile.TemporaryDirectory() as folder:
        path, cache = Path(folder, "cv.tar"), Path(folder, "cache")
        path.write_bytes(content)
        try:
            found = tree(archives.unpack_archive(path, cache))
        except InputError as refused:
            assert "\n" not in str(refused)
            assert not cache.exists() or not tree(cache)
            return None
        assert set(os.listdir(folder)) == {"cv.tar", "cache"}
        return found


damage = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), max_size=4)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["w:gz", "w:bz2", "w:xz"]), damage, st.just(1) | st.floats(0, 1))
def test_a_changed_compressed_archive_is_refused_or_complete(mode, changes, kept):
    content = bytearray(WHOLE[mode])
    for place, by in changes:
        content[int(place * len(content))] ^= by
    cut = content[: round(kept * len(content))]
    assert attempt(bytes(cut)) in (None, SMALL)


@settings(max_examples=200, deadline=None)
@given(damage, st.integers(0, len(WHOLE["w"]) // 512))
def test_a_changed_plain_archive_is_refused_or_unpacked(changes, kept):
    content = bytearray(WHOLE["w"])
    for place, by in changes:
        content[int(place * 4096)] ^= by
    attempt(bytes(content[: kept * 512]))


def summed(block):
    """A header whose checksum is right, whatever is in it: what a forger would send."""
    block = block[:148] + b" " * 8 + block[156:]
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


forged = st.builds(
    lambda start, changes, type: summed(
        bytes(start[:156] + type + start[157:])
        if not changes
        else bytes(changes.get(at, byte) for at, byte in enumerate(start[:156] + type + start[157:]))
    ),
    st.sampled_from([header(), header(size=700), header(name="a/b", format=tarfile.USTAR_FORMAT)]),
    st.dictionaries(st.integers(0, 511), st.integers(0, 255), max_size=6),
    st.sampled_from([bytes([kind]) for kind in b"01234567LKSxgXDMV\0A"]),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(forged, st.binary(max_size=40).map(lambda said: said.ljust(512, b"\0"))), max_size=6))
def test_a_forged_archive_is_refused_or_unpacked(blocks):
    attempt(raw(*blocks))


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
    asked = list(collective.requests)
    monkeypatch.delenv("MDC_API_KEY")
    assert download_archive("cv-22-sv") == path
    assert collective.requests == asked
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
    collective.archives["cv-22-sv"] = archive(tar(files={"new.tsv": SOUND(50_000)}), "cv-23.tar.gz")
    path = download_archive("cv-22-sv")
    assert path.read_bytes() == collective.archives["cv-22-sv"].read_bytes()
    assert os.listdir(path.parent) == [path.name]


def test_a_run_killed_between_the_last_byte_and_the_name_fetches_again(collective, cache, refusal):
    """The client asks for the bytes past the end then, and for ever."""
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
def test_without_a_key_the_line_names_the_variable_and_the_page_of_keys(collective, cache, refusal, monkeypatch, key):
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


@pytest.mark.parametrize("refused", ["terms", "paid", "busy", "ill"])
def test_the_servers_message_is_shown_but_never_the_key(collective, cache, refusal, refused):
    collective.refusal = refused
    line = refusal(download_archive, "cv-22-sv")
    said = {"terms": "Agree to the", "paid": "has to be bought", "busy": "try again later", "ill": "Something broke"}
    assert said[refused] in line
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
def test_an_answer_that_makes_no_sense_is_one_line_without_the_signed_address(collective, refusal, session):
    collective.session = session
    line = refusal(download_archive, "cv-22-sv")
    assert "makes no sense" in line
    assert SIGNED not in line


def test_an_address_that_has_expired_is_not_shown(collective, refusal):
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
    assert not any("download" in asked for asked in collective.requests)
    assert tree(cache) == {}


def while_it_downloads(monkeypatch, error):
    """The error comes with the archive's first bytes; answers are read in smaller pieces than archives."""
    import requests

    read = requests.Response.iter_content

    def broken(response, chunk_size=1, decode_unicode=False):
        if chunk_size == 1 << 16:
            raise error
        return read(response, chunk_size, decode_unicode)

    monkeypatch.setattr(requests.Response, "iter_content", broken)


def test_a_disk_that_fills_during_the_download_is_reported(collective, refusal, monkeypatch):
    while_it_downloads(monkeypatch, OSError(28, "No space left on device"))
    assert "(No space left on device); run again" in refusal(download_archive, "cv-22-sv")


def test_an_interrupt_is_not_swallowed(collective, monkeypatch):
    """The client makes an error of it."""
    while_it_downloads(monkeypatch, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        download_archive("cv-22-sv")


def test_download_progress_is_reported(collective, archive, monkeypatch, capsys):
    monkeypatch.setattr(archives, "PROGRESS_SECONDS", 0.001)
    collective.archives["cv-22-sv"] = archive(SOUND(20_000_000))
    download_archive("cv-22-sv")
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("fetching cv-corpus-22.0")]
    assert any(0 < int(line.split()[2]) < 100 for line in told)
