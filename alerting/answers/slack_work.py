"""What follows from what somebody said in Slack: a word to the desk, a form, an answer that only they can see."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, Literal, NamedTuple, Protocol

import structlog

from alerting.answers.desk import Answer, Desk, Said
from alerting.answers.errors import Unavailable
from alerting.answers.plans import KillList, KillWanted, PlanWords
from alerting.answers.questions import QuestionDesk
from alerting.answers.slack_forms import (
    KILL_MOST,
    METADATA_MAX,
    Form,
    Origin,
    contain_form,
    expected_form,
    false_positive_form,
    kill_form,
    looking,
    message_form,
    until_problem,
)
from alerting.answers.slack_said import Heard, KillWord, Opening, Place, Replied, Typed, Unclear, Word
from alerting.answers.slack_typed import Ask, ask_of, explain_blocks, find, help_blocks, one_blocks, status_blocks
from alerting.answers.stale import why_over
from alerting.channels.errors import ChannelError
from alerting.channels.slack_text import Block, escape, sections
from alerting.deliver import Sleep
from controls.people import Person
from schemas.records import Incident, stable_id

Result = Literal["taken", "refused", "unavailable", "not_understood", "failed"]
_SOON_S: Final = 1.0  # what takes longer is shown as "Looking…" meanwhile
_PATIENCE_S: Final = 30.0
_CATCH_UP_S: Final = 0.1  # what is known here follows the topic, as the message that was pressed does
_CATCH_UP_TRIES: Final = 10
_FILLING_TRIES: Final = 100  # right after the start
log = structlog.get_logger()


class Calls(Protocol):
    """What Slack can be asked for. Each raises ChannelError."""

    async def open(self, trigger_id: str, view: Block) -> str: ...

    async def update(self, view_id: str, view: Block) -> None: ...

    async def tell(self, place: Place, text: str, blocks: list[Block]) -> None: ...


class Knowledge(NamedTuple):
    """What only the whole install knows. Each may take a while and runs in a thread."""

    plan: Callable[[Incident], PlanWords]
    kill: Callable[[KillWanted], KillList]  # raises ValueError, in the user's words, when no keys are meant
    means_it: Callable[[str, int], bool]  # whether the typed words confirm so many keys


class SlackWork:
    """For one Slack app. `do` may raise Unavailable and ChannelError; who spoke has then not been told."""

    def __init__(
        self,
        desk: Desk,
        questions: QuestionDesk,
        calls: Calls,
        knowledge: Knowledge,
        *,
        now_ms: Callable[[], int],
        sleep: Sleep,
        counted: Callable[[Result], None],
    ) -> None:
        self.counted = counted
        self._desk = desk
        self._questions = questions
        self._calls = calls
        self._knowledge = knowledge
        self._now_ms = now_ms
        self._sleep = sleep

    def is_meant(self, word: KillWord) -> bool:
        """Whether the typed words confirm what was shown."""
        return self._knowledge.means_it(word.typed, word.origin.keys)

    async def do(self, what: Heard) -> None:
        """One thing that was said, to its end."""
        match what:
            case Word(said, place, seen):
                await self._word(said, place, seen)
            case Replied():
                await self._reply(what)
            case Opening():
                await self._open(what)
            case Typed(text, person, place):
                await self._typed(ask_of(text), text, person, place)
            case KillWord():
                await self._kill(what)
            case Unclear(words, place):
                self.counted("not_understood")
                await self.say(place, words)

    async def _word(self, said: Said, place: Place, seen: int) -> None:
        refused, _ = await self._refused(said, seen)
        answer = Answer(False, refused) if refused else await self._desk.say(said)
        self._note("taken" if answer.taken else "refused", said, answer.words)
        await self.say(place, answer.words)

    async def _reply(self, replied: Replied) -> None:
        reply = replied.reply
        told = await self._questions.say(reply)
        self.counted("taken" if told.taken else "refused")
        name = reply.person.name if reply.person else reply.who
        log.info("an answer to a question from Slack", by=name, question=reply.question_id, why=told.words)
        await self.say(replied.place, told.words)

    async def _refused(self, said: Said, seen: int) -> tuple[str, Incident | None]:
        """Why the word cannot count: no incident, no right, too late. Rights first: a stranger learns no more.

        Whoever saw a newer version than is known here is not too late: that is for the decide stage to say.
        """
        incident = await self._seen(said.incident_id, seen)
        if incident is None:
            return (
                "Not taken: no such incident is known here. It may be too old; if it is new, try again in a moment.",
                None,
            )
        why = self._desk.why_not(said, incident) or ("" if incident.seq < seen else why_over(incident, said))
        if not why and said.until_ms is not None:  # the click may have been long on its way
            why = until_problem(said.until_ms, now_ms=self._now_ms()).rstrip(".")
        return (await self._desk.refuse(said, why, incident)).words if why else "", incident

    async def _seen(self, incident_id: str, seen: int) -> Incident | None:
        """The incident, at least as new as the message that was pressed; after a moment's wait as new as there is."""
        for _ in range(_CATCH_UP_TRIES):
            known = self._desk.incidents.get(incident_id)
            if known is not None and known.seq >= seen:
                return known
            await self._sleep(_CATCH_UP_S)
        return await self._desk.find(incident_id)

    async def _open(self, opening: Opening) -> None:
        form, place = opening.form, opening.place
        refused, incident = await self._refused(opening.said, opening.seen)
        if refused or incident is None:
            self._note("refused", opening.said, refused)
            await self.say(place, refused)
            return
        origin = Origin(incident.incident_id, place.channel, place.response_url)
        if form == "contain":
            plan = asyncio.to_thread(self._knowledge.plan, incident)
            await self._show(form, place, _then(plan, lambda made: contain_form(origin, made)))
        elif form == "expected":
            await self._calls.open(place.trigger_id, expected_form(origin, now_ms=self._now_ms()))
        else:
            await self._calls.open(place.trigger_id, false_positive_form(origin))

    async def _show(self, form: Form, place: Place, making: Coroutine[Any, Any, Block]) -> None:
        """Open the form, at once or after "Looking…": a click is good for three seconds."""
        task = asyncio.create_task(making)
        done, _ = await asyncio.wait({task}, timeout=_SOON_S)
        if done:
            await self._calls.open(place.trigger_id, task.result())
            return
        try:
            view_id = await self._calls.open(place.trigger_id, looking(form))
            async with asyncio.timeout(_PATIENCE_S):
                view = await task
        except ChannelError:
            task.cancel()
            raise
        except TimeoutError:
            view = message_form(form, "Keyfuse could not make the plan in time. Use keyfuse plan at a terminal.")
        await self._calls.update(view_id, view)

    async def _typed(self, ask: Ask, text: str, person: Person | None, place: Place) -> None:
        if ask.verb == "help":
            await self._calls.tell(place, escape(ask.problem) or "help", help_blocks(ask.problem))
            return
        if ask.verb == "kill":
            await self._ask_kill(ask, text, person, place)
            return
        if person is None:
            self.counted("refused")
            await self.say(place, f"{place.user} is not in people.yaml, so Keyfuse tells nothing here.")
            return
        await self._look(ask, place)

    async def _look(self, ask: Ask, place: Place) -> None:
        if not ask.about:
            if not await self._filled():
                raise Unavailable("the incidents of the last week are still being read")
            blocks = status_blocks(self._desk.incidents)
        else:
            incident = find(self._desk.incidents, ask.about) or await self._desk.find(ask.about)
            if incident is None:
                await self.say(place, f"No incident of {ask.about} is known here.")
                return
            blocks = explain_blocks(incident) if ask.verb == "explain" else one_blocks(incident)
        await self._calls.tell(place, blocks[0]["text"]["text"], blocks)

    async def _ask_kill(self, ask: Ask, text: str, person: Person | None, place: Place) -> None:
        said = _kill_said(stable_id("slk", place.user, place.trigger_id), place.user, person)
        if ask.problem:
            self.counted("not_understood")
            await self.say(place, f"Nothing was done: {ask.problem}")
            return
        why = self._desk.why_not(said, None)
        if why:
            await self._desk.refuse(said, why, None)
            self._note("refused", said, why)
            await self.say(place, f"Nothing was done: {why}.")
            return
        await self._show("kill", place, _then(self._listing(ask.wanted), lambda made: _kill_form(made, text, place)))

    async def _listing(self, wanted: KillWanted) -> KillList | str:
        if not wanted.keys:
            await self._filled()
        return await asyncio.to_thread(self._listed, wanted)

    async def _filled(self) -> bool:
        """Whether the open incidents are known, after a moment's wait."""
        for _ in range(_FILLING_TRIES):
            if self._desk.incidents.complete():
                return True
            await self._sleep(_CATCH_UP_S)
        return self._desk.incidents.complete()

    def _listed(self, wanted: KillWanted) -> KillList | str:
        """The list, or why there is none."""
        try:
            return self._knowledge.kill(wanted)
        except ValueError as error:
            return str(error)

    async def _kill(self, word: KillWord) -> None:
        """Each key is a word of its own. What was shown must be what is there: else nothing is done."""
        listed = await asyncio.to_thread(self._listed, ask_of(word.origin.asked).wanted)
        if isinstance(listed, str) or _digest(listed) != word.origin.digest:
            self.counted("refused")
            await self.say(word.place, "Nothing was done: the list is no longer what you saw. Ask for it again.")
            return
        told = ""
        ordered = 0
        for order in listed.orders:
            said = _kill_said(stable_id("slk", word.said_id, order.key_id), word.place.user, word.person)
            said = said._replace(step=order.step, reason=word.reason or "emergency kill")
            try:
                answer = await self._desk.say_of_key(said, order.key_id, order.facts)
            except Unavailable as error:
                told = f" Then: {error}. The others are not ordered: ask again."
                break
            if not answer.taken:
                told = f" {answer.words}"
                break
            ordered += 1
        words = f"Ordered to cut {ordered} of {len(listed.orders)} keys.{told} /keyfuse status shows what became of it."
        self._note("unavailable" if told else "taken", _kill_said("", word.place.user, word.person), words)
        await self.say(word.place, words)

    def _note(self, result: Result, said: Said, words: str) -> None:
        self.counted(result)
        name = said.person.name if said.person else said.who
        log.info(
            "an answer from Slack", result=result, by=name, action=said.action, incident=said.incident_id, why=words
        )

    async def say(self, place: Place | None, words: str) -> None:
        """To the one person. When even that fails it is logged: what they said is taken or not all the same."""
        if place is None:
            return
        try:
            await self._calls.tell(place, escape(words), sections([escape(words)]))
        except ChannelError as error:
            log.warning("somebody could not be told in Slack", why=str(error))


def _kill_said(said_id: str, who: str, person: Person | None) -> Said:
    return Said(said_id, "slack", who, person, "contain", "")


def _kill_form(listed: KillList | str, text: str, place: Place) -> Block:
    if isinstance(listed, str):
        return message_form("kill", listed)
    if not listed.orders:
        return message_form("kill", *listed.lines)
    origin = Origin("", place.channel, place.response_url, asked=text, digest=_digest(listed), keys=len(listed.orders))
    if len(listed.lines) > KILL_MOST or len(origin.text()) > METADATA_MAX:
        return message_form("kill", f"{len(listed.lines)} keys are too many for here: use keyfuse kill at a terminal.")
    return kill_form(origin, listed)


def _digest(listed: KillList) -> str:
    return stable_id("kill", *(f"{order.key_id} {order.step}" for order in listed.orders))


async def _then(first: Awaitable[Any], shape: Callable[[Any], Block]) -> Block:
    return shape(await first)
