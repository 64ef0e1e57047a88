"""No secret in what is printed or kept: what a message quotes of an answer may hold the token that was sent."""

from __future__ import annotations

import os
import re

HIDDEN = "HIDDEN"  # letters alone, for asterisks are bold type to Metaflow's terminal
NAMED = re.compile(r"(TOKEN|KEY|SECRET|PASSWORD|WEBHOOK_URL)$")  # variables that hold a secret
SHORTEST = 8  # characters of one; what is shorter is a placeholder, and its letters stand in other words
SHAPES = re.compile(
    r"(?<=[Bb]earer )[^\s\"',}\]]+"
    r"|\bhf_\w{8,}"
    r"|(?<=://)[^/\s@]+(?=@)"
    r"|(?<=-----BEGIN PRIVATE KEY-----).+(?=-----END PRIVATE KEY-----)",
    re.DOTALL,
)


def redacted(text: str) -> str:
    """The text without what this process's variables keep secret, and without what looks like a token.

    >>> redacted("401 for https://me:geheim@host/x, Authorization: Bearer abcdef123")
    '401 for https://HIDDEN@host/x, Authorization: Bearer HIDDEN'
    """
    secrets = (value for name, value in os.environ.items() if NAMED.search(name) and len(value) >= SHORTEST)
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return SHAPES.sub(HIDDEN, text)


def redact(error: BaseException | None) -> None:
    """Take the secrets out of an error's words, and of those that it came from, before a traceback tells them."""
    while error:
        error.args = tuple(redacted(one) if isinstance(one, str) else one for one in error.args)
        error = error.__cause__ or error.__context__
