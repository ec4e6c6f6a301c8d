"""An HTTP server over the ClickHouse engine, as far as clickhouse_connect speaks its protocol.

`python -m tests.support.clickhouse PATH PORT`, a process of its own: the engine serves one path in one process only, so
this is how several services share a database, and how a test kills or freezes it.
"""

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import chdb
import clickhouse_connect

from common.engines.ports import listening

START_SECONDS = 30

TRANSPORT = {
    *("query", "database", "session_id", "query_id", "wait_end_of_query", "client_protocol_version"),
    *("send_progress_in_http_headers", "http_headers_progress_interval_ms", "enable_http_compression"),
}
"""Parameters for the server itself; every other one without `param_` is a setting of the engine."""

LONGEST_URI, LONGEST_FIELD = 1024 * 1024, 128 * 1024
"""A server's defaults: `http_max_uri_size` and `http_max_field_value_size`, bytes. Both hold for bound parameters."""

_INSERT = re.compile(rb"\s*(INSERT INTO [^;]*? FORMAT (\w+))\s*\n", re.IGNORECASE)
_FORMAT = re.compile(rb"FORMAT\s+(\w+)\s*;?\s*$", re.IGNORECASE)
_CODE = re.compile(r"Code: (\d+)")
_VERSION = "26.9.1.1"
_STATUS = {60: 404, 81: 404, 27: 400, 62: 400, 516: 403, 1000: 400}


@dataclass(frozen=True)
class Running:
    """A server that a test may freeze or kill."""

    url: str
    process: subprocess.Popen[bytes]


def drop(dsn: str, name: str) -> None:
    """Drop a database that a test is done with: each one that stays makes the next one's migrations slower."""
    client = clickhouse_connect.get_client(dsn=dsn)
    client.command(f"DROP DATABASE IF EXISTS {name} SYNC")
    client.close()


@contextmanager
def running_server(path: Path, port: int) -> Iterator[Running]:
    """Run a server on this folder and port; started again on the same ones it has kept its data."""
    process = subprocess.Popen([sys.executable, "-m", "tests.support.clickhouse", str(path), str(port)])
    try:
        until = time.monotonic() + START_SECONDS
        while not listening(port):
            assert process.poll() is None, "the server ended while it was starting"
            assert time.monotonic() < until, f"the server does not listen within {START_SECONDS} s"
            time.sleep(0.02)
        yield Running(f"http://127.0.0.1:{port}", process)
    finally:
        process.kill()
        process.wait()


class Server(ThreadingHTTPServer):
    """One thread for each connection."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, path: str, port: int) -> None:
        self.path = path
        self.keep_open = chdb.connect(path)  # the engine ends with its last connection
        super().__init__(("127.0.0.1", port), Connection)

    def handle_error(self, *_: object) -> None:
        """A client that was killed leaves in the middle of a request: nothing to say."""


class Connection(BaseHTTPRequestHandler):
    """Requests of one connection, each a statement; a session of the engine serves them all."""

    protocol_version = "HTTP/1.1"
    wbufsize = 64 * 1024
    disable_nagle_algorithm = True
    server: Server

    def setup(self) -> None:
        super().setup()
        self._engine = chdb.connect(self.server.path)
        self._settings: dict[str, str] = {}

    def finish(self) -> None:
        self._engine.close()
        super().finish()

    def do_GET(self) -> None:
        if self.path == "/ping":
            self._answer(200, b"Ok.\n")
        else:
            self.do_POST()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        try:
            result, written = self._execute(body)
        except Exception as error:  # noqa: BLE001 - every error is an answer
            self._refuse(str(error))
        else:
            self._answer(200, result, {"X-ClickHouse-Format": written} if result else {})

    def _execute(self, body: bytes) -> tuple[bytes, str]:
        fields = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        if self.headers.get("content-type", "").startswith("multipart/form-data"):
            fields, body = fields | _form(self.headers["content-type"], body), b""
        _check_lengths(self.path, fields)
        self._use(fields)
        statement = (fields.get("query", "").encode() + b"\n" + body).strip()
        parameters = {name[6:]: value for name, value in fields.items() if name.startswith("param_")}
        return self._run(statement, parameters)

    def _use(self, fields: dict[str, str]) -> None:
        """Set what this request sets, and take back what the one before it did."""
        wanted = {n: v for n, v in fields.items() if n not in TRANSPORT and not n.startswith("param_")}
        for name in self._settings.keys() - wanted.keys():
            self._engine.query(f"SET {name} = DEFAULT")
        for name, value in wanted.items() - self._settings.items():
            self._engine.query(f"SET {name} = {_quoted(value)}")
        self._settings = wanted
        self._engine.query(f"USE `{fields.get('database', 'default')}`")

    def _run(self, statement: bytes, parameters: dict[str, str]) -> tuple[bytes, str]:
        if insert := _INSERT.match(statement):
            return self._insert(insert[1].decode(), insert[2].decode(), statement[insert.end() :]), ""
        named = _FORMAT.search(statement)
        written = named[1].decode() if named else "TabSeparated"
        result: Any = self._engine.query(statement.decode(), written, params=parameters)
        return result.bytes() or b"", written

    def _insert(self, statement: str, read: str, rows: bytes) -> bytes:
        """Rows go through a file: a statement must be text, and rows may be anything."""
        with tempfile.NamedTemporaryFile() as file:
            file.write(rows)
            file.flush()
            into = statement[: statement.upper().rindex(" FORMAT ")]
            self._engine.query(f"{into} FROM INFILE {_quoted(file.name)} FORMAT {read}")
        return b""

    def _refuse(self, message: str) -> None:
        message = message[max(0, message.find("Code: ")) :].strip()
        code = _CODE.search(message)
        number = int(code[1]) if code else 1002
        headers = {"X-ClickHouse-Exception-Code": str(number)}
        self._answer(_STATUS.get(number, 500), f"{message} (version {_VERSION})\n".encode(), headers)

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        summary = {"X-ClickHouse-Timezone": "UTC", "X-ClickHouse-Summary": json.dumps({})}
        for name, value in {**summary, **(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _form(content_type: str, body: bytes) -> dict[str, str]:
    message = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    return {
        str(part.get_param("name", header="content-disposition")): bytes(part.get_payload(decode=True)).decode()
        for part in message.iter_parts()
    }


def _check_lengths(uri: str, fields: dict[str, str]) -> None:
    if len(uri) > LONGEST_URI:
        raise ValueError("Code: 1000. DB::Exception: URI too long. (POCO_EXCEPTION)")
    if any(len(value.encode()) > LONGEST_FIELD for value in fields.values()):
        raise ValueError("Code: 1000. DB::Exception: HTML Form Exception: Field value too long. (POCO_EXCEPTION)")


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


if __name__ == "__main__":
    Server(sys.argv[1], int(sys.argv[2])).serve_forever()
