"""The proxy before the bucket: it forwards all requests unchanged, counts them, and fails on demand."""

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
from servers.proxy import Exchange, Proxy, Traffic

FAST_RETRY = DEFAULT_RETRY.with_delay(initial=0.01, maximum=0.01)
SMALL = os.urandom(100_000)
LARGE = os.urandom(9 << 20)  # over 8 MiB an upload takes several requests


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    with Bucket(tmp_path_factory.mktemp("bucket")) as bucket:
        yield bucket


def bucket_through(proxy: Proxy, bucket: Bucket) -> storage.Bucket:
    """The bucket of a client that uses the proxy."""
    options = {"api_endpoint": proxy.url}
    return storage.Client("tests", AnonymousCredentials(), client_options=options).bucket(bucket.name)


def test_all_requests_of_a_client_pass_the_proxy_and_are_counted(bucket):
    with Proxy(bucket.endpoint) as proxy:
        remote = bucket_through(proxy, bucket)
        for name, content in {"a/ö 1": SMALL, "b/large": LARGE, "a/empty": b""}.items():
            remote.blob(name).upload_from_string(content)
        blob = remote.get_blob("b/large")
        assert blob.media_link.startswith(proxy.url)
        assert blob.download_as_bytes() == LARGE
        assert [blob.name for blob in remote.list_blobs(prefix="a/")] == ["a/empty", "a/ö 1"]
        assert remote.blob("a/ö 1").download_as_bytes() == SMALL
        assert not remote.blob("a/none").exists()
        traffic = proxy.traffic()
        request_counts = {
            prefix: {kind: traffic.requests for kind, traffic in proxy.traffic(prefix).items()}
            for prefix in ("a/", "b/")
        }
        assert request_counts == {
            "a/": {"write": 2, "list": 1, "read": 1, "metadata": 1},
            "b/": {"write": 2, "metadata": 1, "read": 1},
        }
        assert traffic["read"].down == len(LARGE) + len(SMALL)
        assert len(LARGE) + len(SMALL) < traffic["write"].up < len(LARGE) + len(SMALL) + 2_000
        assert proxy.traffic("a/ö")["read"] == Traffic(1, 0, len(SMALL))
        assert not proxy.traffic(until=min(exchange.began for exchange in proxy.exchanges))
        assert not proxy.faults
    blob = bucket.client().bucket(bucket.name).get_blob("b/large")
    assert blob.media_link.startswith(bucket.endpoint)


def test_each_kind_of_fault_fails_as_documented(bucket):
    with Proxy(bucket.endpoint) as proxy:
        bucket_through(proxy, bucket).blob("here").upload_from_string(SMALL)
        download_url = f"{proxy.url}/download/storage/v1/b/{bucket.name}/o/here?alt=media"
        upload_url = f"{proxy.url}/upload/storage/v1/b/{bucket.name}/o?uploadType=media&name="
        for status in ("503", "429"):
            proxy.inject(status, "read here")
            assert requests.get(download_url).status_code == int(status)
        proxy.inject("drop", "POST write gone")
        with pytest.raises(requests.ConnectionError, match="without response"):
            requests.post(upload_url + "gone", data=SMALL)
        proxy.inject("cut")
        with pytest.raises(requests.exceptions.ChunkedEncodingError) as error:
            requests.get(download_url)
        assert isinstance(error.value.args[0].args[1], IncompleteRead)
        assert proxy.exchanges[-1].down == len(SMALL) // 2
        proxy.inject("lost")
        assert requests.get(download_url).content == SMALL  # "lost" is a fault of uploads only
        with pytest.raises(requests.ConnectionError, match="without response"):
            requests.post(upload_url + "lost", data=SMALL)
        assert proxy.faults == {"503": 1, "429": 1, "drop": 1, "cut": 1, "lost": 1}
        remote = bucket_through(proxy, bucket)
        assert [remote.blob(name).exists() for name in ("gone", "lost")] == [False, True]


def test_googles_client_recovers_from_every_fault(bucket):
    with Proxy(bucket.endpoint) as proxy:
        remote = bucket_through(proxy, bucket)
        for fault in ("503", "drop", "lost"):
            proxy.inject(fault, "write through")  # of the request that begins the upload
            proxy.inject(fault, "PUT write through")
        remote.blob("through").upload_from_string(LARGE, retry=FAST_RETRY)
        for fault in ("429", "cut", "drop", "cut"):
            proxy.inject(fault, "read through")
        assert remote.blob("through").download_as_bytes(retry=FAST_RETRY) == LARGE
        assert not any(order.times for order in proxy.fault_orders)


def test_the_seed_decides_which_requests_fail(bucket):
    requests = [Exchange("GET", "read", f"clip {number}", 0) for number in range(1_000)]
    faults = {}
    for seed in (0, 1):
        proxy = Proxy(bucket.endpoint, faults=0.1, seed=seed)
        faults[seed] = [proxy.fault(request) for request in requests]
        same_seed = Proxy(bucket.endpoint, faults=0.1, seed=seed)
        assert [same_seed.fault(request) for request in reversed(requests)] == faults[seed][::-1]
        assert [proxy.fault(request) for request in requests] != faults[seed]  # a retry is drawn anew
    assert faults[0] != faults[1]
    assert 60 < sum(map(bool, faults[0])) < 140
