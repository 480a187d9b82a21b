"""GitHub's signatures: its own published samples, what is not signed, and how often its keys are asked for."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import SecretStr

from sources.github_keys import GithubKeys, KeysUnavailable, from_address, from_file, parse_keys
from tests.alerting.servers import serving

# As docs.github.com shows them, in today's version and in one before; the keys as api.github.com gives them.
PUBLISHED = [
    (
        "bcb53661c06b4728e59d897fb6165d5c9cda0fd9cdf9d09ead458168deb7518c",
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEYAGMWO8XgCamYKMJS6jc/qgvSlAd\n"
        "AjPuDPRcXU22YxgBrz+zoN19MzuRyW87qEt9/AmtoNP5GrobzUvQSyJFVw==",
        "MEQCIQDaMKqrGnE27S0kgMrEK0eYBmyG0LeZismAEz/BgZyt7AIfXt9fErtRS4XaeSt/AO1RtBY66YcAdjxji410VQV4xg==",
        b'[{"source":"commit","token":"some_token","type":"some_type","url":"https://example.com/base-repo-url/"}]',
    ),
    (
        "f9525bf080f75b3506ca1ead061add62b8633a346606dc5fe544e29231c6ee0d",
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEsz9ugWDj5jK5ELBK42ynytbo38gP\n"
        "HzZFI03Exwz8Lh/tCfL3YxwMdLjB+bMznsanlhK0RwcGP3IDb34kQDIo3Q==",
        "MEUCIFLZzeK++IhS+y276SRk2Pe5LfDrfvTXu6iwKKcFGCrvAiEAhHN2kDOhy2I6eGkOFmxNkOJ+L2y8oQ9A2T9GGJo6WJY=",
        b'[{"token":"some_token","type":"some_type","url":"some_url","source":"some_source"}]',
    ),
    (
        "90a421169f0a406205f1563a953312f0be898d3c7b6c06b681aa86a874555f4a",
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE9MJJHnMfn2+H4xL4YaPDA4RpJqUq\n"
        "kCmRCBnYERxZanmcpzQSXs1X/AljlKkbJ8qpVIW4clayyef9gWhFbNHWAA==",
        "MEUCIQDKZokqnCjrRtw0tni+2Ltvl/uiMJ1EGumEsp1BsNr32AIgQY1YXD2nlj+XNfGK4rBfkMJ1JDOQcYXxa2sY8FNkrKc=",
        b'[{"token":"some_token","type":"some_type","url":"some_url"}]',
    ),
]


def document(*keys: tuple[str, str]) -> bytes:
    pem = "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n"
    listed = [{"key_identifier": name, "key": pem.format(key), "is_current": True} for name, key in keys]
    return orjson.dumps({"public_keys": listed})


PUBLISHED_KEYS = document(*((name, key) for name, key, _, _ in PUBLISHED))


class Signer:
    """Somebody with a key of their own."""

    def __init__(self, name: str = "ours", curve: ec.EllipticCurve | None = None) -> None:
        self.name = name
        self._key = ec.generate_private_key(curve or ec.SECP256R1())

    @property
    def listed(self) -> dict[str, Any]:
        pem = self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        return {"key_identifier": self.name, "key": pem, "is_current": True}

    def sign(self, body: bytes) -> str:
        return base64.b64encode(self._key.sign(body, ec.ECDSA(SHA256()))).decode()


class Clock:
    """GitHub's list as it stands, and a clock that is set by hand."""

    def __init__(self, *signers: Signer) -> None:
        self.now_s, self.asked, self.down = 0.0, 0, False
        self.signers = list(signers)
        self.keys = GithubKeys(self.fetch, now_s=lambda: self.now_s)

    async def fetch(self) -> bytes:
        self.asked += 1
        if self.down:
            raise OSError("no way out")
        return orjson.dumps({"public_keys": [signer.listed for signer in self.signers]})

    async def signed(self, signer: Signer, body: bytes = b"[]") -> bool:
        return await self.keys.signed(signer.name, signer.sign(body), body)


async def published() -> GithubKeys:
    async def fetch() -> bytes:
        return PUBLISHED_KEYS

    return GithubKeys(fetch, now_s=lambda: 0.0)


@pytest.mark.parametrize(("name", "key", "signature", "body"), PUBLISHED)
async def test_the_samples_that_github_publishes_are_signed(name: str, key: str, signature: str, body: bytes) -> None:
    keys = await published()
    assert await keys.signed(name, signature, body)
    assert not await keys.signed(name, signature, body + b" ")
    others = [other for other, _, _, _ in PUBLISHED if other != name]
    assert not any([await keys.signed(other, signature, body) for other in others])


