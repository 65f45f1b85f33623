"""Links in a network that loses, repeats, delays and changes: everything arrives once, for what was lost."""
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from math import inf

import pytest
from qluster.transport.link import LinkSettings
from transport.lossy_world import Faults, Network, introduced, listeners, offer, speak

FAULTS = {
    "clean": Faults(),
    "reordered": Faults(delay_max=0.020),
    "repeated": Faults(repeated=0.3),
    "lossy": Faults(lost=0.05),
    "changed": Faults(changed=0.05),
    "everything": Faults(lost=0.1, repeated=0.1, changed=0.03, delay_max=0.008),
}


@pytest.mark.parametrize("faults", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("size", [400, 64_000], ids=["small", "large"])
@pytest.mark.parametrize("seed", range(3))
def test_every_message_arrives_once_at_everyone(faults: Faults, size: int, seed: int) -> None:
    network = introduced(4, seed, faults)
    sent = speak(network, 60 if size == 400 else 15, size)
    # With nothing sent afterwards the loss of the last small message cannot be noticed.
    network.faults = Faults()
    sent |= speak(network, 1, 400)
    for heard in listeners(network):
        assert set(heard) == sent
        assert max(heard.values()) == 1
    assert network.total("messages_given_up") == network.total("messages_evicted") == 0


@pytest.mark.parametrize("seed", range(3))
def test_half_of_all_lost_is_still_never_wrong(seed: int) -> None:
    """Not everything arrives then, but nothing twice, nothing mutilated, and the links come to rest."""
    network = introduced(4, seed, Faults(lost=0.5))
    sent = speak(network, 30, 64_000)
    for heard in listeners(network):
        assert set(heard) <= sent
        assert max(heard.values()) == 1
        assert len(heard) >= 10


def test_network_that_only_reorders_causes_hardly_any_repairs() -> None:
    network = Network(4, Faults(delay_max=0.002), 1)
    speak(network, 20, 64_000)
    repairs = network.total("repairs_unicast") + network.total("repairs_multicast")
    assert repairs < network.total("datagrams_sent") * 0.02


def test_repair_costs_about_what_was_lost() -> None:
    """Losses at each of five receivers: each chunk sent again must be one that somebody missed."""
    network = Network(6, Faults(lost=0.02), 1)
    speak(network, 20, 64_000)
    first = network.total("datagrams_sent") - network.total("requests_sent")
    repairs = network.total("repairs_unicast") + network.total("repairs_multicast")
    first -= repairs
    assert 0.02 * 5 * 0.5 * first <= repairs <= 0.02 * 5 * 1.5 * first


@pytest.mark.parametrize("seed", range(2))
def test_sender_slows_down_for_receivers_that_cannot_keep_up(seed: int) -> None:
    """Without that the repairs would fill the receiver's buffer again, for ever."""
    network = introduced(3, seed, Faults(capacity=30e6), LinkSettings(pacing_rate=100_000_000))
    sender = next(iter(network.links.values()))
    sent, rates = set(), []
    while len(sent) < 400:
        sent |= offer(network, 1, 64_000)
        while sender.queued > 10:
            network.run(network.now + 0.001)
        rates.append(sender.rate)
    network.run()
    sent |= speak(network, 1, 400)
    assert all(set(heard) == sent for heard in listeners(network))
    repairs = network.total("repairs_unicast") + network.total("repairs_multicast")
    assert 0 < repairs < 0.7 * (network.total("datagrams_sent") - repairs)
    assert min(rates) < 50e6
    network.now += 5.0
    sent |= speak(network, 1, 400)
    assert sender.rate == 100e6


def test_sender_slows_down_even_when_it_forgets_faster_than_it_is_asked() -> None:
    """At the default rate what is remembered is sent within 30 ms, and a receiver's backlog is older than that."""
    network = introduced(3, 1, Faults(capacity=30e6))
    sender, rates = next(iter(network.links.values())), []
    for _ in range(600):
        offer(network, 1, 64_000)
        while sender.queued > 10:
            network.run(network.now + 0.001)
        rates.append(sender.rate)
    assert network.total("repairs_unavailable") > 0
    assert min(rates) <= LinkSettings().pacing_rate / 2


def test_losses_of_a_bad_network_do_not_slow_the_sender_down() -> None:
    network = introduced(3, 1, Faults(lost=0.02))
    speak(network, 40, 64_000, pause=0.001)
    assert next(iter(network.links.values())).rate == LinkSettings().pacing_rate


def test_slow_network_is_not_asked_for_what_is_still_to_be_sent() -> None:
    network = Network(3, Faults(), 1, LinkSettings(pacing_rate=64 * 1024))
    sent = speak(network, 3, 64_000)
    assert all(set(heard) == sent for heard in listeners(network))
    assert network.total("requests_sent") == network.total("repairs_unicast") == 0


def test_node_that_joins_late_does_not_ask_for_the_past() -> None:
    network = Network(3, Faults(), 1)
    late, link = list(network.links.items())[2]
    del network.links[late]
    speak(network, 50, 400)
    network.links[late] = link
    sent = speak(network, 1, 400)
    assert set(network.heard[late]) == sent
    assert link.counters["requests_sent"] == 0


def test_receiver_that_was_cut_off_gives_up_what_is_too_old() -> None:
    network = Network(2, Faults(), 1)
    listener = list(network.links.values())[1]
    speak(network, 5, 400)
    network.faults = Faults(lost=1.0)
    speak(network, 200, 400)
    network.run(network.now + 5.0)
    network.now += 5.0
    network.faults = Faults()
    speak(network, 2, 400)
    assert listener.counters["messages_missed"] == 200 - 64
    assert listener.counters["messages_given_up"] == 64
    assert listener.counters["messages_received"] == 7
    assert listener.wake_at == inf


def test_same_seed_same_run() -> None:
    runs = []
    for _ in range(2):
        network = Network(4, FAULTS["everything"], 7)
        speak(network, 10, 20_000)
        runs.append((network.now, [link.counters for link in network.links.values()]))
    assert runs[0] == runs[1]
