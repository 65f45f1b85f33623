"""Decides how a node of the cluster is asked over REST, and when the next one is asked instead.

It must not know what the answers mean for the cluster, nor that Ansible is calling.

This is a private part of qhb.qluster and may change in any release.
"""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import ipaddress
import json
import time
import traceback
import uuid
from urllib.parse import urlsplit

try:
    import requests
    from urllib3.exceptions import HTTPError

    REQUESTS_IMPORT_ERROR = None
except ImportError:
    requests = None
    HTTPError = OSError
    REQUESTS_IMPORT_ERROR = traceback.format_exc()

BODY_SIZE_MAX = 16 * 1024 * 1024
"""A map of a large cluster has some ten kilobytes: whatever is larger is no answer of ours."""
CHUNK_SIZE = 8192
NODES_MAX = 64
"""Each node is asked in a thread of its own; clusters are far smaller."""
PASSES_MAX = 10
"""How often one request goes through the whole list of nodes before it gives up."""
PASS_PAUSE = 0.5
"""Seconds between two passes: about what an election takes with short time-outs."""

ANSWERED = (200, 201, 202, 204)
NOT_LEADER = 417
MEANINGS = {
    400: "the request is malformed",
    401: "the token is missing or wrong",
    403: "the token does not allow this",
    404: "there is no such thing",
    409: "this contradicts the state of the cluster",
    410: "leadership was lost before the change was committed; it did not happen",
    412: "the node has not joined a cluster",
    417: "the node does not lead",
    420: "not confirmed in time, the outcome is unknown",
    422: "a value is wrong",
    429: "too many requests",
    500: "a fault of the daemon",
    530: "no leader is known",
    531: "the daemon cannot answer now",
}
FINAL = (400, 401, 403, 404, 405, 409, 413, 415, 422)
"""Asking another node, or asking again, would change nothing."""


class WrongAddress(ValueError):
    """The list of nodes cannot be used; the message says which entry and why."""


class Unanswered(Exception):
    """Nothing usable came back from `url`; `refused` says that asking again is pointless."""

    def __init__(self, url, reason, code=None, refused=False):
        super().__init__(f"{url}: {reason}")
        self.url = url
        self.reason = reason
        self.code = code
        self.refused = refused


class Answer:
    """What one node said: HTTP code and JSON document."""

    def __init__(self, url, code, document):
        self.url = url
        self.code = code
        self.document = document

    @property
    def meaning(self):
        """One sentence for a person, taken from the answer itself where it has one."""
        if isinstance(self.document, dict) and self.document.get("message"):
            said = str(self.document["message"])
            faults = self.document.get("faults") or []
            if faults:
                said += ": " + "; ".join(f"{fault.get('field')} {fault.get('message')}".strip() for fault in faults)
            hint = self.document.get("hint")
            return f"{said} ({hint})" if hint else said
        return MEANINGS.get(self.code, f"HTTP status {self.code}")


def base_url(text, with_token):
    """The address of a node in its one form, `https://host:port`."""
    parts = urlsplit(text.strip())
    try:
        port = parts.port
    except ValueError:
        raise WrongAddress(f"{text!r} has no usable port. Write it as https://192.0.2.11:8080") from None
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise WrongAddress(f"{text!r} is no base URL of a node. Write it as https://192.0.2.11:8080")
    if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username or parts.password:
        raise WrongAddress(f"{text!r} has more than scheme, host and port. Write it as https://192.0.2.11:8080")
    if parts.scheme == "http" and with_token and not _is_loopback(parts.hostname):
        raise WrongAddress(f"{text!r} would carry the token unencrypted. Use https")
    return _join(parts.scheme, parts.hostname, port or (443 if parts.scheme == "https" else 80))


def base_urls(texts, with_token):
    """The addresses of all nodes, each once, in the order given."""
    urls = list(dict.fromkeys(base_url(text, with_token) for text in texts))
    if not urls:
        raise WrongAddress("the list of nodes is empty. Give at least one, as https://192.0.2.11:8080")
    if len(urls) > NODES_MAX:
        raise WrongAddress(f"the list has {len(urls)} nodes, at most {NODES_MAX} are asked")
    return urls


def _join(scheme, host, port):
    host = f"[{host}]" if ":" in host else host
    return f"{scheme}://{host}:{port}"


