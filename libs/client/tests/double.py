"""A small server on the loopback that speaks the gateway's contract for batches, as far as the client needs it."""

import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

NOW = "2026-01-02T03:04:05.000Z"


@dataclass
class Double:
    """What the server has and does. `faults` come before anything else: a status with headers, or None to hang up."""

    url: str = ""
    token: str = "token"
    step: int = 2
    cut_after: list[int] = field(default_factory=list)
    faults: list[tuple[int, dict[str, str]] | None] = field(default_factory=list)
    fails: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    files: dict[str, list[Any]] = field(default_factory=dict)
    batches: dict[str, dict[str, Any]] = field(default_factory=dict)
    rows: dict[str, list[Any]] = field(default_factory=dict)
    quote: dict[str, Any] = field(default_factory=dict)
    exported: list[bytes] = field(default_factory=list)
    repriced: list[dict[str, Any]] = field(default_factory=list)
    sent: list[Any] = field(default_factory=list)
    lock: threading.Condition = field(default_factory=threading.Condition)

    def calls(self, method: str, path: str) -> int:
        """Return how often this was asked."""
        return sum(1 for asked in self.asked if asked[0] == method and re.fullmatch(path, asked[1]))

    def batch(self, asked: dict[str, Any], key: str | None, rows: list[Any], **more: Any) -> tuple[int, dict[str, Any]]:
        """Begin a batch, or return the one of this key."""
        for known in self.batches.values():
            if key is not None and known["key"] == key:
                same = known["fileId"] == asked.get("fileId")
                return (200, known) if same else (409, {"code": "idempotency_conflict", "error": "used before"})
        identity = f"batch_{len(self.batches) + 1}"
        counts = dict.fromkeys(("fed", "inFlight", "succeeded", "failed", "expired", "cancelled", "unpriced"), 0)
        self.rows[identity] = rows
        self.batches[identity] = {
            "id": identity, "key": key, "state": "in_progress", "createdAt": NOW, "rows": len(rows), "cost": 0,
            "retryOf": None, "labels": {}, "errors": [], **counts, **asked, **more,
        }  # fmt: skip
        return 201, self.batches[identity]

    def advance(self, batch: dict[str, Any]) -> None:
        """Let some more rows end."""
        if batch["state"] == "in_progress":
            ended = self.ended(batch["id"], self.step)
            batch["failed"] = sum(1 for row in ended if row["status"] == "failed")
            batch["succeeded"] = len(ended) - batch["failed"]
            batch["cost"], batch["ratePerSecond"], batch["secondsLeft"] = 0.25 * batch["succeeded"], 2.0, 1.0
            if len(ended) == batch["rows"]:
                batch.update(state="completed", secondsLeft=0)
            self.lock.notify_all()

    def ended(self, identity: str, more: int = 0) -> list[dict[str, Any]]:
        """Return how rows ended, some more than before."""
        batch = self.batches[identity]
        count = min(batch["rows"], batch["succeeded"] + batch["failed"] + more)
        return [self.result(row) for row in self.rows[identity][:count]]

    def result(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return how one row ended."""
        code = self.fails.get(row["custom_id"])
        told = {"customId": row["custom_id"], "runId": "r", "cost": 0.25, "priced": True, "usage": {"input": 1}}
        return (
            {**told, "status": "failed", "errorCode": code} if code else {**told, "status": "succeeded", "output": "é"}
        )


class Connection(BaseHTTPRequestHandler):
    """One client."""

    protocol_version = "HTTP/1.1"
    double: Double

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def answer(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"content-length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def do(self) -> None:
        double, url = self.double, urlsplit(self.path)
        with double.lock:
            double.asked.append((self.command, url.path))
            fault = double.faults.pop(0) if double.faults else (0, {})
        pieces = self.pieces()
        body = b"".join(pieces) if fault == (0, {}) else b"".join(b"" for _ in pieces)
        if fault is None:
            self.close_connection = True
        elif fault[0]:
            self.answer(fault[0], {"success": False, "error": "away", "code": "unavailable"}, fault[1])
        elif self.headers["authorization"] != f"Bearer {double.token}":
            self.answer(401, {"success": False, "error": "no such token", "code": "unauthenticated"})
        elif url.path == "/api/analytics/export":
            self.export(parse_qs(url.query))
        elif url.path.endswith("/results"):
            self.results(url.path.split("/")[-2], parse_qs(url.query))
        else:
            with double.lock:
                status, told = self.told(url.path, parse_qs(url.query), body)
            self.answer(status, {"data": told, **told} if isinstance(told, dict) else {"data": told})

    do_GET = do_POST = do_DELETE = do  # noqa: N815 - the standard library's names

    def pieces(self) -> Iterator[bytes]:
        assert self.headers["transfer-encoding"] != "chunked", "the length of everything that is sent is known"
        left = int(self.headers["content-length"] or 0)
        while left:
            piece = self.rfile.read(min(left, 65536))
            left -= len(piece)
            yield piece

    def told(self, path: str, asked: dict[str, list[str]], body: bytes) -> tuple[int, Any]:  # noqa: PLR0911, C901 - a table
        double, known = self.double, self.double.batches
        match self.command, path.strip("/").split("/"):
            case "POST", ["v1", "files"]:
                lines = body.split(b"\r\n\r\n", 2)[2].split(b"\r\n--")[0].splitlines()
                identity = f"file-{len(double.files) + 1}"
                double.files[identity] = [json.loads(line) for line in lines]
                return 200, {"id": identity}
            case "DELETE", ["v1", "files", identity]:
                return 200, {"deleted": double.files.pop(identity) is not None}
            case "POST", ["api", "batches", "quote"]:
                rows = len(double.files[json.loads(body)["fileId"]])
                return 200, {
                    "rows": rows,
                    "unpricedRows": 0,
                    "low": 1.5,
                    "high": 2.5,
                    "models": [],
                    "errors": [],
                    **double.quote,
                }
            case "POST", ["api", "batches"]:
                given = json.loads(body)
                return double.batch(given, self.headers["idempotency-key"], double.files[given["fileId"]])
            case "GET", ["api", "batches"]:
                wanted = [pair.split("=", 1) for pair in asked.get("label", [])]
                found = [b for b in reversed(known.values()) if all(b["labels"].get(k) == v for k, v in wanted)]
                return 200, {"batches": found, "nextCursor": None}
            case "GET", ["api", "batches", identity] if identity in known:
                double.advance(known[identity])
                return 200, known[identity]
            case "POST", ["api", "batches", identity, "cancel"] if identity in known:
                known[identity].update(state="cancelled", cancelled=known[identity]["rows"])
                double.lock.notify_all()
                return 200, known[identity]
            case "POST", ["api", "batches", identity, "retry"] if identity in known:
                again = [row for row in double.rows[identity] if row["custom_id"] in double.fails]
                double.fails = {}
                return double.batch({}, self.headers["idempotency-key"], again, retryOf=identity)
            case "POST", ["api", "analytics", "reprice"]:
                double.sent.append(json.loads(body))
                return 200, double.repriced[double.sent[-1].get("cursor") or 0]
            case "POST", ["api", "runs", run_id, "outcome"]:
                given = {"success": None, "score": None, "note": None, **json.loads(body)}
                return 200, {"runId": run_id, **given, "recordedAt": NOW}
            case "GET", ["api", "workspaces"]:
                return 200, [{"id": "w", "name": "acme", "createdAt": NOW}]
        return 404, {"success": False, "error": f"no such thing: {path}", "code": "not_found"}

    def export(self, asked: dict[str, list[str]]) -> None:
        self.double.sent.append(asked)
        self.send_response(200)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        cut = self.double.cut_after.pop(0) if self.double.cut_after else None
        for number, piece in enumerate(self.double.exported):
            if number == cut:
                self.close_connection = True
                return
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def results(self, identity: str, asked: dict[str, list[str]]) -> None:
        self.send_response(200)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        cut = self.double.cut_after.pop(0) if self.double.cut_after else None
        for number, line in enumerate(self.lines(identity, asked)):
            if number == cut:
                self.wfile.write(b"20\r\n{half a line")
                self.close_connection = True
                return
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
        self.wfile.write(b"0\r\n\r\n")

    def lines(self, identity: str, asked: dict[str, list[str]]) -> Iterator[bytes]:
        told, follow = 0, "follow" in asked
        only = asked.get("only", [None])[0]
        while True:
            with self.double.lock:
                batch = self.double.batches[identity]
                while not (rows := self.double.ended(identity)[told:]) and batch["state"] == "in_progress" and follow:
                    self.double.lock.wait()
            for row in rows:
                told += 1
                if only in (None, {"succeeded": "ok"}.get(row["status"], row["status"])):
                    yield json.dumps(row).encode() + b"\n"
            if not follow or batch["state"] != "in_progress":
                return
