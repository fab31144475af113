"""Variables ``ESDCTL_...`` that no command reads, so that a misspelt one is not ignored unsaid."""

from collections.abc import Iterator, Mapping

PREFIX = "ESDCTL_"
OF_PROGRAM = ("ESDCTL_CACHE_DIR", "ESDCTL_DEBUG", "ESDCTL_ROOT")
SECTION = "train"  # the one command whose settings have variables


def unread_variables(environment: Mapping[str, str], reads_settings: bool) -> Iterator[str]:
    """A sentence for each such variable, with the name that it may be meant for.

    Args:
        environment: usually ``os.environ``; an empty variable counts as not set.
        reads_settings: whether the command looks at those of ``train`` itself, and refuses them.
    """
    own = f"{PREFIX}{SECTION.upper()}_"
    names = sorted(name for name, text in environment.items() if name.startswith(PREFIX) and text)
    left = [n for n in names if n not in OF_PROGRAM and not (reads_settings and n.startswith(own))]
    if not left:  # as nearly always; the settings' table is not made for nothing
        return
    from esdctl.erasing.config import TrainConfig
    from esdctl.settings.resolve import unknown_variable_hint, variables_of

    known = variables_of(TrainConfig, SECTION)
    for name in left:
        if name not in known:
            hint = unknown_variable_hint(name, TrainConfig, SECTION, OF_PROGRAM)
            yield f"environment: no command reads {name}; {hint}"
