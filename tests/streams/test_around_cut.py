"""Around a cut: the backup is live and announced before it, or all is as it was; and back again after a restore."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from containment.backup import Backup, Begun
from containment.orders import sign
from containment.providers.errors import Reason, Refused
from containment.providers.memory import Fault, MemoryProvider, unavailable
from containment.switches.base import Turn
from containment.switches.memory import MemorySwitch
from schemas.config import ResponsesConfig
from schemas.records import AuditRow, Command, Mark, Outcome, Step, StepState
from schemas.verdict import GateVerdict
from streams.contain import ContainDeps, ContainStage
from streams.gates_heard import Gates, NoGates, Reached
from streams.metrics import Metrics
from streams.switch_runs import Backups, order_of
from streams.topics import Topic
from tests.streams.world import FACTS, KEY, SIGNER, T0, TRUST, MemoryOutbox, MemoryShards

SPARE, OTHER = "fp1:" + "b" * 32, "fp1:" + "c" * 32
OLD, NEW = "value-of-the-key", "value-of-the-backup"
RETRY = {"attempts": 2, "wait_initial_s": 0.01, "verify_s": 0.2}


class Watched(MemoryProvider):
    """Notes at every cut how the world stood."""

    def __init__(self, world: World, keys: tuple[str, ...]) -> None:
        super().__init__("memory", keys)
        self.world = world

    async def snapshot(self, ref: str) -> dict[str, str]:
        self.world.on_call(f"snapshot {ref}")
        return await super().snapshot(ref)

    async def apply(self, step: Step, ref: str) -> str:
        if ref in {KEY, OTHER} and step in {"disable", "revoke"}:
            self.world.at_the_cut.append(self.world.look())
        return await super().apply(step, ref)


class Vault(MemorySwitch):
    """Tells the world of every call."""

    def __init__(self, world: World, secrets: dict[str, str]) -> None:
        super().__init__("vault", secrets)
        self.world = world

    def _begin(self, call: str, turn: Turn) -> None:
        self.world.on_call(f"{call} {turn.secret}")
        super()._begin(call, turn)


class World:
    """A contain stage with two keys that share a backup, which is kept inactive until it is needed."""

    def __init__(self, freeze_file: Path, **backup: Any) -> None:
        self.store, self.outbox = MemoryShards(), MemoryOutbox()
        self.at_the_cut: list[tuple[bool, str, str]] = []
        self.provider = Watched(self, (KEY, SPARE, OTHER))
        self.provider._level[SPARE] = "disable"
        self.on_call: Callable[[str], object] = lambda _: None
        self.vault = Vault(self, {"shop": OLD, "shop-spare": NEW, "ads": OLD, "ads-spare": NEW})
        self.freeze_file = freeze_file
        self.open: set[str] = set()
        self.registered = {KEY, OTHER, SPARE, *(f"key-{number}" for number in range(57))}
        self.backups = {key: self.spare(key, place) for key, place in ((KEY, "shop"), (OTHER, "ads"))}
        self.responses = ResponsesConfig.model_validate({"mode": "auto", "retry": RETRY, "backup": backup})
        self.now_ms = T0
        self.gates: Gates = NoGates()
        self.stage = self.new_stage()

    def spare(self, key: str, place: str, **changes: Any) -> Backup:
        places = (("vault", Turn(key, SPARE, place, f"{place}-spare")),)
        return Backup(SPARE, FACTS, places)._replace(**changes)

    def new_stage(self) -> ContainStage:
        return ContainStage(
            ContainDeps(
                responses=lambda: self.responses, providers={"memory": self.provider}, store=self.store,
                outbox=self.outbox, metrics=Metrics(), now_ms=lambda: self.now_ms, sleep=self.sleep,
                freeze_file=self.freeze_file, registered=lambda: self.registered, trust=TRUST,
                backups=Backups(
                    of=self.backups.get, users=lambda spare: [k for k, b in self.backups.items() if b.key_id == spare],
                    switches={"vault": self.vault}, open_incident=self.open.__contains__,
                ),
                gates=self.gates,
            )
        )  # fmt: skip

    async def sleep(self, seconds: float) -> None:
        self.now_ms += round(seconds * 1000)
        await asyncio.sleep(0)

    async def run(self, command: Command) -> Outcome:
        """How it ended."""
        await self.stage.on_record(sign(command, SIGNER, now_ms=self.now_ms).to_bytes(), done=lambda: None)
        await self.stage.drain()
        return [o for o in self.outbox.of(Topic.OUTCOMES) if isinstance(o, Outcome) and o.step == command.step][-1]

    def freeze_at(self, call: str) -> None:
        """The freeze file appears with this call."""
        self.on_call = lambda made: self.freeze_file.write_text("x") if made == call else None

    def look(self) -> tuple[bool, str, str]:
        """Is the backup active, what do users of the key read, what do gates say."""
        verdict = self.verdict()
        gates = f"{verdict.state} {verdict.use_instead == SPARE}" if verdict else "none"
        return self.provider._level.get(SPARE) == "active", self.vault.secrets["shop"], gates

    def stand(self) -> tuple[dict[str, str], dict[str, str], int]:
        """All that a switch can change."""
        return dict(self.provider._level), dict(self.vault.secrets), len(self.outbox.of(Topic.VERDICTS))

    def verdict(self, key_id: str = KEY) -> GateVerdict | None:
        told = [v for v in self.outbox.of(Topic.VERDICTS) if isinstance(v, GateVerdict) and v.key_id == key_id]
        return told[-1] if told else None

    def switches(self) -> list[Outcome]:
        """What people were told of the switch."""
        return [o for o in self.outbox.of(Topic.OUTCOMES) if isinstance(o, Outcome) and o.step == "switch"]

    def marks(self) -> list[Mark]:
        return [m for m in self.outbox.of(Topic.MARKS) if isinstance(m, Mark)]

    def level(self, key_id: str) -> str:
        return self.provider._level[key_id]


LIVE, AS_BEFORE = (True, NEW, "deny True"), (False, OLD, "none")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "FREEZE")


@pytest.fixture
def careful(tmp_path: Path) -> World:
    """It waits for a person when the switch fails."""
    return World(tmp_path / "FREEZE", if_switch_fails="wait")


def command(step: Step = "disable", *, at_s: int = 0, key_id: str = KEY, by: str = "keyfuse", **facts: Any) -> Command:
    return Command(
        command_id=Command.id_of("inc_1", key_id, step), at_ms=T0 + at_s * 1000, incident_id="inc_1", key_id=key_id,
        step=step, automatic=by == "keyfuse", reversible=step != "revoke", mode="auto", by=by,
        approvals=() if by == "keyfuse" else (by, "bob"), reason="two families agree",
        facts=FACTS.model_copy(update=facts),
    )  # fmt: skip


class TestBeforeTheCut:
    async def test_the_backup_is_active_and_announced_before_the_key_is_cut(self, world: World) -> None:
        outcome = await world.run(command())
        assert world.at_the_cut == [LIVE]
        assert (outcome.state, world.level(KEY)) == (StepState.CONFIRMED, "disable")
        assert outcome.detail.endswith(f"its users were switched to the backup {SPARE} before")

    async def test_people_read_of_the_switch_and_where_users_were_told(self, world: World) -> None:
        await world.run(command())
        [told] = world.switches()
        assert told.state is StepState.CONFIRMED
        assert told.detail == f"its users go on with the backup {SPARE}, told at vault (shop), the gates"

    async def test_every_call_of_the_switch_is_in_the_audit(self, world: World) -> None:
        await world.run(command())
        rows = [row for row in world.outbox.of(Topic.AUDIT) if isinstance(row, AuditRow)]
        calls = [(row.key_id, row.detail["provider"]) for row in rows if row.action == "switch.apply"]
        assert calls == [(SPARE, "memory"), (KEY, "vault")]
        assert [row.result for row in rows if row.action == "switch"] == ["confirmed"]
        assert len({row.audit_id for row in rows}) == len(rows)

    async def test_a_key_at_the_end_of_its_life_sends_nobody_to_its_backup(self, world: World) -> None:
        outcome = await world.run(command(by="ann").model_copy(update={"alone": True}))
        assert (outcome.state, world.level(KEY), world.level(SPARE)) == (StepState.CONFIRMED, "disable", "disable")
        assert (world.switches(), outcome.detail.count("backup")) == ([], 0)

    async def test_an_active_backup_is_left_as_it_is(self, world: World) -> None:
        world.provider._level[SPARE] = "active"
        await world.run(command())
        assert world.at_the_cut == [LIVE]
        assert world.provider.effective[SPARE] == 0

    async def test_a_harder_step_on_a_key_that_was_cut_switches_nothing_again(self, world: World) -> None:
        await world.run(command())
        told = len(world.switches())
        outcome = await world.run(command("revoke", at_s=9, by="ana"))
        assert (outcome.state, len(world.switches())) == (StepState.CONFIRMED, told)
        assert world.at_the_cut == [LIVE, LIVE]

    async def test_a_step_that_cuts_nothing_switches_nothing(self, world: World) -> None:
        await world.run(command("throttle"))
        assert world.look() == (False, OLD, "throttle False")

    async def test_what_is_only_considered_says_what_would_come_first(self, world: World) -> None:
        outcome = await world.run(command().model_copy(update={"mode": "observe"}))
        assert outcome.detail.endswith(f"; first its users go on with the backup {SPARE}")
        assert world.look() == AS_BEFORE

    async def test_the_backup_is_expected_to_be_busy_for_a_day_and_does_not_look_stolen_itself(
        self, world: World
    ) -> None:
        await world.run(command())
        [mark] = world.marks()
        assert (mark.key_id, mark.verdict, mark.by) == (SPARE, "expected", "keyfuse")
        assert mark.until_ms - mark.from_ms == 86_400_000
        assert "origin" in mark.families

    @pytest.mark.parametrize(("settle_h", "hours"), [(2, [2]), (0, [])])
    async def test_how_long_is_a_setting(self, settle_h: float, hours: list[int], tmp_path: Path) -> None:
        world = World(tmp_path / "FREEZE", settle_h=settle_h)
        await world.run(command())
        assert [(mark.until_ms - mark.from_ms) // 3_600_000 for mark in world.marks()] == hours

    @pytest.mark.parametrize("head_start_s", [0, 45])
    async def test_users_may_get_a_head_start(self, head_start_s: float, tmp_path: Path) -> None:
        world = World(tmp_path / "FREEZE", head_start_s=head_start_s)
        await world.run(command())
        assert (world.now_ms - T0) / 1000 == head_start_s
        assert world.at_the_cut == [LIVE]
        await world.run(command("revoke", at_s=60, by="ana"))  # nobody is told again
        assert (world.now_ms - T0) / 1000 == head_start_s

    async def test_a_key_without_a_backup_is_cut_as_ever_and_gates_are_told(self, world: World) -> None:
        world.backups.clear()
        outcome = await world.run(command())
        assert (outcome.state, world.look()) == (StepState.CONFIRMED, (False, OLD, "deny False"))


BAD = [
    ("is cut itself", lambda w: w.store.values.update({f"cuts:{SPARE}".encode(): b'{"disable":{}}'})),
    ("has an open incident itself", lambda w: w.open.add(SPARE)),
    ("is not in keys.yaml", lambda w: w.backups.update({KEY: w.spare(KEY, "shop", facts=None)})),
    ("named as its own backup", lambda w: w.backups.update({KEY: w.spare(KEY, "shop", key_id=KEY)})),
    ("stops its backup", lambda w: w.backups.update({KEY: w.spare(KEY, "shop", stopped_by=frozenset({"disable"}))})),
    ("were sent away from it", lambda w: w.store.values.update({
        f"backup:{SPARE}".encode(): b'{"backup":"k9","pre":{"activate":{}}}'})),
    ("cannot come back", lambda w: w.provider._level.update({SPARE: "revoke"})),
    ("does not know this key", lambda w: w.provider._level.pop(SPARE)),
    ("there is no such secret", lambda w: w.vault.secrets.pop("shop-spare")),
    ("no switch named slack", lambda w: w.backups.update({
        KEY: w.spare(KEY, "shop", places=(("slack", Turn(KEY, SPARE, "", "")),))})),
    ("answered 503", lambda w: w.vault.faults.extend([unavailable()] * 50)),
    ("no permission", lambda w: w.vault.faults.extend([None, None, Refused(Reason.FORBIDDEN, "no permission")])),
]  # fmt: skip
each_failure = pytest.mark.parametrize(("words", "spoil"), BAD, ids=[words for words, _ in BAD])


class TestWhenTheSwitchFails:
    @each_failure
    async def test_a_person_is_waited_for_where_that_is_set_and_all_is_as_before(
        self, words: str, spoil: Any, careful: World
    ) -> None:
        spoil(careful)
        before = careful.stand()
        outcome = await careful.run(command())
        assert (outcome.state, outcome.rule, careful.level(KEY)) == (StepState.REFUSED, "backup", "active")
        [told] = careful.switches()
        assert told.state is StepState.IRREVOCABLE
        assert words in told.detail
        assert "NOT cut: `keyfuse contain" in told.detail
        assert careful.stand() == before
        assert careful.marks() == []

    @each_failure
    async def test_the_key_is_cut_all_the_same_by_default_and_people_are_paged(
        self, words: str, spoil: Any, world: World
    ) -> None:
        spoil(world)
        outcome = await world.run(command())
        assert (outcome.state, world.level(KEY)) == (StepState.CONFIRMED, "disable")
        [told] = world.switches()
        assert (told.state, words in told.detail) == (StepState.IRREVOCABLE, True)
        assert "The key is cut all the same" in told.detail
        live, reads, gates = world.look()
        assert (reads, gates) == (OLD, f"deny {live}")  # where the backup is live, gates at least answer with it

    async def test_as_many_as_can_be_are_switched_when_the_key_is_cut_all_the_same(self, world: World) -> None:
        broken = ("vault", Turn(KEY, SPARE, "nowhere", "shop-spare"))
        world.backups[KEY] = world.spare(KEY, "shop", places=(broken, *world.backups[KEY].places))
        await world.run(command())
        assert world.look() == LIVE
        assert [mark.key_id for mark in world.marks()] == [SPARE]  # or it would look stolen in its turn
        await world.run(command("restore", at_s=9, by="ana"))
        assert world.look() == (False, OLD, "allow False")
        assert [mark.withdrawn for mark in world.marks()] == [False, True]
        assert len({mark.mark_id for mark in world.marks()}) == 1

    async def test_an_environment_may_decide_otherwise(self, tmp_path: Path) -> None:
        world = World(tmp_path / "FREEZE", if_switch_fails_in={"prod": "wait"})
        world.open.add(SPARE)
        assert (await world.run(command())).rule == "backup"
        assert (await world.run(command(at_s=1, env="dev"))).state is StepState.CONFIRMED

    async def test_what_a_person_orders_is_cut_in_any_case(self, careful: World) -> None:
        careful.open.add(SPARE)
        outcome = await careful.run(command(by="ana"))
        assert (outcome.state, careful.level(KEY)) == (StepState.CONFIRMED, "disable")

    async def test_the_same_order_later_tries_the_switch_again(self, careful: World) -> None:
        careful.open.add(SPARE)
        await careful.run(command())
        careful.open.clear()
        await careful.run(command(at_s=120))
        assert careful.at_the_cut == [LIVE]

    @pytest.mark.parametrize("patience_s", [1, 20])
    async def test_the_cut_waits_no_longer_than_it_may(self, patience_s: float, tmp_path: Path) -> None:
        world = World(tmp_path / "FREEZE", patience_s=patience_s)
        slow = {"attempts": 20, "wait_initial_s": 0.5, "wait_max_s": 2}
        retry = world.responses.retry.model_copy(update=slow)
        world.responses = world.responses.model_copy(update={"retry": retry})
        world.vault.faults.extend([unavailable()] * 99)
        await world.run(command())
        [told] = world.switches()
        assert f"it was not done within {patience_s:g} s" in told.detail
        assert (world.now_ms - T0) / 1000 <= patience_s

    async def test_slow_calls_do_not_add_up(self, tmp_path: Path) -> None:
        world = World(tmp_path / "FREEZE", patience_s=20)

        def slow(_: str) -> None:
            world.now_ms += 9000

        world.on_call = slow
        await world.run(command())
        [told] = world.switches()
        assert "it was not done within 20 s" in told.detail
        assert 20 < (told.at_ms - T0) / 1000 <= 29

    async def test_a_backup_that_others_hold_is_not_waited_for_without_end(self, tmp_path: Path) -> None:
        world = World(tmp_path / "FREEZE", patience_s=0.01)
        async with world.stage._one_at_a_time.setdefault(SPARE, asyncio.Lock()):
            outcome = await world.run(command())
        assert outcome.state is StepState.CONFIRMED
        assert "was busy with other commands" in world.switches()[0].detail

    async def test_a_switch_that_cannot_be_rolled_back_says_what_is_left(self, careful: World) -> None:
        careful.vault.faults.extend([None, None, None, *[unavailable()] * 50])
        outcome = await careful.run(command())
        assert outcome.rule == "backup"
        assert "not all of it could be switched back" in outcome.detail
        assert careful.level(SPARE) == "active"  # somebody may be on it
        careful.vault.faults.clear()
        await careful.run(command("restore", at_s=9, by="ana"))
        assert careful.look()[:2] == (False, OLD)


class TestFreeze:
    async def test_a_freeze_during_the_switch_ends_with_all_as_before(self, world: World) -> None:
        world.freeze_at("snapshot shop")
        outcome = await world.run(command())
        assert (outcome.state, outcome.rule, world.look()) == (StepState.REFUSED, "freeze", AS_BEFORE)
        assert world.switches() == []

    async def test_a_freeze_between_switch_and_cut_leaves_nobody_switched(self, world: World) -> None:
        world.freeze_at(f"snapshot {KEY}")
        outcome = await world.run(command())
        assert (outcome.rule, world.level(KEY)) == ("freeze", "active")
        assert world.look() == (False, OLD, "allow False")


class TestACutKeyThatIsCutHarder:
    """Nobody is ever sent back to a key that is cut already."""

    async def test_a_freeze_in_between_leaves_users_on_the_backup(self, world: World) -> None:
        await world.run(command())
        world.freeze_at(f"snapshot {KEY}")
        outcome = await world.run(command("revoke", at_s=9))
        assert (outcome.rule, world.look()) == ("freeze", LIVE)

    async def test_a_freeze_while_the_switch_is_tried_again_takes_nothing_back(self, world: World) -> None:
        world.open.add(SPARE)
        await world.run(command())
        world.open.clear()
        world.freeze_at("snapshot shop")
        outcome = await world.run(command("revoke", at_s=9))
        assert (outcome.rule, world.level(SPARE)) == ("freeze", "active")

    async def test_a_switch_that_fails_again_takes_nothing_back_nor_waits(self, careful: World) -> None:
        careful.open.add(SPARE)
        await careful.run(command(by="ana"))
        careful.open.clear()
        careful.vault.faults.extend([None, None, Refused(Reason.FORBIDDEN, "no permission")])
        outcome = await careful.run(command("revoke", at_s=9))
        assert (outcome.state, careful.level(SPARE)) == (StepState.CONFIRMED, "active")
        assert careful.look()[2] == "deny True"


class TestRestore:
    async def test_users_go_back_once_the_key_works_again(self, world: World) -> None:
        await world.run(command())
        outcome = await world.run(command("restore", at_s=9, by="ana"))
        assert (outcome.state, world.level(KEY)) == (StepState.CONFIRMED, "active")
        assert world.look() == (False, OLD, "allow False")
        assert [mark.withdrawn for mark in world.marks()] == [False, True]
        assert len({mark.mark_id for mark in world.marks()}) == 1

    async def test_and_away_again_at_the_next_cut(self, world: World) -> None:
        for at_s in (0, 20):
            await world.run(command(at_s=at_s))
            await world.run(command("restore", at_s=at_s + 9, by="ana"))
        assert world.at_the_cut == [LIVE, LIVE]
        assert world.look() == (False, OLD, "allow False")

    async def test_nobody_is_sent_back_to_a_key_that_is_revoked(self, world: World) -> None:
        await world.run(command())
        await world.run(command("revoke", at_s=5, by="ana"))
        outcome = await world.run(command("restore", at_s=9, by="ana"))
        assert outcome.state is StepState.IRREVOCABLE
        assert world.look() == LIVE

    async def test_nobody_is_sent_back_to_a_key_that_was_stopped_before_keyfuse_came(self, world: World) -> None:
        world.provider._level[KEY] = "disable"  # by hand, before the order came
        await world.run(command(by="ana"))
        assert world.look() == LIVE
        outcome = await world.run(command("restore", at_s=9, by="ana"))
        assert (outcome.state, world.level(KEY)) == (StepState.CONFIRMED, "disable")
        assert world.look() == LIVE
        assert outcome.detail.endswith(f"its users stay on the backup {SPARE}")
        world.provider._level[KEY] = "active"  # and by hand again
        await world.run(command("restore", at_s=19, by="ana"))
        assert world.look() == (False, OLD, "allow False")

    async def test_nobody_is_sent_back_to_a_key_that_could_not_be_restored(self, world: World) -> None:
        await world.run(command())
        world.provider.faults.extend([Fault(error=unavailable())] * 50)
        await world.run(command("restore", at_s=9, by="ana"))
        assert world.look() == LIVE

    async def test_what_somebody_changed_meanwhile_stays(self, world: World) -> None:
        await world.run(command())
        world.vault.secrets["shop"] = "rotated by hand"
        await world.run(command("restore", at_s=9, by="ana"))
        assert world.vault.secrets["shop"] == "rotated by hand"

    async def test_users_that_cannot_go_back_are_told_of_and_go_back_with_the_next_restore(self, world: World) -> None:
        await world.run(command())
        world.vault.faults.extend([Refused(Reason.FORBIDDEN, "no permission")] * 9)
        await world.run(command("restore", at_s=9, by="ana"))
        assert world.look() == (True, NEW, "allow False")
        assert "some users" in world.switches()[-1].detail
        world.vault.faults.clear()
        await world.run(command("restore", at_s=19, by="ana"))
        assert world.look() == (False, OLD, "allow False")

    async def test_a_backup_that_is_not_written_down_any_more_is_left_to_a_person(self, world: World) -> None:
        await world.run(command())
        world.backups.clear()
        await world.run(command("restore", at_s=9, by="ana"))
        assert "put it back by hand" in world.switches()[-1].detail
        assert world.look()[:2] == (True, NEW)

    @pytest.mark.parametrize("first_back", [KEY, OTHER])
    async def test_a_shared_backup_is_switched_off_when_its_last_users_have_left(
        self, first_back: str, world: World
    ) -> None:
        for number, key_id in enumerate((KEY, OTHER)):
            await world.run(command(at_s=number, key_id=key_id))
        last_back = OTHER if first_back == KEY else KEY
        await world.run(command("restore", at_s=9, key_id=first_back, by="ana"))
        assert world.level(SPARE) == "active"
        await world.run(command("restore", at_s=10, key_id=last_back, by="ana"))
        assert world.level(SPARE) == "disable"
        assert (world.vault.secrets["shop"], world.vault.secrets["ads"]) == (OLD, OLD)


class TestGates:
    @pytest.mark.parametrize(
        ("steps", "state"),
        [
            (["throttle"], "throttle"),
            (["throttle", "disable"], "deny"),
            (["disable", "throttle"], "deny"),
            (["disable", "restore"], "allow"),
        ],
    )
    async def test_the_hardest_step_in_effect_is_what_gates_answer(
        self, steps: list[Step], state: str, world: World
    ) -> None:
        for at_s, step in enumerate(steps):
            await world.run(command(step, at_s=at_s, by="ana"))
        verdict = world.verdict()
        assert verdict is not None
        assert (verdict.state, verdict.incident_id) == (state, "inc_1")
        assert ("ask team search" in verdict.reason) == (state != "allow")

    async def test_a_cut_that_failed_stays_denied_at_the_gates(self, world: World) -> None:
        world.backups.clear()
        world.provider.faults.extend([Fault(error=Refused(Reason.FORBIDDEN, "no permission"))] * 9)
        assert (await world.run(command())).state is StepState.IRREVOCABLE
        assert world.look()[2] == "deny False"

    @pytest.mark.parametrize("softer", [True, False])
    async def test_and_a_later_step_does_not_lift_that_deny(self, world: World, *, softer: bool) -> None:
        world.provider.faults.extend([Fault(error=Refused(Reason.FORBIDDEN, "no permission"), on="change")] * 9)
        world.provider._level[SPARE] = "active"
        assert (await world.run(command())).state is StepState.IRREVOCABLE
        assert world.look() == LIVE
        world.provider.faults.clear()
        if softer:
            await world.run(command("throttle", at_s=9, by="ana"))
        else:
            world.now_ms += 3_600_000
            world.freeze_at(f"snapshot {KEY}")
            assert (await world.run(command("disable", at_s=3600))).rule == "freeze"
        assert world.look() == LIVE
        await world.run(command("restore", at_s=4000, by="ana"))
        assert world.look()[1:] == (OLD, "allow False")
        await world.run(command("throttle", at_s=5000, by="ana"))
        assert world.look()[2] == "throttle False"

    async def test_a_restore_with_nothing_to_undo_ends_it_where_the_key_works(self, world: World) -> None:
        world.provider.faults.extend([Fault(error=Refused(Reason.FORBIDDEN, "no permission"))] * 2)
        world.backups.clear()
        assert (await world.run(command())).state is StepState.IRREVOCABLE
        world.provider.faults.clear()
        await world.run(command("restore", at_s=9, by="ana"))
        assert world.look()[2] == "allow False"
        await world.run(command("throttle", at_s=19, by="ana"))
        assert world.look()[2] == "throttle False"


class TestCopies:
    """Whoever can write to the topic can repeat what decide once signed."""

    async def test_a_copy_of_a_restore_that_undid_nothing_lifts_no_deny(self, world: World) -> None:
        world.backups.clear()
        early = command("restore", by="ana")
        assert (await world.run(early)).rule == "nothing_to_undo"
        world.provider.faults.extend([Fault(error=Refused(Reason.FORBIDDEN, "no permission"))] * 9)
        await world.run(command(at_s=9))
        world.provider.faults.clear()
        await world.run(early)
        assert world.look()[2] == "deny False"

    async def test_a_copy_is_answered_in_the_same_words(self, world: World) -> None:
        order = command().model_copy(update={"mode": "observe"})
        answers = [await world.run(order) for _ in range(3)]
        assert len({answer.detail for answer in answers}) == 1


async def test_a_switch_that_had_begun_goes_on_however_old_its_order_is(world: World) -> None:
    order = command()
    record = sign(order, SIGNER, now_ms=T0).to_bytes()
    await world.stage._around._runs.save(KEY, Begun(backup=SPARE, order=order_of(order)))  # and the process died
    world.stage, world.now_ms = world.new_stage(), T0 + 2 * 3_600_000
    await world.stage.on_record(record, done=lambda: None)
    await world.stage.drain()
    [outcome] = [o for o in world.outbox.of(Topic.OUTCOMES) if isinstance(o, Outcome) and o.step == order.step]
    assert outcome.state is StepState.CONFIRMED
    assert world.at_the_cut == [LIVE]


class Reporting(NoGates):
    """Three gates that have whatever was written."""

    async def hold(self, written: Mapping[int, int]) -> Reached | None:
        return Reached(3, 3, (), 0.4)


async def test_the_incident_says_at_how_many_gates_it_is_in_force(tmp_path: Path) -> None:
    world = World(tmp_path / "freeze")
    world.gates = Reporting()
    world.stage = world.new_stage()

    slow, cut = await world.run(command("throttle")), await world.run(command("disable", at_s=1))
    back = await world.run(command("restore", at_s=2, by="ann"))

    assert slow.detail.endswith("; slowed down at 3 of 3 gates after 0.4 s")
    assert cut.detail.endswith("; refused at 3 of 3 gates after 0.4 s")
    assert back.detail.endswith("; served again at 3 of 3 gates after 0.4 s")
