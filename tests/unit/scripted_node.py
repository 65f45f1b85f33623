"""A node that answers over real HTTP or HTTPS what a test has written down, and remembers what it was asked."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import copy
import json
import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

GOLDEN = Path(__file__).parents[1] / "golden" / "api"


def golden(name):
    """One answer as the daemon's own REST tests wrote it."""
    return json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))


def map_seen_by(number, document=None):
    """The golden map (or `document`), as member `number` would give it."""
    seen = copy.deepcopy(document or golden("map"))
    row = next(row for row in seen["nodes"] if row["node"] == number)
    seen["own"].update(node=number, ip=row["ip"], message="")
    seen["own"]["consensus_role"] = "leader" if seen["cluster"]["leader"] == number else "follower"
    if row["role"] == "listener":
        seen["own"]["consensus_role"] = "listener"
    return seen


class Says:
    """One answer of the script; `pause` lets it come late, `drip` lets its body come in crumbs,
    `missing` lets it end so many bytes early."""

    def __init__(self, code=200, document=None, *, text=None, pause=0.0, drip=0.0, missing=0, headers=None):
        self.code = code
        self.body = json.dumps(document).encode() if text is None else text.encode()
        self.pause = pause
        self.drip = drip
        self.missing = missing
        self.headers = headers or {}


class _Server(ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        """A client that hangs up or refuses the certificate is what some tests want."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class ScriptedNode:
    """Serves a script: path to one answer, or to a list of answers of which the last one stays."""

    def __init__(self, script=None, certificate=None, host="127.0.0.1"):
        self.script = dict(script or {})
        self.asked = []
        self._lock = threading.Lock()
        node = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments):
                """Tests read `asked` instead."""

            def answer(self):
                length = int(self.headers.get("Content-Length") or 0)
                node._answer(self, self.rfile.read(length))

            do_GET = do_POST = do_PATCH = do_DELETE = answer

        self._server = _Server((host, 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        scheme = "http"
        if certificate is not None:
            scheme = "https"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            certificate.configure_cert(context)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port = self._server.server_address[1]
        self.url = f"{scheme}://{host}:{self.port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def lead(self, document):
        """Answer as the node that accepts writes, with this map."""
        self.script.update({"/is-leader": Says(200, {"node": 1}), "/map": Says(200, document)})
        return self

    def follow(self, document):
        """Answer as a member that does not lead, with this map."""
        self.script.update({"/is-leader": Says(417, golden("error_not-leader")), "/map": Says(200, document)})
        return self

    def wait_outside(self):
        """Answer as a node that has not joined any cluster."""
        refusal = Says(412, golden("error_not-joined"))
        status = Says(200, golden("status_unjoined"))
        self.script.update({"/is-leader": refusal, "/map": refusal, "/status": status})
        return self

    def paths(self):
        return [request["path"] for request in self.asked]

    def _next(self, path):
        with self._lock:
            said = self.script.get(path, Says(404, golden("error_no-such-path")))
            if isinstance(said, list):
                return said.pop(0) if len(said) > 1 else said[0]
            return said

    def _answer(self, handler, body):
        target = urlsplit(handler.path)
        self.asked.append({
            "method": handler.command, "path": target.path, "query": target.query,
            "headers": dict(handler.headers), "body": json.loads(body) if body else None,
        })
        said = self._next(target.path)
        time.sleep(said.pause)
        try:
            handler.send_response(said.code)
            handler.send_header("Content-Type", "application/json")
            handler.send_header("Content-Length", str(len(said.body) + said.missing))
            for name, value in said.headers.items():
                handler.send_header(name, value)
            handler.end_headers()
            if not said.drip:
                handler.wfile.write(said.body)
                handler.close_connection = said.missing > 0
                return
            for place in range(len(said.body)):
                handler.wfile.write(said.body[place:place + 1])
                time.sleep(said.drip)
        except OSError:
            handler.close_connection = True  # The client has hung up, as it should on a slow answer.