def _is_loopback(host):
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Client:
    """Asks the nodes at `urls`; `verify` is a file of CA certificates, True (the system's) or False."""

    def __init__(self, urls, token=None, verify=True, request_timeout=5.0, total_timeout=30.0, pause=PASS_PAUSE):
        self.urls = list(urls)
        self.request_timeout = request_timeout
        self.total_timeout = total_timeout
        self._verify = verify
        self._pause = pause
        self._headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"

    def ask_node(self, url, path, params=None, deadline=None):
        """What this very node says to a GET, whatever its code."""
        return self._exchange("GET", url, path, params, None, self._headers, deadline)

    def ask_leader_once(self, method, path, params=None, limit=None):
        """What the leader says to one request, which is not sent again: what becomes of it may take ``limit`` seconds.

        Its answer may be lost although it happens; then the failure is not refused.
        """
        leader = self.ask("GET", "/leader").document
        url = self._leader_url(Answer(self.urls[0], NOT_LEADER, {"leader": leader}))
        if url is None:
            raise Unanswered(self.urls[0], "the leader that it names cannot be used", refused=True)
        before, self.request_timeout = self.request_timeout, limit or self.request_timeout
        try:
            headers = {**self._headers, "Idempotency-Key": uuid.uuid4().hex}
            answer = self._exchange(method, url, path, params, None, headers, None)
        finally:
            self.request_timeout = before
        if answer.code not in ANSWERED:
            raise Unanswered(url, f"HTTP {answer.code}, {answer.meaning}", answer.code, refused=answer.code != 420)
        return answer

    def ask(self, method, path, params=None, body=None, raw=False):
        """What the cluster says: the next node is asked when one cannot answer.

        A node that does not lead is believed once when it names the leader.
        All tries carry the same idempotency key, so a change is made once at most.
        With ``raw`` the document of the answer is its bytes, whatever they are.
        """
        deadline = time.monotonic() + self.total_timeout
        headers = dict(self._headers)
        if method not in ("GET", "HEAD"):
            headers["Idempotency-Key"] = uuid.uuid4().hex
        last = Unanswered(self.urls[0], "it was never asked")
        for number in range(PASSES_MAX * len(self.urls)):
            place = number % len(self.urls)
            if number and place == 0:
                time.sleep(min(self._pause, max(0.0, deadline - time.monotonic())))
            if number and time.monotonic() >= deadline:
                break
            try:
                return self._ask_once(method, self.urls[place], path, params, body, headers, deadline, raw)
            except Unanswered as failure:
                if failure.refused:
                    raise
                if failure.code is not None or last.code is None:
                    last = failure  # what a node says tells more than that another cannot be reached
        raise last

    def _ask_once(self, method, url, path, params, body, headers, deadline, raw=False):
        answer = self._exchange(method, url, path, params, body, headers, deadline, raw)
        if answer.code == NOT_LEADER:
            leader = self._leader_url(answer)
            if leader is not None and leader != url:
                answer = self._exchange(method, leader, path, params, body, headers, deadline, raw)
        if answer.code in ANSWERED:
            return answer
        reason = f"HTTP {answer.code}, {answer.meaning}"
        raise Unanswered(answer.url, reason, answer.code, refused=answer.code in FINAL)

    def _leader_url(self, answer):
        """Where the leader is by the words of a node that does not lead, or None.

        Without verified certificates anybody could be named there, and would get the token:
        then only a node of the given list is followed.
        """
        leader = answer.document.get("leader") if isinstance(answer.document, dict) else None
        if not isinstance(leader, dict) or not leader.get("ip") or not leader.get("api_port"):
            return None
        try:
            named = _join(urlsplit(answer.url).scheme, str(leader["ip"]), int(leader["api_port"]))
        except (TypeError, ValueError):
            return None
        verified = bool(self._verify) and named.startswith("https://")
        return named if verified or named in self.urls else None

    def _exchange(self, method, url, path, params, body, headers, deadline, raw=False):
        now = time.monotonic()
        left = self.request_timeout if deadline is None else min(self.request_timeout, deadline - now)
        if left <= 0:
            raise Unanswered(url, "no time is left to ask it")
        try:
            # A session of its own: the environment must not bring a proxy or credentials into it.
            with requests.Session() as session:
                session.trust_env = False
                with session.request(
                    method, url + path, params=params, json=body, headers=headers, timeout=left,
                    verify=self._verify, allow_redirects=False, stream=True,
                ) as response:
                    text = _read(response, url, now + left)
                    if raw and response.status_code in ANSWERED:
                        return Answer(url, response.status_code, text)
                    return Answer(url, response.status_code, _parse(text, url, response.status_code))
        except requests.exceptions.SSLError as error:
            reason = f"the TLS certificate or handshake is refused: {_cause(error)}"
            raise Unanswered(url, reason, refused=True) from error
        except requests.exceptions.Timeout as error:
            raise Unanswered(url, f"no answer within {left:.2f} s") from error
        except (requests.exceptions.RequestException, OSError) as error:
            raise Unanswered(url, _cause(error)) from error


def _read(response, url, deadline):
    """The whole body, unless it is too large or trickles in too slowly."""
    read_some = getattr(response.raw, "read1", response.raw.read)
    chunks = []
    size = 0
    while True:
        try:
            chunk = read_some(CHUNK_SIZE)
        except (HTTPError, OSError) as error:
            raise Unanswered(url, f"the answer broke off: {error}") from error
        if not chunk:
            return b"".join(chunks)
        size += len(chunk)
        chunks.append(chunk)
        if size > BODY_SIZE_MAX:
            raise Unanswered(url, f"the answer is larger than {BODY_SIZE_MAX} bytes")
        if time.monotonic() > deadline:
            raise Unanswered(url, "the answer was not complete in time")


def _parse(text, url, code):
    if not text:
        return None
    try:
        return json.loads(text)
    except ValueError:
        if code in ANSWERED:
            reason = f"HTTP {code} with a body that is no JSON: is this the port of qluster?"
            raise Unanswered(url, reason) from None
        return None


def _cause(error):
    """The innermost reason of an exception of requests, without its object addresses."""
    while True:
        inner = getattr(error, "reason", None)
        if not isinstance(inner, BaseException) and error.args and isinstance(error.args[0], BaseException):
            inner = error.args[0]
        if not isinstance(inner, BaseException):
            break
        error = inner
    # urllib3 begins with the connection object, as `<...>: ` or as `HTTPSConnection(...): `.
    words = str(error).rpartition(">: ")[2].rpartition("): ")[2]
    return words or type(error).__name__
