"""How large an upload may be: MAX_MEGABYTES and MAX_MINUTES of the environment."""

from __future__ import annotations

import os

MAX_MEGABYTES = int(os.environ.get("MAX_MEGABYTES", 200))
MAX_MINUTES = float(os.environ.get("MAX_MINUTES", 60))
MAX_FILES = 20  # in one upload


def texts() -> dict[str, object]:
    """The limits, as the texts of the page name them."""
    return {"minutes": f"{MAX_MINUTES:g}", "megabytes": MAX_MEGABYTES}
