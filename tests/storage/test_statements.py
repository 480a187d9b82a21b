from __future__ import annotations

import pytest

from storage.migrate import shipped
from storage.sql import Migration, statements


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" ;; \n", []),
        ("SELECT 1", ["SELECT 1"]),
        ("SELECT 1; SELECT 2;", ["SELECT 1", "SELECT 2"]),
        ("SELECT ';'", ["SELECT ';'"]),
        ("SELECT 'it''s; here', '\\'; there'; SELECT 2", ["SELECT 'it''s; here', '\\'; there'", "SELECT 2"]),
        ('SELECT `a;b`, "c;d"', ['SELECT `a;b`, "c;d"']),
        ("-- only; a comment\nSELECT 1", ["SELECT 1"]),
        ("SELECT 1 /* a; \n b */ + 2", ["SELECT 1   + 2"]),
        ("SELECT 3 - 2 / 1", ["SELECT 3 - 2 / 1"]),
        ("SELECT '-- no comment'", ["SELECT '-- no comment'"]),
    ],
)
def test_a_file_is_split_at_semicolons_outside_quotes_and_comments(text: str, expected: list[str]) -> None:
    assert statements(text) == expected


def test_the_shipped_files_are_numbered_without_gaps() -> None:
    assert [migration.version for migration in shipped()] == list(range(1, len(shipped()) + 1))


@pytest.mark.parametrize("name", ["usage.sql", "1_usage.sql", "0001-usage.sql", "0001_Usage.sql", "0001_usage.txt"])
def test_a_file_with_another_name_is_no_migration(name: str) -> None:
    with pytest.raises(ValueError, match=r"named like 0001_usage\.sql"):
        Migration.of(name, "SELECT 1")
