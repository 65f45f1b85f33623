"""The modules' client against the daemon's own REST server, with real certificates and tokens."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
from pathlib import Path

from ansible_collections.qhb.qluster.plugins.module_utils._client import Client
from ansible_collections.qhb.qluster.plugins.module_utils._judgement import judge
from ansible_collections.qhb.qluster.plugins.module_utils._reading import ask_all, read_cluster
from ansible_collections.qhb.qluster.plugins.modules.qluster_info import DOCUMENTS
from ansible_collections.qhb.qluster.plugins.modules.qluster_quorum_info import ask_quorum, rings_of
from api import sample_status as sample
from edge.rest_world import READ, Node, running


def client_of(world, token=READ, **options) -> Client:
    host, port = world.address
    return Client([f"https://{host}:{port}"], token=token, verify=world.ca_file, **options)


async def view_of(status, folder: Path, **options):
    async with running(folder, Node(status)) as world:
        return await asyncio.to_thread(read_cluster, client_of(world, **options))


async def test_leader_of_a_well_cluster_meets_what_a_deployment_expects(tmp_path: Path) -> None:
    view = await view_of(sample.healthy(1), tmp_path)
    assert judge(view, {
        "reachable": "all", "leader": "known", "primary": "writable", "quorate": True, "replicas_streaming": "2",
        "alive": "all", "same_settings": True, "no_errors": True, "no_pending_restart": True, "pool": "primary",
    }) == []
    assert view["primary"]["url"] == view["answers"][0]["url"]


async def test_follower_leaderless_and_unjoined_nodes_are_understood(tmp_path: Path) -> None:
    found = []
    for number, status in enumerate((sample.healthy(2), sample.leaderless(2), sample.unjoined())):
        folder = tmp_path / str(number)
        folder.mkdir()
        found.append((await view_of(status, folder))["answers"][0])
    assert [answer["is_leader"] for answer in found] == [417, 530, 412]
    assert [answer["joined"] for answer in found] == [True, True, False]
    assert [answer["writable"] for answer in found] == [False, False, False]
    assert found[2]["message"] == sample.unjoined().own.message


async def test_wrong_token_is_a_final_refusal(tmp_path: Path) -> None:
    view = await view_of(sample.healthy(1), tmp_path, token="not-the-token")
    assert [(each["code"], each["refused"]) for each in view["unreached"]] == [(401, True)]


async def test_votes_are_understood_of_a_node_that_counts_them_and_of_one_that_has_not_joined(tmp_path: Path) -> None:
    def ask(client):
        return ask_all(client, ask_quorum)[client.urls[0]]

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    async with running(tmp_path / "a", Node(sample.healthy(1))) as world:
        said = await asyncio.to_thread(ask, client_of(world))
    assert (said["quorate"], said["node"], said["binds"], said["differs"]) == (True, 1, "list", "")
    assert rings_of([{"url": "one", "quorum": said}]) == [
        {"ring": "1.1a", "nodes": [1, 2, 3], "quorate": True, "reported_by": ["one"]}
    ]
    async with running(tmp_path / "b", Node(sample.unjoined())) as world:
        refused = await asyncio.to_thread(ask, client_of(world))
    assert (refused.code, refused.refused) == (412, False)


async def test_every_document_of_the_module_is_served(tmp_path: Path) -> None:
    async with running(tmp_path, Node(sample.healthy(1))) as world:
        client = client_of(world)
        for name in DOCUMENTS:
            for consistency in ("local", "lease", "leader"):
                params = {"consistency": consistency}
                answer = await asyncio.to_thread(client.ask, "GET", "/" + name, params)
                assert isinstance(answer.document, dict), name
