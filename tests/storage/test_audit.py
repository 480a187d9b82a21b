"""The audit's chain in a real store: it survives repeats, and what a person with a database client does to it shows."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from pydantic import SecretStr

from schemas.audit_chain import Problem, problems
from schemas.signing import Signer, is_signed, public_key_of
from storage.audit import append, beside_the_chain, chains, heads, last, links, older, seal
from storage.rows import record_row
from storage.store import Store
from tests.schemas.test_audit_chain import CHAIN, row
from tests.storage.conftest import NewStore

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
SIGNER = Signer(SecretStr(PEM))


@pytest.fixture(scope="module")
def migrated(new_store: NewStore) -> Store:
    """One database for all: making one costs more than all of these tests."""
    return new_store()


@pytest.fixture
def store(migrated: Store) -> Store:
    for table in ("audit", "audit_heads"):
        migrated.connection.command(f"TRUNCATE TABLE {table}")
    return migrated


def put(store: Store, *numbers: int, chain: str = CHAIN) -> int:
    return append(store, chain, [record_row(row(number))[1] for number in numbers])


def found(store: Store) -> list[Problem]:
    return [*problems(links(store), heads=heads(store)), *beside_the_chain(store)]


def mutate(store: Store, sql: str) -> None:
    store.connection.command(sql, settings={"mutations_sync": 2})


def test_rows_are_linked_in_the_order_of_their_coming(store: Store) -> None:
    assert put(store, 3, 1) == 2
    assert put(store, 2) == 1
    assert [(one.seq, one.row.audit_id) for one in links(store)] == [(1, "aud_3"), (2, "aud_1"), (3, "aud_2")]
    assert found(store) == []
    assert [each.audit_id for each in store.audit()] == ["aud_1", "aud_2", "aud_3"]


def test_what_is_delivered_again_is_not_linked_again(store: Store) -> None:
    put(store, 1, 2)
    assert put(store, 1, 2, 2, 3, 3) == 1
    assert put(store, 1, 2, 3) == 0
    assert chains(store) == {CHAIN: 3}
    assert found(store) == []


def test_two_archives_at_once_write_the_same_chain(store: Store) -> None:
    """After a rebalance the old owner's insert may land after the new owner has looked where the chain ends."""
    put(store, 1)
    connection = store.connection
    ours = list(links(store))

    class Late:
        """A store whose answers are as old as the moment before the other's insert."""

        def __getattr__(self, name: str) -> object:
            return getattr(connection, name)

        def rows(self, sql: str, parameters: object = None) -> object:
            if "IN {ids" in sql:
                return [("aud_1",)]
            return [tuple(ours[-1].model_dump(include={"chain", "seq", "prev_hash", "hash", "record"}).values())]

    put(store, 2, 3)
    before = list(links(store))
    put(Store(Late()), 2, 3)  # type: ignore[arg-type]  # it has what is asked of it
    assert list(links(store)) == before
    assert found(store) == []


def test_chains_are_apart(store: Store) -> None:
    put(store, 1, 2)
    put(store, 3, 4, chain="other:0")
    assert chains(store) == {CHAIN: 2, "other:0": 2}
    assert found(store) == []
    end = last(store, "other:0")
    assert end is not None
    assert end.row.audit_id == "aud_4"
    assert last(store, "none") is None


@pytest.mark.parametrize(
    ("sql", "kinds"),
    [
        (
            "ALTER TABLE audit UPDATE record = replaceOne(record, 'ada', 'eve'), actor = 'eve' WHERE seq = 2",
            {"changed"},
        ),
        ("ALTER TABLE audit UPDATE actor = 'eve' WHERE seq = 2", {"changed"}),
        ("ALTER TABLE audit UPDATE seq = 0 WHERE seq = 1", {"moved", "changed", "missing"}),
        ("ALTER TABLE audit UPDATE seq = 1152921504606846976 WHERE seq = 2", {"missing", "changed"}),
        ("ALTER TABLE audit_heads UPDATE record = 'x' WHERE 1", {"unreadable"}),
        ("ALTER TABLE audit DELETE WHERE seq = 2", {"missing"}),
        ("ALTER TABLE audit DELETE WHERE seq = 1", {"missing"}),
        ("ALTER TABLE audit DELETE WHERE seq = 3", {"cut"}),
        ("ALTER TABLE audit DELETE WHERE 1", {"cut"}),
        ("ALTER TABLE audit UPDATE seq = 5 - seq WHERE seq IN (2, 3)", {"changed", "inserted", "head"}),
    ],
)
def test_what_is_done_to_the_table_shows(store: Store, sql: str, kinds: set[str]) -> None:
    put(store, 1, 2, 3)
    seal(store, SIGNER, now_ms=1)
    assert found(store) == []
    mutate(store, sql)
    assert {problem.kind for problem in found(store)} == kinds


