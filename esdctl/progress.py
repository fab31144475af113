"""How work tells what it is doing: a Reporter and its events. Knows no terminal."""

from typing import Protocol


class Reporter(Protocol):
    """Receives events; ``esdctl.cli.terminal`` shows them, ``Silent`` drops them."""

    def started(self, task: str, total: int, unit: str, done: int = 0) -> None:
        """Work of ``total`` units begins, or goes on at ``done``; ``task`` names it."""

    def advanced(self, task: str, done: int, details: str = "") -> None:
        """``done`` units are complete; ``details`` is short text such as ``loss 0.0123``."""

    def finished(self, task: str) -> None:
        """The task is over."""

    def notice(self, text: str) -> None:
        """Something the user should know; one line."""

    def warning(self, text: str) -> None:
        """Something the user may have to act on; one line."""


class Silent:
    """A Reporter that says nothing."""

    def started(self, task: str, total: int, unit: str, done: int = 0) -> None:
        pass

    def advanced(self, task: str, done: int, details: str = "") -> None:
        pass

    def finished(self, task: str) -> None:
        pass

    def notice(self, text: str) -> None:
        pass

    def warning(self, text: str) -> None:
        pass
