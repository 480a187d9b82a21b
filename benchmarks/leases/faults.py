"""What goes wrong in a history; each is over after a while, but death."""

from __future__ import annotations

from benchmarks.leases.world import World


def any_fault(world: World) -> None:
    """One of them, by the history's seed."""
    world.truth.faults += 1
    world.random.choice((crash, crash, cut, death, lender_stops, failover, failover, stall))(world)


def crash(world: World) -> None:
    """A gate is killed, or stands still. Its calls go on at the provider."""
    replica = world.random.choice(world.replicas)
    if replica.alive:
        replica.alive = False
        world.at(world.random.randrange(6000), lambda: world.restart(replica))


def cut(world: World) -> None:
    """No message reaches a gate, nor any of it the lender; it serves its gateway as before."""
    world.random.choice(world.replicas).cut_until = world.now + world.random.randrange(15_000)


def death(world: World) -> None:
    """A gate never comes back. One stays."""
    alive = [replica for replica in world.replicas if not replica.dead]
    if len(alive) > 1 and world.random.random() < 0.3:
        replica = world.random.choice(alive)
        replica.alive, replica.dead = False, True


def lender_stops(world: World) -> None:
    """Nobody lends for a while; another one goes on by the log."""
    world.bank.stop()
    world.at(world.random.randrange(8000), lambda: world.bank.take_over() if world.bank.down else None)


def failover(world: World) -> None:
    """Another lender takes over; the one before may not notice for a while, and lends on."""
    if not world.bank.down:
        world.bank.take_over(zombie=world.random.random() < 0.6)
        world.at(world.random.randrange(6000), world.bank.zombies_end)


def stall(world: World) -> None:
    """Usage comes in, and nobody counts it."""
    if not world.stalled:
        world.stalled = True
        world.at(world.random.randrange(12_000), world.go_on)
