"""The role `contain`: the one app that holds admin keys, and what it must know beside its orders."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from containment.providers.base import Provider
from containment.providers.gate import GateProvider
from schemas.signing import Signer
from service import adapters, incident_stages
from service.gate_port import BrokerPort
from service.role_apps import RoleApps
from streams.follow import Take, follow
from streams.gate_watch import GateWatch, watch_gates
from streams.gates_heard import Gates, GatesHeard
from streams.open_incidents import OpenIncidents
from streams.topics import Topic


async def contain(to: RoleApps, signer: Signer | None) -> None:
    """`signer`: of this worker's own orders."""
    edges, install = to.edges, to.edges.install
    trust = install.trust(own=signer.public_key if signer else "")
    providers, switches = adapters.providers(install), adapters.switches(install)
    around = await _around(to)
    await _connect_gates(to, providers, around.gates)
    app, stage = incident_stages.contain(edges, providers, switches, around, trust)
    to.add("contain", app)
    to.listeners.append(stage.on_stats)
    to.last += [stage.stop]
    to.last += [provider.close for provider in providers.values()]
    to.last += [switch.close for switch in switches.values()]


async def _around(to: RoleApps) -> incident_stages.Around:
    """Open incidents and what gates report; a gate that falls silent is told."""
    edges, install = to.edges, to.edges.install
    incidents, gates = OpenIncidents(), GatesHeard(now_ms=edges.now_ms, tick_s=time.monotonic)
    watch = GateWatch(gates, lambda: install.folder.wiring.gate, now_ms=edges.now_ms, tick_s=time.monotonic)
    await _read_and_follow(to, Topic.INCIDENTS, lambda key, value: watch.take(key, value) | incidents.take(key, value))
    await _read_and_follow(to, Topic.GATES, gates.take, caught_up=gates.caught_up)
    to.loops.run("silent-gates", lambda: watch_gates(
        watch, edges.outbox, edges.metrics, reached=edges.producer.client.force_metadata_update,
        stopping=to.loops.stopping,
    ))  # fmt: skip
    return incident_stages.Around(incidents, gates)


async def _connect_gates(to: RoleApps, providers: Mapping[str, Provider], gates: Gates) -> None:
    """Keys of Keyfuse's own, where keyfuse.yaml names a provider for them."""
    own = [provider for provider in providers.values() if isinstance(provider, GateProvider)]
    if own:
        edges, install = to.edges, to.edges.install
        port = BrokerPort(edges.outbox, gates, registry=lambda: install.registry, now_ms=edges.now_ms)
        await _read_and_follow(to, Topic.VERDICTS, port.take)
        for provider in own:
            provider.connect(port)


async def _read_and_follow(
    to: RoleApps, topic: Topic, take: Take, *, caught_up: Callable[[], None] = lambda: None
) -> None:
    """Read up to now, and followed from then on."""
    edges = to.edges
    name, count = edges.topic(topic)

    async def read(stopping: Callable[[], bool]) -> None:
        await follow(
            edges.bootstrap, name, count, take=take, changed=caught_up, stopping=stopping,
            fetch_wait_ms=edges.timing.fetch_wait_ms,
        )  # fmt: skip

    await read(lambda: True)
    to.loops.run(topic.value, lambda: read(to.loops.stopping))
