"""The one JSON call that providers without a client of their own share."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi import FastAPI, Request, Response
from pydantic import SecretStr

from containment.providers.errors import Reason, Refused, Retryable
from containment.providers.harmless import HarmlessCall, trusting_also
from containment.providers.http import JsonApi
from schemas.config.wiring import ProviderConfig
from tests.containment.servers.serve import Faulty, Misbehave, serving

SECRET = SecretStr("plainly-secret")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate that nobody but its owner trusts, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "our own cluster")])
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    built = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC)).not_valid_after(datetime(2120, 1, 1, tzinfo=UTC))
        .add_extension(here, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    (folder / "ca.pem").write_bytes(built.public_bytes(serialization.Encoding.PEM))
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return folder / "ca.pem", folder / "key.pem"


@contextlib.asynccontextmanager
async def over_tls(certificate: tuple[Path, Path]) -> AsyncIterator[str]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 12\r\nConnection: close\r\n\r\n{"ok": true}')
        await writer.drain()
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"


class TestTrust:
    async def test_an_address_of_ones_own_is_trusted_by_its_certificate(self, certificate: tuple[Path, Path]) -> None:
        async with over_tls(certificate) as url:
            api = JsonApi(url, SECRET, timeout_s=5, headers={}, ca_file=str(certificate[0]))
            assert await api.call("GET", "/", "read") == {"ok": True}
            await api.close()

    async def test_without_it_the_address_is_a_stranger(self, certificate: tuple[Path, Path]) -> None:
        async with over_tls(certificate) as url:
            api = JsonApi(url, SECRET, timeout_s=5, headers={})
            with pytest.raises(Retryable) as caught:
                await api.call("GET", "/", "read")
            await api.close()
        assert caught.value.reason is Reason.NETWORK

    async def test_a_call_with_a_key_trusts_it_too(self, certificate: tuple[Path, Path]) -> None:
        async with over_tls(certificate) as url:
            seen = []
            for ca_file in (str(certificate[0]), ""):
                call = HarmlessCall(ProviderConfig(kind="kong", probe_url=url, ca_file=ca_file), timeout_s=5)
                seen.append((await call.look("shop", SECRET)).state)
                await call.close()
        assert seen == ["no", "unknown"]

    def test_a_call_with_a_key_trusts_the_usual_ones_as_well(self, certificate: tuple[Path, Path]) -> None:
        """The admin API has a certificate of the house, the gateway that the world sees a public one."""
        usual = httpx.create_ssl_context().cert_store_stats()["x509"]
        assert trusting_also(str(certificate[0])).cert_store_stats()["x509"] == usual + 1 > 10
        with pytest.raises(ValueError, match="ca_file /nowhere cannot be used"):
            trusting_also("/nowhere")


class Echo:
    """Shows what arrived."""

    def __init__(self) -> None:
        self.app = FastAPI()
        self.seen: list[tuple[dict[str, str], bytes]] = []

        @self.app.api_route("/{rest:path}", methods=["GET", "POST", "DELETE"])
        async def anything(request: Request) -> Response:
            self.seen.append((dict(request.headers), await request.body()))
            return Response(
                status_code=204 if request.method == "DELETE" else 200, content="{}" * (request.method != "DELETE")
            )


@contextlib.asynccontextmanager
async def echo(*, bearer: bool = True) -> AsyncIterator[tuple[JsonApi, Echo, Faulty]]:
    server = Echo()
    faulty = Faulty(server.app)
    async with serving(faulty) as url:
        api = JsonApi(url, SECRET, timeout_s=5, headers={"x-own": "1"}, bearer=bearer)
        yield api, server, faulty
        await api.close()


async def test_an_answer_without_content_is_an_empty_one_only_where_it_says_so() -> None:
    async with echo() as (api, _, faulty):
        assert await api.call("DELETE", "/x", "delete x") == {}
        faulty.faults.append(Misbehave(200, b""))
        with pytest.raises(Retryable) as caught:
            await api.call("DELETE", "/x", "delete x")
        assert caught.value.reason is Reason.NONSENSE


async def test_bytes_are_sent_as_they_are_and_all_else_as_json() -> None:
    async with echo() as (api, server, _):
        await api.call("POST", "/x", "post", body=b'{"a":1}', headers={"content-type": "text/odd"})
        await api.call("POST", "/x", "post", body={"a": 1})
        (own, raw), (json, made) = server.seen
        assert (raw, own["content-type"], own["x-own"]) == (b'{"a":1}', "text/odd", "1")
        assert (made, json["content-type"]) == (b'{"a":1}', "application/json")


@pytest.mark.parametrize(("bearer", "sent"), [(True, "Bearer plainly-secret"), (False, None)])
async def test_a_secret_that_only_signs_is_not_sent(bearer: bool, sent: str | None) -> None:
    async with echo(bearer=bearer) as (api, server, _):
        await api.call("GET", "/x", "read")
        assert server.seen[0][0].get("authorization") == sent


async def test_what_a_call_carries_is_not_repeated_even_where_its_quote_is_cut() -> None:
    async with echo() as (api, _, faulty):
        carried = "a-value-of-somebody" * 20
        faulty.faults.append(Misbehave(400, f"cannot use {carried} here".encode()))
        with pytest.raises(Refused) as caught:
            await api.call("POST", "/x", "post", hide=carried)
        assert str(caught.value).endswith("cannot use *** here")
