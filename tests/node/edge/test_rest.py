"""The server and the client on loopback: TLS, tokens, limits, pages, snapshots."""

# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import json
import ssl
from pathlib import Path

import aiohttp
import pytest
import trustme
from api import sample_status as sample
from edge.rest_world import IP, OPERATE, READ, Node, World, issue, running
from msgspec.structs import replace as changed
from qluster import clients
from qluster.api import routes
from qluster.edge import client
from qluster.edge.client import ClientError, HttpAnswer
from qluster.edge.rest import RestServer, RestUnavailable
from qluster.edge.rest import server as rest


async def ask(world: World, method: str, path: str, token: str = OPERATE, **more) -> HttpAnswer:
    return await client.ask(world.address, method, path, ca_file=world.ca_file, token=token, **more)


def trusting(world: World) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=world.ca_file)


async def raw(world: World, text: bytes) -> bytes:
    """What the server says to these bytes until it closes the connection."""
    reader, writer = await asyncio.open_connection(*world.address, ssl=trusting(world))
    writer.write(text)
    async with asyncio.timeout(10):
        said = await reader.read()
    writer.close()
    return said


async def test_map_is_served_over_tls_with_security_headers(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        answer = await ask(world, "GET", "/map", READ)
    assert answer.code == 200
    assert answer.document()["cluster"]["leader"] == 1
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["server"] == "qluster"


async def test_tokens_are_asked_for_and_never_reach_the_handler(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        codes = [
            (await ask(world, "GET", "/map", "")).code,
            (await ask(world, "GET", "/map", "read-0123456780")).code,
            (await ask(world, "DELETE", "/node/3", READ)).code,
            (await ask(world, "DELETE", "/node/3", OPERATE)).code,
            (await ask(world, "GET", "/is-leader", "")).code,
        ]
    assert codes == [401, 401, 403, 200, 200]
    assert all("authorization" not in request.headers for request in world.node.asked)
    assert not any(READ in repr(request) or OPERATE in repr(request) for request in world.node.asked)


async def test_change_reaches_the_node_with_its_key(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        answer = await ask(world, "POST", "/config", body={"cluster.node-timeout": "20s"}, key="k-1")
    assert (answer.code, answer.document()["index"]) == (200, 43)
    assert world.node.told == [clients.SettingsChangeRequested(1, "k-1", {"cluster.node-timeout": "20s"})]


async def test_head_has_the_code_and_no_body(tmp_path: Path) -> None:
    async with running(tmp_path, Node(sample.healthy(2))) as world:
        answer = await ask(world, "HEAD", "/is-leader", "", follow=False)
    assert (answer.code, answer.body) == (417, b"")


async def test_client_follows_to_the_leader_once(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    async with running(tmp_path / "a") as leader, running(tmp_path / "b") as other:
        for_both = tmp_path / "both.crt"
        for_both.write_bytes(Path(leader.ca_file).read_bytes() + Path(other.ca_file).read_bytes())
        nodes = [changed(node, ip=IP, api_port=leader.config.api_port) for node in sample.healthy().nodes]
        other.node.status = changed(sample.healthy(2), nodes=nodes)
        other.node.outcome = lambda event: clients.NotLeader(1)
        answer = await client.ask(
            other.address, "POST", "/leader", ca_file=str(for_both), token=OPERATE, query={"node": "2"}
        )
    assert answer.code == 200
    assert leader.node.told == [clients.LeaderChangeRequested(1, "", 2)]


async def test_client_of_another_authority_is_refused_with_the_reason(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        stranger = tmp_path / "stranger.crt"
        trustme.CA().cert_pem.write_to_path(stranger)
        with pytest.raises(ClientError, match="certificate is not of this cluster"):
            await client.ask(world.address, "GET", "/map", ca_file=str(stranger), token=READ)
    assert world.node.asked == []


async def test_client_says_when_nobody_listens(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        await world.server.stop()
        with pytest.raises(ClientError, match="does the daemon run there"):
            await ask(world, "GET", "/map")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_plain_http_and_old_tls_are_refused(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        reader, writer = await asyncio.open_connection(*world.address)
        writer.write(b"GET /is-leader HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await reader.read() == b""
        writer.close()
        old = trusting(world)
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection(*world.address, ssl=old)
    assert world.node.asked == []


async def test_reload_shows_the_new_certificate_and_token(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        before = await _certificate(world)
        issue(world.authority, tmp_path)
        (tmp_path / "read.token").write_text("read-new\n")
        world.server.reload()
        assert await _certificate(world) != before
        assert (await ask(world, "GET", "/map", "read-new")).code == 200
        assert (await ask(world, "GET", "/map", READ)).code == 401


async def test_reload_of_a_wrong_pair_keeps_the_old_one(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        before = await _certificate(world)
        issue(trustme.CA(), tmp_path)
        (tmp_path / "api.key").write_bytes(world.authority.issue_cert(IP).private_key_pem.bytes())
        with pytest.raises(RestUnavailable, match="are no pair"):
            world.server.reload()
        assert await _certificate(world) == before


async def _certificate(world: World) -> bytes:
    _, writer = await asyncio.open_connection(*world.address, ssl=trusting(world))
    certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return bytes(certificate)


async def test_port_in_use_is_said_clearly(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        second = RestServer(world.config, world.node.handle, world.node.provide, world.node.judge)
        with pytest.raises(RestUnavailable, match=f"{world.config.api_port} is in use"):
            await second.start()


async def test_foreign_address_is_said_clearly(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        config = changed(world.config, ip="192.0.2.1")
        with pytest.raises(RestUnavailable, match=r"192\.0\.2\.1 is no address of this host"):
            await RestServer(config, world.node.handle, world.node.provide, world.node.judge).start()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "must hold one token"),
        ("two words", "must hold one token"),
        (OPERATE, "hold the same token"),
        (None, "cannot be read"),
    ],
    ids=["empty", "two", "same", "missing"],
)
async def test_bad_token_file_is_said_clearly(tmp_path: Path, content: str | None, message: str) -> None:
    async with running(tmp_path) as world:
        path = tmp_path / "read.token"
        path.unlink() if content is None else path.write_text(content)
        with pytest.raises(RestUnavailable, match=message):
            world.server.reload()


async def test_large_body_is_refused_before_the_node_sees_it(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        answer = await ask(world, "POST", "/config", body={"a": "x" * routes.BODY_SIZE_MAX})
        chunked = await raw(
            world,
            b"POST /config HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            + b"8000\r\n"
            + b"x" * 0x8000
            + b"\r\n"
            + b"8001\r\n"
            + b"x" * 0x8001
            + b"\r\n",
        )
    assert answer.code == 413
    assert b" 413 " in chunked.splitlines()[0]
    assert world.node.asked == []


async def test_slow_body_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "BODY_SECONDS", 0.2)
    async with running(tmp_path) as world:
        said = await raw(world, b"POST /config HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
    assert b" 408 " in said.splitlines()[0]
    assert world.node.asked == []


async def test_client_that_asks_before_it_sends_is_told_to_go_on(tmp_path: Path) -> None:
    head = (
        b"POST /config HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nConnection: close\r\n"
        b"Authorization: Bearer " + OPERATE.encode() + b"\r\n"
        b"Content-Type: application/json\r\nContent-Length: 9\r\n\r\n"
    )
    async with running(tmp_path) as world, asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(*world.address, ssl=trusting(world))
        writer.write(head)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        writer.write(b'{"a": 1}\n')
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        writer.close()


async def test_malformed_request_costs_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with running(tmp_path) as world:
        said = await raw(world, b"this is no request\r\n\r\n")
        assert (await ask(world, "GET", "/health", "")).code == 200
    assert b" 400 " in said.splitlines()[0]
    assert not any(record.exc_info for record in caplog.records)


async def test_fault_of_the_handler_is_a_500_with_a_traceback_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path) as world:
        world.node.outcome = lambda event: 1 // 0
        answer = await ask(world, "DELETE", "/node/3")
        assert (await ask(world, "GET", "/health", "")).code == 200
    assert (answer.code, answer.document()["error"]) == (500, "fault")
    assert b"ZeroDivision" not in answer.body
    assert any(record.exc_info for record in caplog.records)


async def test_overload_answers_531_but_still_answers_probes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest, "REQUESTS_MAX", 2)
    async with running(tmp_path) as world:
        world.node.gate = asyncio.Event()
        waiting = [asyncio.create_task(ask(world, "GET", "/map")) for _ in range(2)]
        while len(world.node.asked) < 2:
            await asyncio.sleep(0.01)
        refused = await ask(world, "GET", "/map")
        at_once = await ask(world, "GET", "/is-leader", "")
        head = b"GET /is-leader HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        probe = asyncio.create_task(raw(world, head))  # takes the long way, and counts
        while len(world.node.asked) < 3:
            await asyncio.sleep(0.01)
        world.node.gate.set()
        codes = [(await each).code for each in waiting]
        assert (await probe).startswith(b"HTTP/1.1 200 ")
    assert (refused.code, refused.headers["retry-after"]) == (531, "1")
    assert [at_once.code, *codes] == [200, 200, 200]


async def test_a_connection_too_many_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "CONNECTIONS_MAX", 1)
    async with running(tmp_path) as world:
        _, first = await asyncio.open_connection(*world.address, ssl=trusting(world))
        with pytest.raises((ClientError, ConnectionError)):
            await ask(world, "GET", "/health", "")
        first.close()
        await first.wait_closed()
        async with asyncio.timeout(5):
            while True:
                try:
                    assert (await ask(world, "GET", "/health", "")).code == 200
                    break
                except ClientError:
                    await asyncio.sleep(0.05)


async def test_handler_without_an_answer_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "ANSWER_SECONDS", 0.1)
    monkeypatch.setattr(rest, "SWEEP_INTERVAL", 0.05)
    async with running(tmp_path) as world:
        world.node.gate = asyncio.Event()
        codes = [(await ask(world, "GET", "/map")).code, (await ask(world, "DELETE", "/node/3")).code]
    assert codes == [531, 420]


async def test_request_under_way_ends_before_the_server_stops(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        world.node.gate = asyncio.Event()
        waiting = asyncio.create_task(ask(world, "GET", "/map"))
        while not world.node.asked:
            await asyncio.sleep(0.01)
        stopping = asyncio.create_task(world.server.stop())
        await asyncio.sleep(0)
        world.node.gate.set()
        await stopping
        assert (await waiting).code == 200


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
async def test_swagger_is_served_from_the_package(tmp_path: Path, encoding: str) -> None:
    async with running(tmp_path) as world:
        connector = aiohttp.TCPConnector(ssl=trusting(world))
        async with aiohttp.ClientSession(connector=connector, auto_decompress=True) as session:
            found = {}
            for path in (
                "/swagger",
                "/swagger/start.js",
                "/swagger/swagger-ui.css",
                "/swagger/swagger-ui-bundle.js",
            ):
                url = client.base_url(world.address) + path
                async with session.get(url, headers={"Accept-Encoding": encoding}) as answer:
                    found[path] = (answer.status, answer.headers, await answer.read())
    assert {code for code, _, _ in found.values()} == {200}
    page = found["/swagger"]
    assert page[1]["Content-Type"].startswith("text/html")
    assert "script-src" not in page[1]["Content-Security-Policy"]
    assert b"https://" not in page[2] and b"http://" not in page[2]
    _, headers, bundle = found["/swagger/swagger-ui-bundle.js"]
    assert headers["Content-Type"].startswith("text/javascript")
    assert headers.get("Content-Encoding", "identity") == encoding
    assert b"SwaggerUIBundle" in bundle and len(bundle) > 1_000_000


async def test_nothing_else_of_the_package_is_served(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        for path in (
            "/swagger/ORIGIN.txt",
            "/swagger/../routes.py",
            "/swagger/%2e%2e/routes.py",
            "/swagger//x",
        ):
            said = await raw(world, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            assert b" 404 " in said.splitlines()[0], path


async def test_snapshot_is_fetched_whole(tmp_path: Path) -> None:
    content = bytes(range(256)) * 8192
    async with running(tmp_path, Node(snapshot=content)) as world:
        assert await client.fetch_snapshot(world.address, OPERATE, world.ca_file, 30) == content


async def test_snapshot_goes_on_where_it_stopped(tmp_path: Path) -> None:
    content = bytes(range(256)) * 8192
    async with running(tmp_path, Node(snapshot=content)) as world:
        tag = (await ask(world, "HEAD", "/snapshot")).headers["etag"]
        connector = aiohttp.TCPConnector(ssl=trusting(world))
        async with aiohttp.ClientSession(connector=connector) as session:
            partial = client._Partial(tag, bytearray(content[:1_000_000]))
            await client._fetch(session, world.address, OPERATE, 1, partial)
            assert partial.checked() == content
            changed_since = client._Partial('"another"', bytearray(b"other"))
            await client._fetch(session, world.address, OPERATE, 1, changed_since)
            assert changed_since.checked() == content
    asked = [request.headers.get("range") for request in world.node.asked]
    assert asked == [None, "bytes=1000000-", "bytes=5-"]


async def test_snapshot_beyond_its_end_is_416(tmp_path: Path) -> None:
    async with running(tmp_path, Node(snapshot=b"abc")) as world:
        connector = aiohttp.TCPConnector(ssl=trusting(world))
        headers = {"Authorization": f"Bearer {OPERATE}", "Range": "bytes=3-"}
        async with aiohttp.ClientSession(connector=connector) as session:
            url = client.base_url(world.address) + "/snapshot"
            async with session.get(url, headers=headers) as answer:
                assert answer.status == 416
                assert answer.headers["Content-Range"] == "bytes */3"
                assert json.loads(await answer.read())["error"] == "no-such-range"


async def test_missing_snapshot_is_said_with_the_reason(tmp_path: Path) -> None:
    async with running(tmp_path, Node(snapshot=None)) as world:
        with pytest.raises(ClientError, match="404: this node has no snapshot at or after index 9"):
            await client.fetch_snapshot(world.address, OPERATE, world.ca_file, 9)
        with pytest.raises(ClientError, match="403"):
            await client.fetch_snapshot(world.address, READ, world.ca_file, 9)


async def test_too_large_snapshot_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "SNAPSHOT_SIZE_MAX", 1000)
    async with running(tmp_path, Node(snapshot=b"x" * 1001)) as world:
        with pytest.raises(ClientError, match="exceeds 1000 bytes"):
            await client.fetch_snapshot(world.address, OPERATE, world.ca_file)


async def test_wrong_ca_file_is_said_clearly(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        with pytest.raises(ClientError, match="cannot be used"):
            await client.ask(world.address, "GET", "/map", ca_file=str(tmp_path / "none.crt"))


async def test_openapi_document_is_served_without_a_token(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        answer = await ask(world, "GET", "/openapi.json", "")
    assert answer.document()["openapi"] == "3.1.0"
