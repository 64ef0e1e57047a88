"""The proxy before the bucket: it passes everything on as it is, counts it, and fails on demand."""

from __future__ import annotations

import os
from collections.abc import Iterator
from http.client import IncompleteRead

import pytest
import requests
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.cloud.storage.retry import DEFAULT_RETRY

from servers.bucket import Bucket
from servers.proxy import Passed, Proxy, Traffic

SOON = DEFAULT_RETRY.with_delay(initial=0.01, maximum=0.01)
SOUND = os.urandom(100_000)
LARGE = os.urandom(9 << 20)  # over 8 MiB an upload takes several requests


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    with Bucket(tmp_path_factory.mktemp("bucket")) as bucket:
        yield bucket


def through(proxy: Proxy, bucket: Bucket) -> storage.Bucket:
    """The bucket as a client of the proxy sees it."""
    options = {"api_endpoint": proxy.url}
    return storage.Client("tests", AnonymousCredentials(), client_options=options).bucket(bucket.name)


def test_a_client_meets_the_emulator_through_the_proxy_alone(bucket):
    with Proxy(bucket.endpoint) as proxy:
        ours = through(proxy, bucket)
        for name, content in {"a/ö 1": SOUND, "b/large": LARGE, "a/empty": b""}.items():
            ours.blob(name).upload_from_string(content)
        blob = ours.get_blob("b/large")
        assert blob.media_link.startswith(proxy.url)
        assert blob.download_as_bytes() == LARGE
        assert [one.name for one in ours.list_blobs(prefix="a/")] == ["a/empty", "a/ö 1"]
        assert ours.blob("a/ö 1").download_as_bytes() == SOUND
        assert not ours.blob("a/none").exists()
        told = proxy.traffic()
        counted = {name: {kind: one.requests for kind, one in proxy.traffic(name).items()} for name in ("a/", "b/")}
        assert counted == {
            "a/": {"write": 2, "list": 1, "read": 1, "look": 1},
            "b/": {"write": 2, "look": 1, "read": 1},
        }
        assert told["read"].down == len(LARGE) + len(SOUND)
        assert len(LARGE) + len(SOUND) < told["write"].up < len(LARGE) + len(SOUND) + 2_000
        assert proxy.traffic("a/ö")["read"] == Traffic(1, 0, len(SOUND))
        assert not proxy.traffic(until=min(one.began for one in proxy.passed))
        assert not proxy.faults
    directly = bucket.client().bucket(bucket.name).get_blob("b/large")
    assert directly.media_link.startswith(bucket.endpoint)


def test_each_fault_is_what_it_is_called(bucket):
    with Proxy(bucket.endpoint) as proxy:
        through(proxy, bucket).blob("here").upload_from_string(SOUND)
        here = f"{proxy.url}/download/storage/v1/b/{bucket.name}/o/here?alt=media"
        there = f"{proxy.url}/upload/storage/v1/b/{bucket.name}/o?uploadType=media&name="
        for status in ("503", "429"):
            proxy.inject(status, "read here")
            assert requests.get(here).status_code == int(status)
        proxy.inject("drop", "POST write gone")
        with pytest.raises(requests.ConnectionError, match="without response"):
            requests.post(there + "gone", data=SOUND)
        proxy.inject("cut")
        with pytest.raises(requests.exceptions.ChunkedEncodingError) as cut:
            requests.get(here)
        assert isinstance(cut.value.args[0].args[1], IncompleteRead)
        assert proxy.passed[-1].down == len(SOUND) // 2
        proxy.inject("lost")
        assert requests.get(here).content == SOUND  # only an upload can be taken and not told of
        with pytest.raises(requests.ConnectionError, match="without response"):
            requests.post(there + "lost", data=SOUND)
        assert proxy.faults == {"503": 1, "429": 1, "drop": 1, "cut": 1, "lost": 1}
        ours = through(proxy, bucket)
        assert [ours.blob(name).exists() for name in ("gone", "lost")] == [False, True]


def test_google_s_client_gets_through_them(bucket):
    with Proxy(bucket.endpoint) as proxy:
        ours = through(proxy, bucket)
        for fault in ("503", "drop", "lost"):
            proxy.inject(fault, "write through")  # of the request that begins the upload
            proxy.inject(fault, "PUT write through")
        ours.blob("through").upload_from_string(LARGE, retry=SOON)
        for fault in ("429", "cut", "drop", "cut"):
            proxy.inject(fault, "read through")
        assert ours.blob("through").download_as_bytes(retry=SOON) == LARGE
        assert not any(order.times for order in proxy.wanted)


def test_the_seed_decides(bucket):
    requests = [Passed("GET", "read", f"clip {at}", 0) for at in range(1_000)]
    drawn = {}
    for seed in (0, 1):
        proxy = Proxy(bucket.endpoint, faults=0.1, seed=seed)
        drawn[seed] = [proxy.fault(request) for request in requests]
        again = Proxy(bucket.endpoint, faults=0.1, seed=seed)
        assert [again.fault(request) for request in reversed(requests)] == drawn[seed][::-1]
        assert [proxy.fault(request) for request in requests] != drawn[seed]  # a second try is another draw
    assert drawn[0] != drawn[1]
    assert 60 < sum(map(bool, drawn[0])) < 140
