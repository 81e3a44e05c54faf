"""What a run writes down about its machine: what changes results, and no secret."""

from __future__ import annotations

import pytest

from tunebench.runs.environment import variables


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("https://user:hf_secret@hub.example:8443/api?x=a@b", "https://hub.example:8443/api?x=a@b"),
        ("https://hf_secret@hub.example", "https://hub.example"),
        ("https://user:p@ss@hub.example/", "https://hub.example/"),
        ("user:hf_secret@hub.example", "hub.example"),
        ("https://hub.example/a@b", "https://hub.example/a@b"),
    ],
)
def test_who_signs_in_stays_out_of_an_address(value: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", value)
    assert variables()["HF_ENDPOINT"] == shown


def test_a_token_is_only_said_to_be_set_and_a_folder_is_shown_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("HF_HOME", "/data/@home")
    assert (variables()["HF_TOKEN"], variables()["HF_HOME"]) == ("set", "/data/@home")
