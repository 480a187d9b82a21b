from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any, Literal

import pytest
from pydantic import SecretStr

from containment.calls import pause_s
from containment.execute import ALREADY, execute
from containment.providers.base import Provider
from containment.providers.errors import Reason, Refused, Retryable
from containment.providers.memory import Fault, MemoryProvider, unavailable
from containment.providers.sandbox import SandboxProvider
from containment.sandbox_server import create_sandbox
from schemas.config.responses import RetryConfig
from schemas.records import AuditRow, Command, Outcome, Step, StepState
from tests.containment.benches import BENCHES
from tests.containment.build import T0_MS, command, facts
from tests.containment.servers.serve import Faulty, serving

RETRY = RetryConfig(attempts=4, wait_initial_s=0.5, wait_max_s=4, verify_s=30)


class Crash(BaseException):
    """The process dies here."""


class Stage:
    """The contain stage as a test sees it: a clock that sleeping moves, saved pre-states, the audit."""

    def __init__(self, provider: Provider, *, retry: RetryConfig = RETRY) -> None:
        self.provider = provider
        self.retry = retry
        self.clock_ms = T0_MS
        self.saved: dict[str, dict[str, str]] = {}
        self.rows: list[AuditRow] = []
        self.frozen: Callable[[], bool] = lambda: False
        self.on_sleep: Callable[[], None] = lambda: None

    async def run(
        self, order: Command, undo: Mapping[Step, Mapping[str, str]] | None = None, *, vouched: bool = True
    ) -> Outcome:
        async def save(state: dict[str, str]) -> None:
            self.saved[order.command_id] = state

        return await execute(
            order,
            self.provider,
            pre_state=self.saved.get(order.command_id),
            retry=self.retry,
            now_ms=lambda: self.clock_ms,
            sleep=self._sleep,
            save_pre_state=save,
            audit=self._note,
            frozen=self._is_frozen,
            undo=undo,
            vouched=vouched,
        )

    def _is_frozen(self) -> bool:
        return self.frozen()  # asked anew each time: a test may freeze halfway

    async def _sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.clock_ms += round(seconds * 1000)
        self.on_sleep()

    async def _note(self, row: AuditRow) -> None:
        self.rows.append(row)

    def actions(self) -> list[str]:
        return [row.action.split(".")[1] for row in self.rows]


def memory(*faults: Fault, lag: int = 0) -> MemoryProvider:
    provider = MemoryProvider("memory", ("k1",), lag=lag)
    provider.faults.extend(faults)
    return provider


def on_change(kind: Any, error: BaseException | None = None) -> Fault:
    return Fault(kind, error or (None if kind == "ignored" else unavailable()), on="change")


async def test_a_step_is_saved_looked_at_done_read_back_and_probed_in_that_order() -> None:
    stage = Stage(memory())
    outcome = await stage.run(command())
    assert (outcome.state, outcome.attempts, outcome.seconds_to_effective) == (StepState.CONFIRMED, 1, 0.0)
    assert stage.actions() == ["snapshot", "read_back", "apply", "read_back", "probe"]
    assert stage.saved == {command().command_id: {"status": "active", "throttled": "no", ALREADY: "no"}}


async def test_the_audit_says_who_did_what_with_which_answer() -> None:
    stage = Stage(memory(on_change("before")))
    order = command(by="ann", automatic=False, approvals=("bob",))
    await stage.run(order)
    failed, done = (row for row in stage.rows if row.action == "disable.apply")
    assert {(row.actor, row.key_id, row.incident_id, row.command_id) for row in stage.rows} == {
        ("ann", "k1", "inc_1", order.command_id)
    }
    assert (failed.result, failed.detail["reason"], failed.detail["attempt"]) == ("failed", "unavailable", 1)
    assert (done.result, done.detail["answer"], done.detail["attempt"]) == ("ok", "apply disable: done", 2)
    assert done.detail["approvals"] == ["bob"]
    assert len({row.audit_id for row in stage.rows}) == len(stage.rows)


async def test_confirmed_means_that_the_key_is_refused_not_that_the_provider_said_so() -> None:
    stage = Stage(memory(lag=3))
    outcome = await stage.run(command())
    assert (outcome.state, outcome.attempts, outcome.detail) == (StepState.CONFIRMED, 1, "refused")
    assert outcome.seconds_to_effective == (stage.clock_ms - T0_MS) / 1000 > 0
    assert stage.actions().count("probe") == 4


