"""The table of the settings that `esdctl guide settings` shows, made of their fields."""

from pydantic import BaseModel

from esdctl.settings.setting import Field, fields_of


def settings_table(model: type[BaseModel]) -> str:
    """One row a setting, a table for each heading of the help.

    Args:
        model: its fields are the settings, such as TrainConfig's.
    """
    panels: dict[str, list[Field]] = {}
    for field in fields_of(model).values():
        panels.setdefault(field.setting.panel or "Used first", []).append(field)
    return "\n".join(_table(panel, fields) for panel, fields in panels.items())


def _table(panel: str, fields: list[Field]) -> str:
    rows = [(f"`{field.name}`", field.allowed, field.default, _meaning(field)) for field in fields]
    lines = [("setting", "value", "default", "what it is"), ("---",) * 4, *rows]
    escaped = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join([f"### {panel}", "", *(f"| {' | '.join(line)} |" for line in escaped), ""])


def _meaning(field: Field) -> str:
    needs = field.setting.needs
    return field.setting.help + (f" With {needs}." if needs else "")
