"""Names from outside: ordinary ones pass, and a listing is checked as a whole."""

import pytest

from esdctl.errors import IntegrityError
from esdctl.transfer.zip.rules import check_name, check_names


@pytest.mark.parametrize(
    "name",
    [
        "model_index.json",
        "unet/diffusion_pytorch_model.safetensors",
        ".gitattributes",
        "Van_Gogh/Architectures/1.jpg",
        "a picture, of (50%) 'dogs' & cats!.jpg",
        "cafe\u0301/\u65e5\u672c\u8a9e/\U0001f415\u200d\U0001f9ba.jpg",
        "console.txt",
        "com10",
        "nulls/aux_data",
        "a" * 255,
    ],
)
def test_ordinary_names_pass(name: str) -> None:
    check_name(name)


def test_a_listing_is_checked_as_a_whole() -> None:
    check_names(["a/1.jpg", "a/2.jpg", "b/1.jpg", "README.md"])
    for names, message in (
        (["a", "a/b"], "as file and as folder"),
        (["a.txt", "A.txt"], "is a twin"),
        (["a.txt", "a.txt"], "is there twice"),
        (["a.txt", "../b.txt"], "leaves its folder"),
        (["a.txt", "\ud800.txt"], "is not valid Unicode"),
        (["a/"], "has an empty part"),
        ((f"{number}" for number in range(100_001)), "more than 100000 files and folders"),
    ):
        with pytest.raises(IntegrityError, match=message):
            check_names(names)


def test_a_twin_is_named_with_its_other() -> None:
    with pytest.raises(IntegrityError, match=r"'Dogs/1\.JPG'.*'1\.JPG'.*'1\.jpg'"):
        check_names(["Dogs/1.jpg", "Dogs/1.JPG"])