async def test_a_provider_that_never_really_refuses_the_key_ends_with_a_person() -> None:
    stage = Stage(memory(lag=10_000))
    outcome = await stage.run(command())
    assert (outcome.state, outcome.attempts) == (StepState.IRREVOCABLE, 1)
    assert "still shows: served" in outcome.detail
    assert "disable the key by hand" in outcome.detail
    assert 30_000 <= stage.clock_ms - T0_MS < 40_000


async def test_what_holds_already_is_confirmed_without_doing_it() -> None:
    provider = memory()
    await provider.apply("disable", "k1")
    stage = Stage(provider)
    outcome = await stage.run(command())
    assert (outcome.state, outcome.attempts) == (StepState.CONFIRMED, 0)
    assert "apply" not in stage.actions()
    assert stage.saved[command().command_id][ALREADY] == "yes"


@pytest.mark.parametrize(
    ("faults", "attempts"),
    [
        ([on_change("before")], 2),
        ([on_change("before")] * 3, 4),
        ([on_change("after")], 1),
        ([on_change("after", Refused(Reason.REJECTED, "answered 400"))], 1),
        ([on_change("before"), on_change("after")], 2),
        ([on_change("ignored")], 2),
        ([on_change("ignored"), on_change("before")], 3),
        ([on_change("before", TimeoutError())], 2),
        ([Fault(), Fault()], 1),
        ([Fault(error=unavailable())] * 2, 1),
    ],
)
async def test_passing_trouble_is_outlived_with_one_effect(faults: list[Fault], attempts: int) -> None:
    provider = memory(*faults)
    outcome = await Stage(provider).run(command())
    assert (outcome.state, outcome.attempts) == (StepState.CONFIRMED, attempts)
    assert provider.effective["k1"] == 1


@pytest.mark.parametrize(
    ("faults", "attempts", "words"),
    [
        ([on_change("before")] * 4, 4, "answered 503"),
        ([on_change("before", Refused(Reason.FORBIDDEN, "no permission"))], 1, "no permission"),
        ([on_change("before", RuntimeError("a defect"))], 1, "the adapter broke (RuntimeError)"),
        ([on_change("ignored")] * 9, 3, "the key is active"),
        ([Fault(error=unavailable())] * 4, 0, "answered 503"),
        ([Fault(error=Refused(Reason.BAD_CREDENTIALS, "wrong admin key"))], 0, "wrong admin key"),
    ],
)
async def test_lasting_trouble_ends_irrevocable_and_says_what_a_person_must_do(
    faults: list[Fault], attempts: int, words: str
) -> None:
    provider = memory(*faults)
    outcome = await Stage(provider).run(command())
    assert (outcome.state, outcome.attempts) == (StepState.IRREVOCABLE, attempts)
    assert words in outcome.detail
    assert "Open the provider's console now" in outcome.detail
    assert provider.effective["k1"] == 0


@pytest.mark.parametrize(
    ("order", "words"),
    [
        (command("k9"), "does not know this key"),
        (command(step="degrade"), "memory cannot degrade this key"),
        (command(facts=facts(provider_ref="k-other")), "key k-other at memory"),
    ],
)
async def test_what_cannot_work_is_not_tried(order: Command, words: str) -> None:
    stage = Stage(memory())
    outcome = await stage.run(order)
    assert outcome.state is StepState.IRREVOCABLE
    assert words in outcome.detail
    assert "apply" not in stage.actions()
    assert stage.clock_ms == T0_MS


async def test_the_provider_may_ask_for_a_longer_pause() -> None:
    stage = Stage(memory(on_change("before", Retryable(Reason.RATE_LIMITED, "slow down", retry_after_s=20))))
    outcome = await stage.run(command())
    assert outcome.seconds_to_effective == 20.0


def test_pauses_double_up_to_a_limit_and_no_two_commands_wait_alike() -> None:
    rng = random.Random(1)
    pauses = [pause_s(n, RETRY, rng, None) for n in range(1, 12)]
    for n, pause in enumerate(pauses):
        full = min(4.0, 0.5 * 2**n)
        assert full / 2 <= pause <= full
    assert len(set(pauses)) == len(pauses)
    hostile = Retryable(Reason.RATE_LIMITED, "", retry_after_s=1e9)
    assert pause_s(1, RETRY, rng, hostile) == 300


