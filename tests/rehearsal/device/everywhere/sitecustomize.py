"""In a folder of PYTHONPATH: pretended devices in each process that Python starts."""

import os
from pathlib import Path

from tests.rehearsal.device.runtime import install

if "REHEARSAL_LIBRARY" in os.environ:
    install(Path(os.environ["REHEARSAL_LIBRARY"]))
