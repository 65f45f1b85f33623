"""What the tools print where no recording shows it; the recordings are compared in ``test_recorded``."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from qluster.qnet.display import ALGORITHM, HEURISTICS, TLS, VOTE, listing, status
from qluster.qnet.messages import HeuristicsChange, NodeList
from qluster.qnet.names import DecisionAlgorithm, Heuristics, NodeListType, TlsSupported, Vote
from qluster.qnet.settings import Settings
from qluster.qnet.tlv import NodeInfo, TieBreaker
from qnet.shorthand import HIGHEST, LOWEST, naming
from qnet.stage import Stage


@pytest.mark.parametrize(
    ("tls", "certificate", "shown"),
    [
        (TlsSupported.UNSUPPORTED, True, "Unsupported"),
        (TlsSupported.SUPPORTED, True, "Supported (client certificate required)"),
        (TlsSupported.SUPPORTED, False, "Supported"),
        (TlsSupported.REQUIRED, True, "Required (client certificate required)"),
    ],
)
def test_status(tls: TlsSupported, certificate: bool, shown: str) -> None:
    stage = Stage(Settings(tls=tls, client_certificate_required=certificate, clients_max=5))
    stage.connect("a")
    short = (
        f"QNetd address:\t\t\t*:5403\nTLS:\t\t\t\t{shown}\n"
        "Connected clients:\t\t1\nConnected clusters:\t\t0\n"
    )
    assert status(stage.arbiter, "*:5403") == short
    more = "Maximum allowed clients:\t5\nMaximum send/receive size:\t32768/32768 bytes\n"
    assert status(stage.arbiter, "*:5403", verbose=True) == short + more


def test_list_without_more_words_says_what_differs_from_the_usual() -> None:
    stage = Stage()
    stage.join("n1", 1, kap=False)
    assert listing(stage.arbiter) == (
        'Cluster "qlab":\n    Algorithm:\t\tFifty-Fifty split\n    Tie-breaker:\tNode with lowest node ID\n'
        "    Node ID 1:\n        Client address:\t\t192.0.2.1:40001\n"
    )
    stage.say("n1", HeuristicsChange(seq=9, heuristics=Heuristics.FAIL))
    config = NodeList(
        seq=10,
        node_list_type=NodeListType.INITIAL_CONFIG,
        config_version=7,
        nodes=(NodeInfo(2, data_center_id=20), NodeInfo(1)),
    )
    stage.say("n1", config)
    stage.membership("n1", "a.1c", 1)
    stage.say("n1", HeuristicsChange(seq=11, heuristics=Heuristics.FAIL))
    assert listing(stage.arbiter).splitlines()[4:] == [
        "        Client address:\t\t192.0.2.1:40001",
        "        Configuration version:\t7",
        "        Configured node list:\t2 (20), 1",
        "        Membership node list:\t1",
        "        Heuristics:\t\tFail",
        "        Vote:\t\t\tNo change (ACK)",
    ]
    assert "        Ring ID:\t\ta.1c" in listing(stage.arbiter, verbose=True).splitlines()


def test_vote_that_was_never_yes_or_no_has_no_bracket() -> None:
    stage = Stage()
    stage.join("n1", 1)
    stage.config("n1", 1, 2)
    assert listing(stage.arbiter).splitlines()[-1] == "        Vote:\t\t\tAsk later"


@pytest.mark.parametrize(
    ("tie_breaker", "shown"),
    [(LOWEST, "Node with lowest node ID"), (HIGHEST, "Node with highest node ID"), (naming(7), "Node with node ID 7")],
)
def test_tie_breaker(tie_breaker: TieBreaker, shown: str) -> None:
    stage = Stage()
    stage.join("n1", 1, tie_breaker=tie_breaker)
    assert f"    Tie-breaker:\t{shown}\n" in listing(stage.arbiter)


@pytest.mark.parametrize("algorithm", DecisionAlgorithm)
def test_active_partition_is_a_matter_of_ffsplit_and_of_all(algorithm: DecisionAlgorithm) -> None:
    stage = Stage()
    stage.join("n1", 1, algorithm=algorithm, kap=True)
    kept = " (KAP Tie-breaker)" if algorithm is DecisionAlgorithm.FFSPLIT else ""
    assert f"    Algorithm:\t\t{ALGORITHM[algorithm]}{kept}\n" in listing(stage.arbiter)
    stage.join("n2", 2, algorithm=algorithm, kap=False)
    assert f"    Algorithm:\t\t{ALGORITHM[algorithm]}\n" in listing(stage.arbiter)


def test_clusters_come_in_order_of_their_first_client_and_clients_by_node() -> None:
    stage = Stage()
    for cluster, node in (("second", 5), ("first", 3), ("second", 2)):
        stage.join(f"{cluster}{node}", node, cluster=cluster)
    heads = [line for line in listing(stage.arbiter).splitlines() if line.startswith(("Cluster", "    Node"))]
    assert heads == ['Cluster "second":', "    Node ID 2:", "    Node ID 5:", 'Cluster "first":', "    Node ID 3:"]
    assert listing(stage.arbiter, cluster="first").startswith('Cluster "first":\n')
    assert "second" not in listing(stage.arbiter, cluster="first")
    assert listing(stage.arbiter, cluster="third") == ""


def test_names_cannot_fool_a_terminal() -> None:
    stage = Stage()
    stage.join("n1", 1, cluster='qlab":\n    Node ID 9:\x1b[31m\0hidden')
    assert listing(stage.arbiter).splitlines()[0] == 'Cluster "qlab":\\n    Node ID 9:\\x1b[31m":'


def test_every_word_of_the_protocol_has_a_form_to_be_shown() -> None:
    assert set(TLS) == set(TlsSupported) and set(ALGORITHM) == set(DecisionAlgorithm)
    assert set(VOTE) == set(Vote) and set(HEURISTICS) == set(Heuristics)