class TestFreeze:
    async def test_a_frozen_automatic_command_touches_nothing(self) -> None:
        stage = Stage(memory())
        stage.frozen = lambda: True
        outcome = await stage.run(command())
        assert (outcome.state, outcome.rule, stage.rows) == (StepState.REFUSED, "freeze", [])

    @pytest.mark.parametrize(
        "order", [command(automatic=False, by="ann"), command(automatic=False, approvals=("ann",))]
    )
    async def test_a_person_is_not_frozen(self, order: Command) -> None:
        stage = Stage(memory())
        stage.frozen = lambda: True
        assert (await stage.run(order)).state is StepState.CONFIRMED

    @pytest.mark.parametrize(
        ("kind", "state", "rule"), [("before", StepState.REFUSED, "freeze"), ("ignored", StepState.REFUSED, "freeze")]
    )
    async def test_a_freeze_between_tries_stops_the_next_one(self, kind: str, state: StepState, rule: str) -> None:
        provider = memory(*[on_change(kind)] * 3)
        stage = Stage(provider)
        sleeping: list[int] = []
        stage.on_sleep = lambda: sleeping.append(1)
        stage.frozen = lambda: bool(sleeping)
        outcome = await stage.run(command())
        assert (outcome.state, outcome.rule, outcome.attempts) == (state, rule, 1)
        assert "the key is active" in outcome.detail

    @pytest.mark.parametrize(
        ("kind", "state", "rule"), [("before", StepState.REFUSED, "freeze"), ("after", StepState.CONFIRMED, "")]
    )
    async def test_what_an_earlier_run_began_is_looked_at_before_it_is_called_refused(
        self, kind: str, state: StepState, rule: str
    ) -> None:
        provider = memory(on_change(kind, Crash()))
        stage = Stage(provider)
        with pytest.raises(Crash):
            await stage.run(command())
        stage.frozen = lambda: True
        stage.rows.clear()
        outcome = await stage.run(command())
        assert (outcome.state, outcome.rule, outcome.attempts) == (state, rule, 0)
        assert set(stage.actions()) == {"read_back"} | ({"probe"} if state is StepState.CONFIRMED else set())

    async def test_frozen_halfway_with_a_provider_that_cannot_be_read_a_person_is_asked(self) -> None:
        provider = memory(on_change("before"))
        stage = Stage(provider)

        def outage() -> None:
            provider.faults.extend([Fault(error=unavailable())] * 9)
            stage.frozen = lambda: True

        stage.on_sleep = outage
        outcome = await stage.run(command())
        assert outcome.state is StepState.IRREVOCABLE
        assert "frozen halfway" in outcome.detail


