"""SettingPath: a path in a setting, with ``~`` expanded wherever it was written."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from esdctl.storage.user_path import user_path

SettingPath = Annotated[Path, AfterValidator(user_path)]
