"""What a run leans on beside this machine, told in one line where it fails: metadata service, bucket, cluster, and what
opens them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from urllib.parse import urlsplit

from asr import first_line
from asr.disk import chain

LOG_IN = "log in by `gcloud auth application-default login`, or name a key's file in GOOGLE_APPLICATION_CREDENTIALS"


def complaint(error: BaseException) -> str:
    """What failed, where it can be told of any error in the chain; empty where it has another cause."""
    for one in chain(error):
        # By name: whoever raises it has the library, and nobody else needs to import it.
        for name in (f"{kind.__module__.split('.')[0]}.{kind.__name__}" for kind in type(one).__mro__):
            if name in TELL:
                return TELL[name](one)
    return ""


def _unreachable(error: BaseException) -> str:
    url = urlsplit(str(getattr(getattr(error, "request", None), "url", "") or ""))
    place, service = f"{url.scheme}://{url.netloc}", os.environ.get("METAFLOW_SERVICE_URL", "")
    name = f"the metadata service {service}, METAFLOW_SERVICE_URL," if service.startswith(place) else place
    return f"{name} cannot be reached: {_reason(error)}"


def _reason(error: BaseException) -> str:
    """The system's own words at the end of a nest of errors.

    >>> _reason(OSError("Max retries exceeded (Caused by NewConnection('Failed to connect: [Errno 111] Refused'))"))
    '[Errno 111] Refused'
    """
    found = re.search(r"\[Errno -?\d+\] [^'\")]+", str(error))
    return found[0] if found else first_line(error)


def _no_json(error: BaseException) -> str:
    return f"what answers at {os.environ.get('METAFLOW_SERVICE_URL', 'the address')} is no metadata service"


def _not_found(error: BaseException) -> str:
    bucket = re.search(r"/b/([^/?]+)", str(error))
    return f"there is no bucket gs://{bucket[1]}, or not any more" if bucket else first_line(error)


def _forbidden(error: BaseException) -> str:
    return f"the bucket is closed to these credentials: {first_line(error)}"


def _expired(error: BaseException) -> str:
    why = error.args[0] if error.args else error  # the rest is Google's answer, the same once more
    return f"Google does not accept the credentials (any more): {str(why).rstrip('.')}; {LOG_IN}"


def _service(error: BaseException) -> str:
    return f"the metadata service {os.environ.get('METAFLOW_SERVICE_URL', '')}: {first_line(error)}"


TELL: dict[str, Callable[[BaseException], str]] = {
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
    "kubernetes.ConfigException": lambda error: (
        f"no cluster: {first_line(error)}; kubectl's own configuration names one"
    ),
    "urllib3.MaxRetryError": lambda error: f"the cluster cannot be reached: {_reason(error)}",
    "botocore.BotoCoreError": lambda error: f"AWS: {first_line(error)}",
}
