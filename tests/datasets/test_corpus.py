"""The corpus of prompts: its size, its forms, and its version."""

from esdctl.datasets.corpus.prompts import VERSION, corpus, digest, words


def test_it_has_thousands_of_short_prompts_each_once() -> None:
    texts = [entry.text for entry in corpus()]
    assert len(texts) >= 3000
    assert len(set(texts)) == len(texts)
    assert max(len(text.split()) for text in texts) <= 14
    assert not any("{" in text or text != text.strip() for text in texts)


def test_each_prompt_holds_the_words_that_it_is_said_to_be_made_of() -> None:
    assert all(word in entry.text for entry in corpus() for word in entry.words)
    asked = {word for entry in corpus() for word in entry.words}
    assert asked == {word for listed in words().values() for word in listed}


def test_other_prompts_need_another_version() -> None:
    known = {1: "2b8dc8ade04b61cc7f1cbae8413121a3ad417fcdb28d88a9f376e712ed0100e7"}
    assert digest() == known[VERSION]


def test_each_word_is_asked_for_alone_too() -> None:
    texts = {entry.text for entry in corpus()}
    assert all(word in texts for listed in words().values() for word in listed)
