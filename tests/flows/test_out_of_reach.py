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
    """Grants every token that is requested, until `granted` is cleared."""

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
        private_key = rsa.generate_private_key(65537, 2048).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file = tmp_path_factory.mktemp("key") / "key.json"
        account = {
            "type": "service_account",
            "client_email": "a@b",
            "private_key_id": "1",
            "private_key": private_key.decode(),
        }
        account |= {"project_id": "tests", "token_uri": f"http://127.0.0.1:{server.server_port}/token"}
        file.write_text(json.dumps(account), encoding="utf-8")
        yield file
        server.shutdown()


@pytest.fixture
def failing_run(flow_file, tmp_path) -> Callable[..., str]:
    """A function that gives the output of a run that fails, at once or through what is done once its tasks run."""

    def run(env: dict[str, str], moment: str, fail: Callable[[], None]) -> str:
        (tmp_path / "small.toml").write_text(SMALL, encoding="utf-8")
        command = [sys.executable, str(flow_file), "--config", "profile", "small.toml", "run"]
        if moment == "start":
            fail()
        process = subprocess.Popen(
            command,
            cwd=tmp_path,
            env={**os.environ, **env},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert process.stdout
        lines = []
        for line in process.stdout:
            lines.append(line)
            if moment == "middle" and "/preprocess/" in line and "starting" in line:
                moment = "over"
                fail()
        output = "".join(lines)
        assert process.wait(timeout=60) != 0, output
        assert "Traceback" not in output, output
        return output

    return run


@pytest.fixture
def bucket(tmp_path) -> Iterator[Bucket]:
    with Bucket(tmp_path, "artifacts") as bucket:
        yield bucket


def remove(bucket: Bucket) -> None:
    remote = bucket.client().bucket(bucket.name)
    while remote.exists():
        with suppress(Conflict, NotFound):  # somebody writes or deletes at the same time
            remote.delete(force=True)


def environment_of(bucket: Bucket) -> dict[str, str]:
    root = {"METAFLOW_DATASTORE_SYSROOT_GS": f"{bucket.url}/metaflow", "METAFLOW_DEFAULT_DATASTORE": "gs"}
    return {**bucket.settings, **root}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_deleted_bucket_is_named(failing_run, bucket, moment):
    output = failing_run(environment_of(bucket), moment, partial(remove, bucket))
    assert "there is no bucket gs://artifacts" in output
    assert "resume --origin-run-id" in output


@pytest.mark.parametrize("moment", MOMENTS)
def test_expired_credentials_are_reported(failing_run, bucket, key, moment):
    Tokens.granted.set()
    env = {**environment_of(bucket), "GOOGLE_APPLICATION_CREDENTIALS": str(key)}
    output = failing_run(env, moment, Tokens.granted.clear)
    assert (
        "Google does not accept the credentials (any more): invalid_grant: Token has been expired or revoked" in output
    )
    assert "gcloud auth application-default login" in output


def test_missing_credentials_are_reported(failing_run, bucket):
    output = failing_run(
        {**environment_of(bucket), "GOOGLE_APPLICATION_CREDENTIALS": "/nowhere.json"}, "start", lambda: None
    )
    assert "no credentials for Google: File /nowhere.json was not found; log in by" in output


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_metadata_service_that_is_down_is_named(failing_run, moment):
    with Metadata() as service:
        env = {**service.settings, "METAFLOW_SERVICE_RETRY_COUNT": "2"}
        output = failing_run(env, moment, service.stop)
    assert f"the metadata service {env['METAFLOW_SERVICE_URL']}, METAFLOW_SERVICE_URL, cannot be reached" in output
    assert "Connection refused" in output


def test_a_refusal_by_the_metadata_service_is_reported(failing_run):
    with Metadata() as service:
        service.faults["POST /flows"] = 403
        output = failing_run(service.settings, "start", lambda: None)
    assert f"the metadata service {service.settings['METAFLOW_SERVICE_URL']}: Metadata request" in output
    assert "403" in output


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
def test_missing_configuration_is_named_in_one_line(flow, tmp_path, command, line):
    ended = flow(*command.split(), cwd=tmp_path, HOME=str(tmp_path), KUBECONFIG="")
    assert ended.returncode == 1
    assert line in ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr
