"""One attack: its name, the archive, and what the refusal must say."""

from dataclasses import dataclass, field

from tests.attacks.zip_builder import Archive, Entry

# Every attack comes beside a good file, which must not be unpacked either.
GOOD = Entry("good.txt")


@dataclass(frozen=True)
class Attack:
    """A hostile archive.

    Args:
        name: what the attacker tries, unique.
        archive: built by ``data``.
        message: a part of the error's message.
        raw: the archive's bytes, where no structure stands behind them.
    """

    name: str
    message: str
    archive: Archive = field(default_factory=Archive)
    raw: bytes | None = None

    def data(self) -> bytes:
        return self.archive.build() if self.raw is None else self.raw


def with_entries(name: str, message: str, *entries: Entry) -> Attack:
    """An attack by members alone, in an archive that is sound otherwise."""
    return Attack(name, message, Archive((GOOD, *entries)))