def test_a_row_put_in_by_hand_shows_and_one_from_before_the_chain_does_not(store: Store) -> None:
    put(store, 1)
    store.insert_records("audit", [record_row(row(9))[1]])
    [problem] = found(store)
    assert (problem.kind, problem.words.split()[0]) == ("outside", "aud_9")
    mutate(store, "ALTER TABLE schema_migrations UPDATE applied_at = now64(3) + INTERVAL 1 DAY WHERE version = 6")
    assert found(store) == []
    assert older(store) == 1
    mutate(store, "ALTER TABLE schema_migrations UPDATE applied_at = now64(3) - INTERVAL 1 DAY WHERE version = 6")
    assert len(found(store)) == 1


def test_a_time_is_cut_out_with_all_rows_between(store: Store) -> None:
    put(store, 1, 5, 2, 6, 3)
    part = list(links(store, 2000, 4000))
    assert [one.row.audit_id for one in part] == ["aud_2", "aud_6", "aud_3"]
    assert list(problems(part, heads=heads(store), part=True)) == []


def test_heads_are_signed_written_once_and_only_when_the_chain_has_grown(store: Store) -> None:
    assert seal(store, SIGNER, now_ms=1) == []
    assert heads(store) == []
    put(store, 1, 2)
    seal(store, SIGNER, now_ms=2)
    seal(store, SIGNER, now_ms=3)
    put(store, 3)
    seal(store, None, now_ms=4)
    assert [(head.seq, head.at_ms, bool(head.signature)) for head in heads(store)] == [(2, 2, True), (3, 4, False)]
    first = heads(store)[0]
    assert is_signed(first.to_sign(), signature=first.signature, public_key=SIGNER.public_key)
    forged = first.model_copy(update={"hash": "0" * 64})
    assert not is_signed(forged.to_sign(), signature=first.signature, public_key=SIGNER.public_key)
    assert not is_signed(first.to_sign(), signature="nonsense", public_key="none")


@pytest.mark.parametrize("where", ["seq = 2", "seq = 3", "seq = 4"])
def test_nothing_is_signed_that_does_not_follow_the_last_head(store: Store, where: str) -> None:
    put(store, 1, 2)
    seal(store, SIGNER, now_ms=1)
    put(store, 3, 4)
    mutate(store, f"ALTER TABLE audit UPDATE hash = repeat('f', 64) WHERE {where}")
    assert seal(store, SIGNER, now_ms=2) != []
    assert [head.seq for head in heads(store)] == [2]


def pem(text: bytes) -> str:
    return text.decode()


@pytest.mark.parametrize(
    "text", ["", "secret words", PEM.replace("PRIVATE", "PUBLIC")], ids=["empty", "text", "public"]
)
def test_what_is_no_key_is_refused_without_quoting_it(text: str) -> None:
    with pytest.raises(ValueError, match="key") as refused:
        Signer(SecretStr(text))
    assert "secret words" not in str(refused.value)


@pytest.mark.parametrize(
    "form",
    [
        lambda: SIGNER.public_key,
        lambda: pem(KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)),
    ],
    ids=["hex", "pem"],
)
def test_a_public_key_is_read_in_both_forms(form: Callable[[], str]) -> None:
    assert public_key_of(form()) == SIGNER.public_key
    assert PEM.splitlines()[1] not in repr(SIGNER)
