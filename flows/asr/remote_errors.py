"""Errors of remote services, explained in one line: metadata service, bucket, cluster and their credentials."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from urllib.parse import urlsplit

from asr import error_chain, first_line

LOG_IN = "log in by `gcloud auth application-default login`, or name a key's file in GOOGLE_APPLICATION_CREDENTIALS"


def explain(error: BaseException) -> str:
    """What failed, by the first known error in the chain; empty where the error has another cause."""
    for cause in error_chain(error):
        # Compared by name, so that no client library needs to be imported.
        for name in (f"{kind.__module__.split('.')[0]}.{kind.__name__}" for kind in type(cause).__mro__):
            if name in EXPLANATIONS:
                return EXPLANATIONS[name](cause)
    return ""


def _unreachable(error: BaseException) -> str:
    url = urlsplit(str(getattr(getattr(error, "request", None), "url", "") or ""))
    server, service = f"{url.scheme}://{url.netloc}", os.environ.get("METAFLOW_SERVICE_URL", "")
    name = f"the metadata service {service}, METAFLOW_SERVICE_URL," if service.startswith(server) else server
    return f"{name} cannot be reached: {_reason(error)}"


def _reason(error: BaseException) -> str:
    """The operating system's message within a nested error.

    >>> _reason(OSError("Max retries exceeded (Caused by NewConnection('Failed to connect: [Errno 111] Refused'))"))
    '[Errno 111] Refused'
    """
    match = re.search(r"\[Errno -?\d+\] [^'\")]+", str(error))
    return match[0] if match else first_line(error)


def _no_json(error: BaseException) -> str:
    return f"what answers at {os.environ.get('METAFLOW_SERVICE_URL', 'the address')} is not a metadata service"


def _not_found(error: BaseException) -> str:
    bucket = re.search(r"/b/([^/?]+)", str(error))
    return f"there is no bucket gs://{bucket[1]}" if bucket else first_line(error)


def _forbidden(error: BaseException) -> str:
    return f"these credentials give no access to the bucket: {first_line(error)}"


def _expired(error: BaseException) -> str:
    reason = error.args[0] if error.args else error  # the other arguments repeat it
    return f"Google does not accept the credentials (any more): {str(reason).rstrip('.')}; {LOG_IN}"


def _service(error: BaseException) -> str:
    return f"the metadata service {os.environ.get('METAFLOW_SERVICE_URL', '')}: {first_line(error)}"


EXPLANATIONS: dict[str, Callable[[BaseException], str]] = {
    "metaflow.ServiceException": _service,
    "requests.JSONDecodeError": _no_json,
    "requests.ConnectionError": _unreachable,
    "requests.Timeout": _unreachable,
    "google.DefaultCredentialsError": lambda error: (
        f"no credentials for Google: {first_line(error).rstrip('.')}; {LOG_IN}"
    ),
    "google.RefreshError": _expired,
    "google.Unauthorized": _expired,
    "google.Forbidden": _forbidden,
    "google.NotFound": _not_found,
    "kubernetes.ConfigException": lambda error: f"no cluster: {first_line(error)}; kubectl's configuration names one",
    "urllib3.MaxRetryError": lambda error: f"the cluster cannot be reached: {_reason(error)}",
    "botocore.BotoCoreError": lambda error: f"AWS: {first_line(error)}",
}
