"""A patch adds lines and changes nothing else, whatever people wrote."""

from __future__ import annotations

import pytest
import yaml

from service.yaml_patch import patch, with_entry

FILES = {
    "a section": "# top\nkeys:\n  k1: {x: 1}  # mine\n\n# about the next\nother: 1\n",
    "a section at the end without a last newline": "other: 1\nkeys:\n  k1: {x: 1}",
    "deeper entries": "keys:\n    k1:\n        x: 1\n        y: [1,\n            2]\nother: {a: 1}\n",
    "text in a block": "keys:\n  k1:\n    x: |\n      one\n      two\nother: 1\n",
    "an empty section": "other: 1\nkeys: {}\nlast: 2\n",
    "a name with nothing behind it": "keys:\nother: 1\n",
    "no section": "other: 1\n",
    "an empty file": "",
    "comments alone": "# keys:\n#   k1: 1\n",
}


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_one_entry_is_added_and_all_else_stays(text: str) -> None:
    after = with_entry(text, "keys", "k2: {x: 2}\n")
    before = yaml.safe_load(text) or {}
    assert yaml.safe_load(after) == {**before, "keys": {**(before.get("keys") or {}), "k2": {"x": 2}}}
    assert [line for line in text.splitlines() if "#" in line] == [line for line in after.splitlines() if "#" in line]


@pytest.mark.parametrize(
    "text",
    ["policies:\n- name: a\n  keys: [x]\n", "policies:\n  - name: a\n    keys: [x]\nlast: 1\n", "policies: []\n", ""],
)
def test_a_list_gets_one_more(text: str) -> None:
    after = yaml.safe_load(with_entry(text, "policies", "- name: b\n  keys: [y]\n"))
    assert after["policies"] == [*((yaml.safe_load(text) or {}).get("policies") or []), {"name": "b", "keys": ["y"]}]


def test_a_section_in_one_line_is_a_persons() -> None:
    with pytest.raises(ValueError, match="keys is written in one line: add there by hand\nk2: 1"):
        with_entry("keys: {k1: 1}\n", "keys", "k2: 1\n")


def test_the_patch_says_which_file() -> None:
    made = patch("keys.yaml", "a: 1\n", "a: 1\nb: 2\n")
    assert made == "--- a/keys.yaml\n+++ b/keys.yaml\n@@ -1 +1,2 @@\n a: 1\n+b: 2\n"
    assert patch("keys.yaml", "a: 1\n", "a: 1\n") == ""
    assert "\\ No newline at end of file" in patch("keys.yaml", "a: 1", "a: 1\nb: 2\n")
