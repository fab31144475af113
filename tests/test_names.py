"""Unknown names are answered with the known ones that look like them."""

from esdctl.names import did_you_mean, nearest

KNOWN = ("Van_Gogh", "Neon_Lines", "Rust")


def test_the_likest_name_comes_first_whatever_its_case_and_separators() -> None:
    assert nearest("van gog", KNOWN)[0] == "Van_Gogh"
    assert nearest("NEON-LINE", KNOWN) == ["Neon_Lines"]


def test_a_hint_offers_a_name_or_lists_all() -> None:
    assert did_you_mean("Ruts", KNOWN) == "did you mean Rust?"
    assert did_you_mean("xyz", KNOWN) == "known: Van_Gogh, Neon_Lines, Rust"
    assert did_you_mean("xyz", KNOWN, otherwise="") == ""
    assert did_you_mean("Russ", ("Rust", "Ruse"), n=2) == "did you mean Rust or Ruse?"
