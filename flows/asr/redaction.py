"""Removes secrets from output and stored text: a quoted message may contain the token that was sent."""

from __future__ import annotations

import os
import re

HIDDEN = "HIDDEN"  # letters only: Metaflow's terminal prints asterisks as bold type
SECRET_NAMES = re.compile(r"(TOKEN|KEY|SECRET|PASSWORD|WEBHOOK_URL)$")  # environment variables that hold a secret
MIN_LENGTH = 8  # characters of a secret; a shorter value is a placeholder, and may be part of other words
SECRET_SHAPES = re.compile(
    r"(?<=[Bb]earer )[^\s\"',}\]]+"
    r"|\bhf_\w{8,}"
    r"|(?<=://)[^/\s@]+(?=@)"
    r"|(?<=-----BEGIN PRIVATE KEY-----).+(?=-----END PRIVATE KEY-----)",
    re.DOTALL,
)


def redact_text(text: str) -> str:
    """The text without the values of secret environment variables, and without strings that look like tokens.

    >>> redact_text("401 for https://me:geheim@host/x, Authorization: Bearer abcdef123")
    '401 for https://HIDDEN@host/x, Authorization: Bearer HIDDEN'
    """
    secrets = (value for name, value in os.environ.items() if SECRET_NAMES.search(name) and len(value) >= MIN_LENGTH)
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return SECRET_SHAPES.sub(HIDDEN, text)


def redact_error(error: BaseException | None) -> None:
    """Remove secrets from the messages of an error and of its causes, before a traceback prints them."""
    while error:
        error.args = tuple(redact_text(arg) if isinstance(arg, str) else arg for arg in error.args)
        error = error.__cause__ or error.__context__