@pytest.mark.parametrize(
    "mangled",
    [
        lambda good: "",
        lambda good: "no base64 at all!",
        lambda good: good[:-8],
        lambda good: base64.b64encode(b"\x30\x00").decode(),
        lambda good: good + "A",
        lambda good: f" {good}",
        lambda good: "é" + good,
    ],
)
async def test_a_signature_that_is_none_is_simply_not_good(mangled: Callable[[str], str]) -> None:
    name, _, signature, body = PUBLISHED[0]
    assert not await (await published()).signed(name, mangled(signature), body)


@pytest.mark.parametrize(
    "wrong",
    [b"", b"[]", b"{}", b'{"public_keys": 3}', b'{"public_keys": []}', b'{"public_keys": [{"key": "x"}]}', b"\xff"],
)
def test_a_document_that_is_no_list_of_keys_is_refused(wrong: bytes) -> None:
    with pytest.raises(ValueError, match="GitHub's public keys"):
        parse_keys(wrong)


def test_keys_of_another_kind_are_left_out() -> None:
    good, other = Signer("good"), Signer("p384", ec.SECP384R1())
    listed = [good.listed, other.listed, {"key_identifier": "bad", "key": "not a key"}]
    assert set(parse_keys(orjson.dumps({"public_keys": listed}))) == {"good"}


async def test_a_known_key_is_asked_for_once_an_hour_and_a_withdrawn_one_is_forgotten() -> None:
    old, new = Signer("old"), Signer("new")
    github = Clock(old)
    assert [await github.signed(old) for _ in range(3)] == [True] * 3
    assert github.asked == 1
    github.now_s, github.signers = 3700, [new]
    assert not await github.signed(old)
    assert await github.signed(new)
    assert github.asked == 2


async def test_an_unknown_key_is_looked_for_but_not_more_than_once_a_minute() -> None:
    known, new = Signer("known"), Signer("new")
    github = Clock(known)
    assert await github.signed(known)
    github.now_s, github.signers = 10, [known, new]
    assert not await github.signed(new), "it was asked ten seconds ago"
    github.now_s = 70
    assert await github.signed(new)
    for second in range(71, 125):
        github.now_s = second
        assert not await github.signed(Signer(f"stranger {second}"))
    assert github.asked == 2
    assert await github.signed(known), "a flood of strangers costs the known keys nothing"


async def test_while_github_is_away_known_keys_hold_for_a_day_and_others_can_not_be_judged() -> None:
    known, new = Signer("known"), Signer("new")
    github = Clock(known)
    github.down = True
    with pytest.raises(KeysUnavailable):
        await github.signed(known)
    github.down, github.now_s = False, 60
    assert await github.signed(known)
    github.down, github.now_s = True, 60 + 23 * 3600
    assert await github.signed(known)
    with pytest.raises(KeysUnavailable):
        await github.signed(new)
    github.now_s = 60 + 25 * 3600
    with pytest.raises(KeysUnavailable):
        await github.signed(known)


async def test_keys_of_a_file_that_is_exchanged_are_taken(tmp_path: Path) -> None:
    file, clock = tmp_path / "keys.json", [0.0]
    keys = GithubKeys(from_file(file), now_s=lambda: clock[0])
    name, _, signature, body = PUBLISHED[0]
    with pytest.raises(KeysUnavailable):
        await keys.signed(name, signature, body)
    file.write_bytes(PUBLISHED_KEYS)
    clock[0] = 60
    assert await keys.signed(name, signature, body)


async def test_the_address_is_asked_with_the_token_and_a_document_without_end_is_not_read() -> None:
    name, _, signature, body = PUBLISHED[0]
    async with serving(lambda *_: PUBLISHED_KEYS.decode()) as server:
        keys = GithubKeys(from_address(f"{server.url}/keys", SecretStr("a-token")), now_s=lambda: 0.0)
        assert await keys.signed(name, signature, body)
        assert [arrived.headers.get("Authorization") for arrived in server.arrived] == ["Bearer a-token"]
    async with serving(lambda *_: "x" * 1_100_000) as server:
        with pytest.raises(ValueError, match="more than"):
            await from_address(f"{server.url}/keys", None)()
        assert "Authorization" not in server.arrived[0].headers
