"""What one file cannot know of another, and what a type cannot say: each check yields its mistakes with their lines."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from containment.providers.build import DECLARED, KEYLESS, REPLICATED, SELF_HOSTED
from containment.providers.build import KINDS as PROVIDER_KINDS
from containment.switches.build import KEYLESS as KEYLESS_SWITCHES
from containment.switches.build import KINDS as SWITCH_KINDS
from containment.switches.build import SELF_HOSTED as SWITCHES_WITH_ADDRESS
from schemas.config import ResponsesConfig, RoutesConfig, WiringConfig
from schemas.config.routes import ChannelConfig
from schemas.config.wiring import DeclaredStepConfig, LeaksConfig, ProviderConfig, SwitchConfig
from schemas.fingerprint import FINGERPRINT, VERSION
from schemas.records import EXPECTED_MAX_MS
from service.backup_checks import check_backups
from service.budget_checks import check_budget_channels, check_budget_people, check_budgets
from service.channel_checks import CHANNEL_KINDS, TO_URL, lacking, misplaced, needs_secret, secrets_of_answers
from service.config_errors import Loc, did_you_mean, shown
from service.config_tree import Folder
from service.field_checks import Errors, Sources
from service.field_checks import address as _address
from service.field_checks import variable as _variable
from service.people_checks import approvers_are_people, one_person_each
from service.probe_checks import probes, probes_of_keys
from service.yaml_source import Source
from storage.dsn import parse_dsn
from storage.errors import StoreError

_TOPIC_PREFIX: Final = re.compile(r"[A-Za-z0-9._-]{0,100}")


def cross_check(folder: Folder, sources: Sources) -> Errors:
    """Every check whose files are all there; a file with mistakes of its own is judged when they are mended."""
    for parts, check in _CHECKS:
        if all(part in sources for part in parts):
            yield from check(folder, sources)


def _wiring(folder: Folder, sources: Sources) -> Errors:
    source, wiring = sources["wiring"], folder.wiring
    yield from _variable(source, ("pepper_env",), wiring.pepper_env)
    yield from _variable(source, ("store", "password_env"), wiring.store.password_env)
    yield from _variable(source, ("intake", "token_env"), wiring.intake.token_env)
    yield from _variable(source, ("key_requests", "token_env"), wiring.key_requests.token_env)
    yield from _leaks(source, wiring.leaks)
    yield from _variable(source, ("people_left", "secret_env"), wiring.people_left.secret_env)
    yield from _variable(source, ("evidence", "signing_key_env"), wiring.evidence.signing_key_env)
    yield from _variable(source, ("commands", "signing_key_env"), wiring.commands.signing_key_env)
    yield from _vault(source, wiring)
    for name, provider in wiring.providers.items():
        yield from _provider(source, ("providers", name), provider)
    for name, switch in wiring.switches.items():
        yield from _switch(source, ("switches", name), switch)
    if not _TOPIC_PREFIX.fullmatch(wiring.kafka.topic_prefix):
        expected = "only letters, digits, dots, dashes and underscores, at most 100"
        yield source.error(("kafka", "topic_prefix"), shown(wiring.kafka.topic_prefix), expected)
    yield from _dsn(source, wiring)


def _vault(source: Source, wiring: WiringConfig) -> Errors:
    vault = wiring.vault
    yield from _variable(source, ("vault", "token_env"), vault.token_env)
    yield from _address(source, ("vault", "address"), vault.address)
    asking = [name for name, provider in wiring.providers.items() if provider.secret_vault]
    if asking and not vault.address:
        yield source.error(("vault", "address"), "nothing", f"where Vault is: providers.{asking[0]} asks it")


def _dsn(source: Source, wiring: WiringConfig) -> Errors:
    try:
        parse_dsn(wiring.store.dsn)
    except StoreError as error:
        yield source.error(("store", "dsn"), "an address that cannot be used", str(error).removeprefix("store.dsn: "))


def _provider(source: Source, loc: Loc, provider: ProviderConfig) -> Errors:
    if provider.kind not in PROVIDER_KINDS:
        yield source.error((*loc, "kind"), shown(provider.kind), did_you_mean(provider.kind, PROVIDER_KINDS))
    elif provider.kind in SELF_HOSTED and not provider.base_url:
        yield source.error((*loc, "base_url"), "nothing", f"its address: {provider.kind} has none of its own")
    yield from _automation(source, loc, provider)
    yield from _one_secret(source, loc, provider, needed=provider.kind not in KEYLESS)
    replicas = provider.base_url.split(",") if provider.kind in REPLICATED else [provider.base_url]
    for address in replicas:
        yield from _address(source, (*loc, "base_url"), address.strip())


def _switch(source: Source, loc: Loc, switch: SwitchConfig) -> Errors:
    if switch.kind not in SWITCH_KINDS:
        yield source.error((*loc, "kind"), shown(switch.kind), did_you_mean(switch.kind, SWITCH_KINDS))
    elif switch.kind in SWITCHES_WITH_ADDRESS and not switch.base_url:
        yield source.error((*loc, "base_url"), "nothing", f"its address: {switch.kind} has none of its own")
    yield from _one_secret(source, loc, switch, needed=switch.kind not in KEYLESS_SWITCHES)
    yield from _address(source, (*loc, "base_url"), switch.base_url)


def _automation(source: Source, loc: Loc, provider: ProviderConfig) -> Errors:
    """What only `webhook` and `command` have, and cannot do without."""
    declared = provider.kind in DECLARED
    if declared and not provider.steps:
        yield source.error((*loc, "steps"), "nothing", "the steps that your automation has, like `disable:`")
    if provider.steps and not declared:
        expected = f"nothing: {provider.kind} has its own; only {' and '.join(sorted(DECLARED))} are told theirs"
        yield source.error((*loc, "steps"), "steps", expected)
    if provider.steps.get("revoke", DeclaredStepConfig()).reversible:
        yield source.error((*loc, "steps", "revoke", "reversible"), "true", "false: what can be undone is `disable`")
    if provider.kind == "command" and not "".join(provider.command[:1]).startswith("/"):
        found = shown(provider.command[0]) if provider.command else "nothing"
        yield source.error((*loc, "command"), found, "the program's full path, then its arguments")


def _routes(folder: Folder, sources: Sources) -> Errors:
    source, routes = sources["routes"], folder.routes
    for name, channel in routes.channels.items():
        yield from _channel(source, ("channels", name), channel)
    yield from _route_channels(source, routes)


def _channel(source: Source, loc: Loc, channel: ChannelConfig) -> Errors:
    if channel.kind not in CHANNEL_KINDS:
        yield source.error((*loc, "kind"), shown(channel.kind), did_you_mean(channel.kind, CHANNEL_KINDS))
    for setting, expected in lacking(channel):
        yield source.error((*loc, *setting), "nothing", expected)
    for setting, found, expected in misplaced(channel):
        yield source.error((*loc, *setting), found, expected)
    if channel.kind in TO_URL:
        yield from _address(source, (*loc, "target"), channel.target)
    yield from _one_secret(source, loc, channel, needed=needs_secret(channel))
    for setting, value in secrets_of_answers(channel):
        yield from _variable(source, (*loc, *setting), value)
    yield from _address(source, (*loc, "base_url"), channel.base_url)


def _route_channels(source: Source, routes: RoutesConfig) -> Errors:
    for number, route in enumerate(routes.routes):
        for index, channel in enumerate(route.channels):
            yield from _known_channel(source, ("routes", number, "channels", index), channel, routes)
        for step, further in enumerate(route.escalate):
            for index, channel in enumerate(further.to):
                yield from _known_channel(source, ("routes", number, "escalate", step, "to", index), channel, routes)


def _leaks(source: Source, leaks: LeaksConfig) -> Errors:
    yield from _variable(source, ("leaks", "token_env"), leaks.token_env)
    yield from _variable(source, ("leaks", "github_token_env"), leaks.github_token_env)
    yield from _address(source, ("leaks", "github_keys_url"), leaks.github_keys_url)
    if leaks.trusted and not leaks.token_env:
        expected = "leaks.token_env, a token of their own: the intake's is held by everybody who sends events"
        yield source.error(("leaks", "trusted"), "true without it", expected)


def _known_channel(source: Source, loc: Loc, channel: str, routes: RoutesConfig) -> Errors:
    if channel not in routes.channels:
        expected = did_you_mean(channel, routes.channels, otherwise="a name from `channels`:")
        yield source.error(loc, shown(channel), expected)


def _one_secret(
    source: Source, loc: Loc, owner: ChannelConfig | ProviderConfig | SwitchConfig, *, needed: bool
) -> Errors:
    yield from _variable(source, (*loc, "secret_env"), owner.secret_env)
    places = ["secret_env", "secret_file", *(["secret_vault"] if isinstance(owner, ProviderConfig) else [])]
    named = [place for place in places if getattr(owner, place)]
    either = f"{', '.join(places[:-1])} or {places[-1]}"
    if len(named) > 1:
        yield source.error((*loc, named[-1]), "a second place for the secret", f"{either}, and only one")
    if needed and not named:
        yield source.error((*loc, "secret_env"), "nothing", f"{either}: where its secret is")


def _keys(folder: Folder, sources: Sources) -> Errors:
    source = sources["keys"]
    first: dict[str, int] = {}
    for number, key in enumerate(folder.keys.keys):
        loc = ("keys", number, "key_id")
        yield from _key_id(source, loc, key.key_id)
        if key.key_id in first:
            yield source.error(loc, f"{shown(key.key_id)} again", f"each key once (first on line {first[key.key_id]})")
        first.setdefault(key.key_id, source.line(loc))


def _key_id(source: Source, loc: Loc, key_id: str) -> Errors:
    """A mistyped fingerprint would match no key, and quietly protect nothing."""
    if key_id.startswith(VERSION) and not FINGERPRINT.fullmatch(key_id):
        yield source.error(loc, shown(key_id), f"{VERSION} and 32 hex digits, in small letters")


def _named_key_ids(
    part: str, ids: Callable[[Folder], Iterator[tuple[Loc, str]]]
) -> Callable[[Folder, Sources], Errors]:
    def check(folder: Folder, sources: Sources) -> Errors:
        for loc, key_id in ids(folder):
            yield from _key_id(sources[part], loc, key_id)

    return check


def _acting_provider(folder: Folder, sources: Sources) -> Errors:
    """A mode that acts needs somebody to act through, and the first theft is a bad moment to learn it."""
    for number, key in enumerate(folder.keys.keys):
        mode = folder.responses.mode_of(key.key_id, key.env)
        if mode != "observe" and key.provider not in folder.wiring.providers:
            known = did_you_mean(key.provider, folder.wiring.providers, otherwise="there are:")
            expected = f"a name from `providers` in keyfuse.yaml, because the key's mode is {mode}; {known}"
            yield sources["keys"].error(("keys", number, "provider"), shown(key.provider), expected)


def _backups(folder: Folder, sources: Sources) -> Errors:
    yield from check_backups(sources["keys"], folder.keys.keys, folder.wiring.switches)


def _policies(folder: Folder, sources: Sources) -> Errors:
    first: dict[str, int] = {}
    for number, policy in enumerate(folder.policies.policies):
        loc = ("policies", number, "name")
        if policy.name in first:
            found, line = f"{shown(policy.name)} again", first[policy.name]
            yield sources["policies"].error(loc, found, f"a name of its own (first on line {line})")
        first.setdefault(policy.name, sources["policies"].line(loc))


def _families(folder: Folder, sources: Sources) -> Errors:
    """A family that nobody wrote down would allow nothing, or deny nothing."""
    known = folder.policies.families
    for number, policy in enumerate(folder.policies.policies):
        for name in ("allowed_models", "denied_models"):
            for index, pattern in enumerate(getattr(policy, name) or ()):
                if pattern[:1] == "@" and pattern[1:] not in known:
                    expected = f"a name from `families`; {did_you_mean(pattern[1:], known, otherwise='there are:')}"
                    yield sources["policies"].error(("policies", number, name, index), shown(pattern), expected)


def _responses(folder: Folder, sources: Sources) -> Errors:
    responses: ResponsesConfig = folder.responses
    if responses.retry.wait_initial_s > responses.retry.wait_max_s:
        found = f"{responses.retry.wait_initial_s:g}"
        expected = f"at most retry.wait_max_s, which is {responses.retry.wait_max_s:g}"
        yield sources["responses"].error(("retry", "wait_initial_s"), found, expected)


def _announced(folder: Folder, sources: Sources) -> Errors:
    source, longest_s = sources["detectors"], EXPECTED_MAX_MS / 1000
    for number, window in enumerate(folder.detectors.announced):
        loc = ("announced", number)
        if not (window.keys or window.teams or window.apps or window.envs):
            yield source.error((*loc, "keys"), "nothing", 'keys, teams, apps or envs; `keys: ["*"]` means every key')
        if not window.families:
            yield source.error((*loc, "families"), "nothing", "the families that expect it, or no `families` at all")
        lasts_s = (window.until - window.from_).total_seconds()
        if not 0 < lasts_s <= longest_s:
            found = f"{window.until:%Y-%m-%dT%H:%M:%SZ}"
            yield source.error((*loc, "until"), found, f"later than `from`, by at most {longest_s / 86_400:g} days")


def _ids_of_policies(folder: Folder) -> Iterator[tuple[Loc, str]]:
    for number, policy in enumerate(folder.policies.policies):
        yield from ((("policies", number, "keys", index), key_id) for index, key_id in enumerate(policy.keys))


def _ids_of_detectors(folder: Folder) -> Iterator[tuple[Loc, str]]:
    yield from ((("keys", key_id), key_id) for key_id in folder.detectors.keys)


def _ids_of_responses(folder: Folder) -> Iterator[tuple[Loc, str]]:
    yield from ((("key_modes", key_id), key_id) for key_id in folder.responses.key_modes)
    yield from ((("protected_keys", index), key_id) for index, key_id in enumerate(folder.responses.protected_keys))


def _shadow(folder: Folder, sources: Sources) -> Errors:
    """What is on trial must be as right as the file it may replace."""
    if folder.shadow is not None:
        on_trial = replace(folder, detectors=folder.shadow)
        yield from _named_key_ids("detectors", _ids_of_detectors)(on_trial, {"detectors": sources["shadow"]})
        yield from _announced(on_trial, {"detectors": sources["shadow"]})


_CHECKS: Final[tuple[tuple[tuple[str, ...], Callable[[Folder, Sources], Errors]], ...]] = (
    (("wiring",), _wiring),
    (("routes",), _routes),
    (("keys",), _keys),
    (("policies",), _policies),
    (("policies",), _families),
    (("people",), one_person_each),
    (("keys", "people"), approvers_are_people),
    (("responses",), _responses),
    (("detectors",), _announced),
    (("budgets",), check_budgets),
    (("budgets", "people"), check_budget_people),
    (("budgets", "routes"), check_budget_channels),
    (("policies",), _named_key_ids("policies", _ids_of_policies)),
    (("detectors",), _named_key_ids("detectors", _ids_of_detectors)),
    (("responses",), _named_key_ids("responses", _ids_of_responses)),
    (("keys", "responses", "wiring"), _acting_provider),
    (("keys", "wiring"), _backups),
    (("shadow",), _shadow),
    (("wiring",), probes),
    (("keys", "wiring"), probes_of_keys),
)