class TestRestore:
    async def cut(
        self, *steps: Step, provider: MemoryProvider | None = None
    ) -> tuple[Stage, dict[Step, dict[str, str]]]:
        stage = Stage(provider or memory())
        undo: dict[Step, dict[str, str]] = {}
        for step in steps:
            order = command(step=step)
            await stage.run(order)
            undo[step] = stage.saved[order.command_id]
        stage.rows.clear()
        return stage, undo

    async def test_the_confirmed_step_is_undone_and_the_key_really_served_again(self) -> None:
        stage, undo = await self.cut("disable", provider=memory(lag=2))
        outcome = await stage.run(command(step="restore", automatic=False, by="ann"), undo)
        assert (outcome.state, outcome.attempts, outcome.detail) == (StepState.CONFIRMED, 1, "served")
        assert stage.actions() == [
            "read_back",
            "undo",
            "read_back",
            "probe",
            "read_back",
            "probe",
            "read_back",
            "probe",
        ]

    async def test_several_steps_are_undone_the_last_one_first(self) -> None:
        stage, undo = await self.cut("throttle", "disable")
        outcome = await stage.run(command(step="restore"), undo)
        assert outcome.state is StepState.CONFIRMED
        answers = [row.detail["answer"] for row in stage.rows if row.action == "restore.undo"]
        assert answers == ["undo disable: done", "undo throttle: done"]
        assert await stage.provider.snapshot("k1") == {"status": "active", "throttled": "no"}

    async def test_restoring_is_possible_while_frozen(self) -> None:
        stage, undo = await self.cut("disable")
        stage.frozen = lambda: True
        assert (await stage.run(command(step="restore"), undo)).state is StepState.CONFIRMED

    async def test_a_key_that_was_cut_before_keyfuse_came_stays_cut(self) -> None:
        provider = memory()
        await provider.apply("disable", "k1")
        stage, undo = await self.cut("disable", provider=provider)
        outcome = await stage.run(command(step="restore"), undo)
        assert (outcome.state, stage.rows) == (StepState.CONFIRMED, [])
        assert "before Keyfuse came" in outcome.detail
        assert (await provider.in_effect("disable", "k1")).state == "yes"

    async def test_a_revoked_key_cannot_be_restored_and_a_person_is_told(self) -> None:
        stage, undo = await self.cut("disable", "revoke")
        outcome = await stage.run(command(step="restore"), undo)
        assert outcome.state is StepState.IRREVOCABLE
        assert "cannot come back" in outcome.detail

    async def test_without_a_confirmed_step_there_is_nothing_to_undo(self) -> None:
        outcome = await Stage(memory()).run(command(step="restore"), {})
        assert (outcome.state, outcome.rule) == (StepState.REFUSED, "nothing_to_undo")

    async def test_one_undo_that_fails_for_good_does_not_keep_the_others_back_and_all_is_told(self) -> None:
        stage, undo = await self.cut("throttle", "disable")
        assert isinstance(stage.provider, MemoryProvider)
        stage.provider.faults.append(on_change("before", Refused(Reason.FORBIDDEN, "no permission")))
        outcome = await stage.run(command(step="restore"), undo)
        assert outcome.state is StepState.IRREVOCABLE
        assert outcome.detail.startswith("undone: throttle; not undone: disable: ")
        assert "no permission" in outcome.detail
        assert "probe" not in stage.actions()  # of course the key is refused still
        assert await stage.provider.snapshot("k1") == {"status": "disable", "throttled": "no"}
        again = await stage.run(command(step="restore"), undo)
        assert (again.state, again.attempts) == (StepState.CONFIRMED, 1)

    async def test_restoring_twice_is_the_same_as_once(self) -> None:
        stage, undo = await self.cut("disable")
        first, second = [await stage.run(command(step="restore"), undo) for _ in range(2)]
        assert (first.state, first.attempts) == (StepState.CONFIRMED, 1)
        assert (second.state, second.attempts) == (StepState.CONFIRMED, 0)


@pytest.mark.parametrize("kind", ["before", "after"])
async def test_after_a_crash_the_same_command_takes_effect_once_and_keeps_its_first_pre_state(kind: str) -> None:
    provider = memory(on_change(kind, Crash()))
    stage = Stage(provider)
    with pytest.raises(Crash):
        await stage.run(command())
    outcome = await stage.run(command())
    assert outcome.state is StepState.CONFIRMED
    assert provider.effective["k1"] == 1
    assert stage.saved[command().command_id] == {"status": "active", "throttled": "no", ALREADY: "no"}


async def test_nothing_is_touched_when_the_pre_state_cannot_be_saved() -> None:
    provider = memory()

    async def broken(_: object) -> None:
        raise OSError("the broker is away")

    async def fine(_: object) -> None: ...

    with pytest.raises(OSError, match="broker"):
        await execute(
            command(),
            provider,
            pre_state=None,
            retry=RETRY,
            now_ms=lambda: T0_MS,
            sleep=fine,
            save_pre_state=broken,
            audit=fine,
            frozen=lambda: False,
        )
    assert provider.effective["k1"] == 0


def fault_for(rng: random.Random) -> Fault:
    kinds: list[Literal["before", "after", "ignored"]] = ["before", "after", "ignored"]
    kind = rng.choice(kinds)
    errors: list[BaseException] = [
        unavailable(),
        Retryable(Reason.RATE_LIMITED, "slow down", retry_after_s=rng.random() * 9),
        TimeoutError(),
        Refused(Reason.REJECTED, "answered 400"),
        RuntimeError("a defect"),
        Crash(),
    ]
    error = rng.choices(errors, weights=[6, 3, 3, 1, 1, 3])[0]
    on: Any = rng.choice(["any", "change"])
    return Fault(kind, None, on="change") if kind == "ignored" else Fault(kind, error, on=on)


async def until_it_ends(stage: Stage, order: Command) -> Outcome:
    """As the contain stage does it: a crash means the command comes again."""
    while True:
        try:
            return await stage.run(order)
        except Crash:
            stage.clock_ms += 1000


