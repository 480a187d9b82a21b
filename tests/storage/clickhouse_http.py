"""ClickHouse's HTTP interface in front of the embedded engine, as far as the driver uses it: tests the server path.

As a program (`python -m tests.storage.clickhouse_http PATH PORT`) it is a server of its own: `clickhouse_process.py`.
"""

from __future__ import annotations

import re
import sys
import tempfile
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import chdb

# What the HTTP layer of a server takes for itself; all else in the address are settings of the query.
_TRANSPORT = {"query", "database", "query_id", "wait_end_of_query", "client_protocol_version", "session_id"}


class ClickHouseHttp:
    """A server in a thread. `lose_answers` breaks the connection after the work is done, that many times.

    From another process: `PUT /lose-answers/3`.
    """

    def __init__(self, path: str, port: int = 0) -> None:
        self._connection: Any = chdb.connect(path)  # type: ignore[no-untyped-call] # it ships no types
        self._lock = Lock()
        self.lose_answers = 0
        self.settings_of_inserts: list[dict[str, str]] = []
        front = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                fields = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
                if self.headers.get_content_type() == "multipart/form-data":
                    fields |= _form(self.headers["Content-Type"], body)
                    body = b""
                status, headers, answer = front.answer(fields, body)
                if fields.get("query", "").startswith("INSERT") and front.lose_answers:
                    front.lose_answers -= 1
                    self.close_connection = True
                    return
                self._say(status, headers, answer)

            def do_GET(self) -> None:
                fields = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
                self._say(*(front.answer(fields, b"") if "query" in fields else (200, {}, b"Ok.\n")))

            def do_PUT(self) -> None:
                front.lose_answers = int(self.path.rpartition("/")[2])
                self._say(200, {}, b"")

            def _say(self, status: int, headers: dict[str, str], answer: bytes) -> None:
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(answer))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: object) -> None:
                """Tests are quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self._thread = Thread(target=self._server.serve_forever, daemon=True)
        self.port = int(self._server.server_port)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def join(self) -> None:
        """Returns when it is stopped."""
        self._thread.join()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._connection.close()

    def answer(self, fields: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body for one request."""
        parameters = {name.removeprefix("param_"): v for name, v in fields.items() if name.startswith("param_")}
        settings = {n: v for n, v in fields.items() if n not in _TRANSPORT and not n.startswith("param_")}
        try:
            with self._lock:
                self._connection.query(f"USE {fields.get('database', 'default')}")
                if "query" in fields and body:
                    self.settings_of_inserts.append(settings)
                    return 200, {}, self._insert(fields["query"], settings, body)
                sql, fmt = _without_format(fields.get("query") or body.decode())
                return 200, {}, self._ask(sql, fmt, parameters, settings)
        except RuntimeError as error:
            code = re.search(r"Code: (\d+)", str(error))
            return 500, {"X-ClickHouse-Exception-Code": code[1] if code else "1002"}, str(error).encode()

    def _ask(self, sql: str, fmt: str, parameters: dict[str, str], settings: dict[str, str]) -> bytes:
        for name, value in settings.items():
            self._connection.query(f"SET {name} = '{value}'")
        try:
            answer: bytes = self._connection.query(sql, fmt, params=parameters).bytes()
        finally:  # they hold for this query alone
            for name in settings:
                self._connection.query(f"SET {name} = DEFAULT")
        return answer

    def _insert(self, sql: str, settings: dict[str, str], body: bytes) -> bytes:
        into, fmt = _without_format(sql)
        with tempfile.NamedTemporaryFile() as file:
            file.write(body)
            file.flush()
            clause = ", ".join(f"{name} = '{value}'" for name, value in settings.items())
            self._connection.query(f"{into} FROM INFILE '{file.name}' SETTINGS {clause} FORMAT {fmt}")
        return b""


def _without_format(sql: str) -> tuple[str, str]:
    match = re.fullmatch(r"(.*?)\s+FORMAT (\w+)\s*", sql, re.DOTALL)
    return (match[1], match[2]) if match else (sql, "TabSeparated")


def _form(content_type: str, body: bytes) -> dict[str, str]:
    message = BytesParser().parsebytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body)
    fields = {}
    for part in message.get_payload():
        name = part.get_param("name", header="content-disposition")  # type: ignore[union-attr] # a form has parts
        fields[str(name)] = part.get_payload(decode=True).decode()  # type: ignore[union-attr] # of bytes
    return fields


if __name__ == "__main__":
    with ClickHouseHttp(sys.argv[1], int(sys.argv[2])) as running:
        running.join()
