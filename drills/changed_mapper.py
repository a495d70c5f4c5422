"""An `adamas` command under another mapper, as after a deployment: `DRILL_MAPPER=FILE python -m drills.changed_mapper …`.

The file defines `MAPPING` and `MAPPER_VERSION`, as the feed's `mapping.py` does.
"""

from __future__ import annotations

import os
import runpy

from connectors.feeds.nivoda import mapping

# At import, so that whatever this process starts as a copy of itself gets it too.
_changed = runpy.run_path(os.environ["DRILL_MAPPER"])
mapping.MAPPING = _changed["MAPPING"]  # type: ignore[misc]
mapping.MAPPER_VERSION = _changed["MAPPER_VERSION"]  # type: ignore[misc]

if __name__ == "__main__":
    from adamas.cli import main

    main()