@pytest.mark.parametrize("seed", range(3))
async def test_three_hundred_commands_under_faults_all_end_known_with_at_most_one_effect_each(seed: int) -> None:
    rng = random.Random(seed)
    states = set()
    for n in range(100):
        provider = MemoryProvider("memory", ("k1",), lag=rng.choice([0, 0, 1, 5]))
        provider.faults.extend(fault_for(rng) for _ in range(rng.randrange(7)))
        step: Step = rng.choice(["throttle", "disable", "revoke"])
        outcome = await until_it_ends(Stage(provider), command(step=step, command_id=f"cmd_{seed}_{n}"))
        states.add(outcome.state)
        assert outcome.state in {StepState.CONFIRMED, StepState.IRREVOCABLE}, (seed, n)
        assert provider.effective["k1"] <= 1, (seed, n)
        if outcome.state is StepState.CONFIRMED:
            provider.faults.clear()
            assert (await provider.in_effect(step, "k1")).state == "yes", (seed, n)
    assert states == {StepState.CONFIRMED, StepState.IRREVOCABLE}, "the faults must be hard enough to matter"


async def test_a_key_that_nobody_vouches_for_and_no_provider_knows_was_made_up() -> None:
    stage = Stage(memory())
    outcome = await stage.run(command("k9"), vouched=False)
    assert (outcome.state, outcome.rule) == (StepState.REFUSED, "unknown_key")
    assert stage.actions() == ["snapshot"]
    known = await stage.run(command("k1", command_id="another"), vouched=False)
    assert known.state is StepState.CONFIRMED


async def test_a_key_that_is_gone_after_we_began_is_for_a_person_whoever_vouches() -> None:
    provider = memory(Fault(error=None), on_change("after", Crash()))
    stage = Stage(provider)
    with pytest.raises(Crash):
        await stage.run(command(), vouched=False)
    provider.faults.append(Fault(error=Refused(Reason.UNKNOWN_KEY, "not there")))
    assert (await stage.run(command(), vouched=False)).state is StepState.IRREVOCABLE


@pytest.mark.parametrize("name", BENCHES)
async def test_a_key_that_was_cut_before_though_nobody_could_say_so_is_given_back_as_it_was(name: str) -> None:
    """Some providers cannot tell after a restart whether a step holds everywhere: then it is not known beforehand."""
    async with BENCHES[name]() as bench:
        provider, stage = bench.provider, Stage(bench.provider, retry=RetryConfig())
        for step, spec in provider.steps_of(bench.ref).items():
            if not spec.reversible or step == "revoke":
                continue
            await provider.apply(step, bench.ref)
            before = await provider.snapshot(bench.ref) | {ALREADY: "unknown"}
            restored = await stage.run(command(bench.ref, "restore"), {step: before})
            assert restored.state is StepState.CONFIRMED, restored.detail
            assert await provider.snapshot(bench.ref) | {ALREADY: "unknown"} == before


@pytest.mark.parametrize("name", BENCHES)
async def test_a_command_runs_to_confirmed_and_back_on_every_provider(name: str) -> None:
    async with BENCHES[name]() as bench:
        stage = Stage(bench.provider, retry=RetryConfig())
        for step, spec in bench.provider.steps_of(bench.ref).items():
            order = command(bench.ref, step)
            outcome = await stage.run(order)
            assert (outcome.state, outcome.attempts) == (StepState.CONFIRMED, 1), outcome.detail
            if spec.reversible:
                restored = await stage.run(command(bench.ref, "restore"), {step: stage.saved[order.command_id]})
                assert (restored.state, restored.attempts) == (StepState.CONFIRMED, 1), restored.detail


async def test_the_time_to_effective_is_the_time_until_callers_are_really_refused() -> None:
    stage_clock: list[Stage] = []
    app = create_sandbox(propagation_s=8, now=lambda: stage_clock[0].clock_ms / 1000 if stage_clock else 0.0)
    async with serving(Faulty(app)) as url:
        provider = SandboxProvider("sandbox", SecretStr("x"), base_url=url)
        await provider._api.call("POST", "/admin/keys", "register", body={"key_id": "k1"})
        stage = Stage(provider)
        stage_clock.append(stage)
        outcome = await stage.run(command())
        await provider.close()
    assert (outcome.state, outcome.attempts) == (StepState.CONFIRMED, 1)
    assert outcome.seconds_to_effective is not None
    assert 8 <= outcome.seconds_to_effective < 8 + 3  # a tenth of verify_s between looks
