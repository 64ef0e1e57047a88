"""What a run leans on elsewhere fails, as it begins or in its middle: one line says what, and how to go on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.api_core.exceptions import Conflict, NotFound
from servers.bucket import Bucket
from servers.metadata import Metadata

SMALL = """
[corpus]
limit_clips = 2
[model]
width = 32
heads = 2
encoder_layers = 1
vocabulary = 300
"""
MOMENTS = ["start", "middle"]


class Tokens(BaseHTTPRequestHandler):
    """Grants a token for each that is asked for, until it is told to grant no more."""

    granted = threading.Event()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        granted = {"access_token": "x", "expires_in": 3600, "token_type": "Bearer"}
        refused = {"error": "invalid_grant", "error_description": "Token has been expired or revoked."}
        self.send_response(200 if self.granted.is_set() else 400)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(granted if self.granted.is_set() else refused).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def key(tmp_path_factory) -> Iterator[Path]:
    """The file of a service account's key, whose tokens `Tokens` grants."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Tokens) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        made = rsa.generate_private_key(65537, 2048).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file = tmp_path_factory.mktemp("key") / "key.json"
        told = {"type": "service_account", "client_email": "a@b", "private_key_id": "1", "private_key": made.decode()}
        told |= {"project_id": "tests", "token_uri": f"http://127.0.0.1:{server.server_port}/token"}
        file.write_text(json.dumps(told), encoding="utf-8")
        yield file
        server.shutdown()


@pytest.fixture
def said(flow_file, tmp_path) -> Callable[..., str]:
    """A function to all that a run says that fails: at once, or by what is done once its parts are at work."""

    def run(env: dict[str, str], moment: str, fail: Callable[[], None]) -> str:
        (tmp_path / "small.toml").write_text(SMALL, encoding="utf-8")
        command = [sys.executable, str(flow_file), "--config", "profile", "small.toml", "run"]
        if moment == "start":
            fail()
        ran = subprocess.Popen(
            command,
            cwd=tmp_path,
            env={**os.environ, **env},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert ran.stdout
        lines = []
        for line in ran.stdout:
            lines.append(line)
            if moment == "middle" and "/preprocess/" in line and "starting" in line:
                moment = "over"
                fail()
        told = "".join(lines)
        assert ran.wait(timeout=60) != 0, told
        assert "Traceback" not in told, told
        return told

    return run


@pytest.fixture
def bucket(tmp_path) -> Iterator[Bucket]:
    with Bucket(tmp_path, "artifacts") as made:
        yield made


def remove(bucket: Bucket) -> None:
    there = bucket.client().bucket(bucket.name)
    while there.exists():
        with suppress(Conflict, NotFound):  # somebody writes or deletes at the same time
            there.delete(force=True)


def kept_in(bucket: Bucket) -> dict[str, str]:
    root = {"METAFLOW_DATASTORE_SYSROOT_GS": f"{bucket.url}/metaflow", "METAFLOW_DEFAULT_DATASTORE": "gs"}
    return {**bucket.settings, **root}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_bucket_that_is_gone_is_named(said, bucket, moment):
    told = said(kept_in(bucket), moment, partial(remove, bucket))
    assert "there is no bucket gs://artifacts" in told
    assert "resume --origin-run-id" in told


@pytest.mark.parametrize("moment", MOMENTS)
def test_credentials_that_expire_are_told_from_all_else(said, bucket, key, moment):
    Tokens.granted.set()
    env = {**kept_in(bucket), "GOOGLE_APPLICATION_CREDENTIALS": str(key)}
    told = said(env, moment, Tokens.granted.clear)
    assert "Google does not accept the credentials (any more): invalid_grant: Token has been expired or revoked" in told
    assert "gcloud auth application-default login" in told


def test_credentials_that_are_nowhere_are_asked_for(said, bucket):
    told = said({**kept_in(bucket), "GOOGLE_APPLICATION_CREDENTIALS": "/nowhere.json"}, "start", lambda: None)
    assert "no credentials for Google: File /nowhere.json was not found; log in by" in told


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_metadata_service_that_is_down_is_named(said, moment):
    with Metadata() as service:
        env = {**service.settings, "METAFLOW_SERVICE_RETRY_COUNT": "2"}
        told = said(env, moment, service.stop)
    assert f"the metadata service {env['METAFLOW_SERVICE_URL']}, METAFLOW_SERVICE_URL, cannot be reached" in told
    assert "Connection refused" in told


def test_a_metadata_service_that_refuses_says_why(said):
    with Metadata() as service:
        service.faults["POST /flows"] = 403
        told = said(service.settings, "start", lambda: None)
    assert f"the metadata service {service.settings['METAFLOW_SERVICE_URL']}: Metadata request" in told
    assert "403" in told


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("--branch Nightly/1 check", "The branch name must contain only lowercase alphanumeric characters"),
        ("kubernetes list --run-id 1", "no cluster: Invalid kube-config file"),
        ("argo-workflows delete", "no cluster: Invalid kube-config file"),
        ("batch list", "AWS: You must specify a region"),
        ("--datastore gs run", "did you correctly set the METAFLOW_DATASTORE_SYSROOT_GS"),
    ],
)
def test_what_is_not_configured_is_named_in_one_line(flow, tmp_path, command, line):
    ended = flow(*command.split(), cwd=tmp_path, HOME=str(tmp_path), KUBECONFIG="")
    assert ended.returncode == 1
    assert line in ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr
