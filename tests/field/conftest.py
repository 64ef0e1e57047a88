"""What real users' files brought out: every door of the house, on the same files."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "space"))
