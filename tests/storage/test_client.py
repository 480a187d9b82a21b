from __future__ import annotations

import subprocess
import sys
import traceback
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from clickhouse_connect.driver.exceptions import (
    ClickHouseError,
    DatabaseError,
    DataError,
    OperationalError,
    ProgrammingError,
)
from pydantic import SecretStr

from storage.client import open_store
from storage.connection import Transient, translated
from storage.errors import Rejected, StoreError, Unreachable
from storage.store import Store
from storage.testing import engine_path

SECRET = SecretStr("hunter2-secret")


@pytest.mark.parametrize(
    ("foreign", "ours"),
    [
        (OperationalError("connection refused"), Unreachable),
        (DatabaseError("too many parts", code=252), Unreachable),
        (DatabaseError("memory", code=241), Unreachable),
        (DatabaseError("bad gateway"), Unreachable),  # no code: a proxy spoke, not ClickHouse
        (DatabaseError("authentication failed", code=516), Rejected),
        (DatabaseError("unknown table", code=60), Rejected),
        (OperationalError("read only", code=164), Rejected),
        (ProgrammingError("unknown setting"), Rejected),
        (DataError("not a number"), Rejected),
        (OSError(28, "No space left on device"), Unreachable),
    ],
    ids=lambda value: str(value) if isinstance(value, Exception) else value.__name__,
)
def test_each_foreign_exception_says_whether_to_repeat(foreign: Exception, ours: type[StoreError]) -> None:
    with pytest.raises(ours) as raised, translated():
        raise foreign
    assert type(raised.value) is ours
    assert raised.value.__cause__ is foreign
    assert raised.value.code == getattr(foreign, "code", None)


def test_a_password_in_a_foreign_message_does_not_come_through() -> None:
    with pytest.raises(Unreachable) as raised, translated(SECRET):
        raise OperationalError(f"http://keyfuse:{SECRET.get_secret_value()}@ch:8123 refused")
    printed = "".join(traceback.format_exception(raised.value))
    assert SECRET.get_secret_value() not in printed
    assert "<secret>" in printed


def test_the_codes_worth_repeating_are_those_that_the_engine_means(embedded: Store) -> None:
    names = {code: embedded.connection.rows(f"SELECT errorCodeToName({code})")[0][0] for code in Transient}
    assert names == {code: code.name for code in Transient}


def test_a_server_that_is_not_there_is_unreachable_and_named_without_its_password(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(Unreachable, match="does not answer") as raised:
        open_store("clickhouse://keyfuse@127.0.0.1:1/keyfuse", password=SECRET)
    printed = "".join(traceback.format_exception(raised.value)) + caplog.text
    assert SECRET.get_secret_value() not in printed


def test_a_wrong_password_is_rejected_at_once() -> None:
    with _Refusing() as port, pytest.raises(Rejected, match="Authentication failed") as raised:
        open_store(f"clickhouse://keyfuse@127.0.0.1:{port}/keyfuse", password=SECRET)
    assert raised.value.code == 516
    assert SECRET.get_secret_value() not in "".join(traceback.format_exception(raised.value))


def test_a_folder_in_use_by_another_process_is_rejected_with_the_reason(embedded: Store) -> None:
    program = f"""
from storage.client import open_store
from storage.errors import Rejected
try:
    open_store("chdb://{engine_path()}")
except Rejected as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == (
        "the embedded store cannot be opened: another process has it open, or its files are not ours"
    )


def test_a_second_folder_in_one_process_is_rejected(embedded: Store) -> None:
    with pytest.raises(Rejected, match="cannot connect with different path"):
        open_store(f"chdb://{engine_path()}-other")


@pytest.mark.parametrize("name", ["a b", "a;DROP", "", "1a"])
def test_a_database_name_that_would_need_quoting_is_refused(name: str) -> None:
    with pytest.raises(Rejected):
        open_store(f"chdb://{engine_path()}?database={name}|")


def test_what_was_stored_is_there_when_the_store_is_opened_again(tmp_path: Path) -> None:
    """Each time by another process: the engine of this one stays open."""

    def opened(then: str) -> str:
        program = f"""
from storage.client import open_store
store = open_store("chdb://{tmp_path / "store"}")
{then}
store.close()
"""
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
        return done.stdout

    opened("""
store.connection.command("CREATE TABLE t (x Int8) ENGINE = MergeTree ORDER BY x")
store.connection.command("INSERT INTO t VALUES (7)")""")
    assert opened('print(store.connection.rows("SELECT x FROM t"))') == "[(7,)]\n"


def test_every_foreign_exception_class_is_translated() -> None:
    with pytest.raises(StoreError), translated():
        raise ClickHouseError("something new")


class _Refusing:
    """A server that answers every request as ClickHouse answers a wrong password."""

    def __enter__(self) -> int:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                body = b"Code: 516. DB::Exception: keyfuse: Authentication failed. (AUTHENTICATION_FAILED)"
                self.send_response(403)
                self.send_header("X-ClickHouse-Exception-Code", "516")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST

            def log_message(self, format: str, *args: object) -> None:
                """Tests are quiet."""

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self._thread = Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return int(self._server.server_port)

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
