"""The folder: what is right loads, what is wrong is told all at once, with its place, and never with a secret."""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from alerting.channels.build import KINDS
from schemas.signing import Signer
from service.channel_checks import CHANNEL_KINDS
from service.config_folder import ConfigErrors, Folder, FolderWatch, load_folder, write_templates
from service.config_settings import settings_of
from service.config_templates import render_template
from service.config_tree import FILES
from service.errors import UserError
from service.yaml_source import parse_source

SECRET = "sk-proj-Ab3dEf6hIj9kLm2nOp5qT3BlbkFJQr8sTu1vWx4yZa7b"
ROUTING_KEY = "e93facc04764012d7bfb002500d5d1a6"
FP = "fp1:" + "0" * 32


def folder(path: Path, **files: str) -> Path:
    for name, text in files.items():
        (path / f"{name}.yaml").write_text(text)
    return path


def mistakes(path: Path) -> list[str]:
    """As `place key: found -> expected`."""
    with pytest.raises(ConfigErrors) as errors:
        load_folder(path)
    return [f"{e.place} {e.key}: {e.found} -> {e.expected}" for e in errors.value.errors]


def test_a_missing_or_empty_folder_means_the_defaults(tmp_path: Path) -> None:
    assert load_folder(tmp_path / "nowhere") == load_folder(tmp_path) == Folder()


@pytest.mark.parametrize("text", ["", "\n", "# nothing yet\n", "---\n", "\ufeff# from an editor that means well\n"])
def test_an_empty_file_means_the_defaults(text: str, tmp_path: Path) -> None:
    assert load_folder(folder(tmp_path, keyfuse=text, routes=text)) == Folder()


def test_what_is_written_is_taken(tmp_path: Path) -> None:
    loaded = load_folder(
        folder(
            tmp_path,
            keyfuse="kafka: {bootstrap: 'k1:9092', partitions: 12}\nproviders:\n"
            "  openai: {kind: openai, secret_env: OPENAI_ADMIN_KEY}\n",
            detectors="limits: {usd_per_min: null}\nenvironments: {no: {usd_per_hour: 3}}\n",
            keys=f"keys:\n- {{key_id: '{FP}', provider: openai, env: prod}}\n",
            responses="modes: {prod: auto}\n",
            routes="channels:\n  siem: {kind: webhook, target: 'https://siem.example.com/x'}\n"
            "routes:\n- {channels: [siem], continue: true}\n",
        )
    )
    assert (loaded.wiring.kafka.partitions, loaded.wiring.kafka.replication_factor) == (12, 1)
    assert loaded.detectors.limits.usd_per_min is None
    assert loaded.detectors.environments["no"].usd_per_hour == 3  # `no` is a name here, not a truth value
    assert loaded.keys.keys[0].env == "prod"
    assert loaded.responses.mode_of(FP, "prod") == "auto"
    assert loaded.routes.routes[0].continue_


ANNOUNCED = "announced:\n- what: w\n  owner: o\n  reason: r\n  {scope}\n  from: 2026-11-23\n  until: {until}\n{more}"


def announced(until: str, scope: str = "envs: [prod]", more: str = "") -> dict[str, str]:
    return {"detectors": ANNOUNCED.format(scope=scope, until=until, more=more)}


FORBIDDEN: list[tuple[str, dict[str, str], str]] = [
    (
        "an announced time that lasts too long",
        announced("2026-12-25"),
        "detectors.yaml:7 announced[0].until: 2026-12-25T00:00:00Z -> later than `from`, by at most 31 days",
    ),
    (
        "an announced time that ends before it begins",
        announced("2026-11-22T23:00:00Z"),
        "detectors.yaml:7 announced[0].until: 2026-11-22T23:00:00Z -> later than `from`, by at most 31 days",
    ),
    (
        "an announced time of no key",
        announced("2026-11-24", "teams: []"),
        'detectors.yaml:2 announced[0].keys: nothing -> keys, teams, apps or envs; `keys: ["*"]` means every key',
    ),
    (
        "an announced time that is no time",
        announced("tomorrow"),
        'detectors.yaml:7 announced[0].until: "tomorrow" -> a time (RFC 3339) or a date',
    ),
    (
        "an announced time of a certain family",
        announced("2026-11-24", more="  families: [policy]\n"),
        'detectors.yaml:8 announced[0].families[0]: "policy" -> one of velocity, drift, economics, mix, origin,'
        " rhythm, errors, repetition, cohort",
    ),
    (
        "an announced time of no family",
        announced("2026-11-24", more="  families: []\n"),
        "detectors.yaml:8 announced[0].families: nothing -> the families that expect it, or no `families` at all",
    ),
    (
        "an announced time of more than a thousand times the usual",
        announced("2026-11-24", more="  times: 2000\n"),
        "detectors.yaml:8 announced[0].times: 2000 -> a number from 1.1 to 1000",
    ),
    (
        "an announced time without an owner",
        {"detectors": "announced: [{what: w, reason: r, keys: ['*'], from: 2026-11-23, until: 2026-11-24}]\n"},
        "detectors.yaml:1 announced[0].owner: nothing -> text, not empty (required)",
    ),
    (
        "a family of models that nobody wrote down",
        {"policies": "families: {small: [x]}\npolicies:\n- name: p\n  allowed_models: ['@smal']\n"},
        'policies.yaml:4 policies[0].allowed_models[0]: "@smal" -> a name from `families`; did you mean "small"?',
    ),
    (
        "hours that end when they begin",
        {"policies": "policies:\n- name: p\n  hours: {from: '08:00', until: '08:00'}\n"},
        "policies.yaml:3 policies[0].hours: what cannot be -> hours that end when they begin; leave out from and until"
        " for the whole day",
    ),
    (
        "an exception that could last for ever",
        {"policies": "exceptions_max_days: 365\n"},
        "policies.yaml:1 exceptions_max_days: 365 -> a number above 0 up to 31, in days",
    ),
    (
        "unknown setting",
        {"keyfuse": "kafka:\n  bootstap: x\n"},
        'keyfuse.yaml:2 kafka.bootstap: unknown setting "bootstap" -> did you mean "bootstrap"?',
    ),
    (
        "unknown file-level setting",
        {"budgets": "zzz: 1\n"},
        'budgets.yaml:1 zzz: unknown setting "zzz" -> one of acceptable_loss_usd, budgets, default_acceptable_loss_usd',
    ),
    (
        "wrong number",
        {"keyfuse": "# one\nkafka:\n\n  partitions: 0\n"},
        "keyfuse.yaml:4 kafka.partitions: 0 -> a whole number from 1 to 256",
    ),
    (
        "half a partition",
        {"keyfuse": "kafka: {partitions: 1.5}\n"},
        "keyfuse.yaml:1 kafka.partitions: 1.5 -> a whole number from 1 to 256",
    ),
    (
        "text for a number",
        {"detectors": "limits:\n  usd_per_min: twenty\n"},
        'detectors.yaml:2 limits.usd_per_min: "twenty" -> a number above 0, or null, in USD per minute',
    ),
    (
        "not finite",
        {"detectors": "limits:\n  usd_per_min: .inf\n"},
        "detectors.yaml:2 limits.usd_per_min: .inf -> a finite number",
    ),
    (
        "number for text",
        {"keys": f"keys:\n  - key_id: '{FP}'\n    provider: openai\n    team: 12\n"},
        "keys.yaml:4 keys[0].team: 12 -> text (put it in quotes)",
    ),
    (
        "text for a list",
        {"policies": "policies:\n- name: a\n  allowed_models: gpt\n"},
        'policies.yaml:3 policies[0].allowed_models: "gpt" -> a list, not empty, of text',
    ),
    (
        "empty list",
        {"policies": "policies:\n- name: a\n  allowed_models: []\n"},
        "policies.yaml:3 policies[0].allowed_models: a list -> a list, not empty, of text",
    ),
    (
        "nothing for a section",
        {"keyfuse": "data_dir: x\nkafka:\n"},
        "keyfuse.yaml:2 kafka: nothing -> a section with settings",
    ),
    (
        "required",
        {"keys": "keys:\n  - team: a\n    provider: openai\n"},
        "keys.yaml:2 keys[0].key_id: nothing -> text, not empty (required)",
    ),
    ("mode", {"responses": "mode: autoo\n"}, 'responses.yaml:1 mode: "autoo" -> one of observe, approve, auto; '),
    ("truth", {"detectors": "mix:\n  enabled: 3\n"}, "detectors.yaml:2 mix.enabled: 3 -> true or false"),
    (
        "twice",
        {"responses": "mode: auto\nmodes: {}\nmode: observe\n"},
        "responses.yaml:3 mode: it a second time -> it once (first on line 1)",
    ),
    (
        "tab",
        {"keyfuse": "kafka:\n\tpartitions: 3\n"},
        "keyfuse.yaml:2 : a tab -> spaces: YAML does not take tabs before a setting",
    ),
    ("syntax", {"routes": "routes: [\n"}, "routes.yaml:2 : YAML that cannot be read (while parsing a flow node: "),
    ("list at the top", {"keys": "- a\n"}, "keys.yaml:1 : a list -> settings, one `name: value` to a line"),
    ("text at the top", {"keys": "hello\n"}, 'keys.yaml:1 : "hello" -> settings, one `name: value` to a line'),
    ("two documents", {"keys": "keys: []\n---\n"}, "keys.yaml:2 : a second document (`---`) -> one document to a file"),
    ("python tag", {"keyfuse": "data_dir: !!python/name:os.x\n"}, "keyfuse.yaml:1 data_dir: a value marked tag:yaml"),
    ("section as a name", {"keyfuse": "? [a]\n: 1\n"}, "keyfuse.yaml:1 : a section or list as a name -> text before"),
    ("alias of itself", {"keys": "keys: &a [*a]\n"}, "keys.yaml : lists or sections in each other without end"),
    ("deep nesting", {"keys": f"keys: {'[' * 100_000}\n"}, "keys.yaml : lists or sections in each other without end"),
    (
        "of several types none",
        {"keyfuse": "gate:\n  unpriced: {dev: dearset}\n"},
        'keyfuse.yaml:2 gate.unpriced.dev: "dearset" -> one of refuse, dearest, or a number from 0 up; '
        'did you mean "dearest"?',
    ),
    ("other file", {"route": "routes: []\n"}, 'route.yaml : a file that is not read -> did you mean "routes.yaml"?'),
    (
        "unknown channel",
        {
            "routes": "channels:\n  oncall: {kind: pagerduty, secret_env: PD_KEY}\n"
            "routes:\n  - channels:\n    - oncall\n    - oncal\n"
        },
        'routes.yaml:6 routes[0].channels[1]: "oncal" -> did you mean "oncall"?',
    ),
    (
        "unknown channel to escalate to",
        {
            "routes": "channels:\n  oncall: {kind: pagerduty, secret_env: PD_KEY}\n"
            "routes:\n  - channels: [oncall]\n    escalate:\n    - {after_min: 5, to: [oncal]}\n"
        },
        'routes.yaml:6 routes[0].escalate[0].to[0]: "oncal" -> did you mean "oncall"?',
    ),
    (
        "mail without a relay",
        {"routes": "channels:\n  a:\n    kind: email\n    email: {sender: k@example.com, to: [a@example.com]}\n"},
        "routes.yaml:4 channels.a.email.host: nothing -> the mail relay's name",
    ),
    (
        "mail sign-in without a password",
        {
            "routes": "channels:\n  a:\n    kind: email\n"
            "    email: {host: relay, username: k, sender: k@example.com, to: [a@example.com]}\n"
        },
        "routes.yaml:2 channels.a.secret_env: nothing -> secret_env or secret_file: where its secret is",
    ),
    (
        "syslog to nowhere",
        {"routes": "channels:\n  a:\n    kind: syslog\n    syslog: {transport: udp}\n"},
        "routes.yaml:4 channels.a.syslog.host: nothing -> the collector's name",
    ),
    (
        "teams without its address",
        {"routes": "channels:\n  a: {kind: teams}\n"},
        "routes.yaml:2 channels.a.secret_env: nothing -> secret_env or secret_file: where its secret is",
    ),
    (
        "no channels at all",
        {"routes": "routes:\n- channels: [oncall]\n"},
        'routes.yaml:2 routes[0].channels[0]: "oncall" -> a name from `channels`: (there are none yet)',
    ),
    (
        "unknown channel kind",
        {"routes": "channels:\n  a:\n    kind: slak\n    target: C1\n    secret_env: SLACK_TOKEN\n"},
        'routes.yaml:3 channels.a.kind: "slak" -> did you mean "slack"?',
    ),
    (
        "slack without target",
        {"routes": "channels:\n  a: {kind: slack, secret_env: SLACK_TOKEN}\n"},
        "routes.yaml:2 channels.a.target: nothing -> a channel id, like C0123ABCD",
    ),
    (
        "socket mode without its token",
        {
            "routes": "channels:\n  a:\n    kind: slack\n    target: C1\n    secret_env: SLACK_TOKEN\n"
            "    slack: {answers: socket}\n"
        },
        "routes.yaml:6 channels.a.slack.app_token_env: nothing -> app_token_env or app_token_file: "
        "`answers: socket` needs the app-level token (xapp-)",
    ),
    (
        "signed calls without the secret",
        {
            "routes": "channels:\n  a:\n    kind: slack\n    target: C1\n    secret_env: SLACK_TOKEN\n"
            "    slack: {answers: http, app_token_env: SLACK_APP}\n"
        },
        "routes.yaml:6 channels.a.slack.signing_secret_env: nothing -> signing_secret_env or signing_secret_file: "
        "`answers: http` needs the app's signing secret",
    ),
    (
        "two places for the app token",
        {
            "routes": "channels:\n  a:\n    kind: slack\n    target: C1\n    secret_env: SLACK_TOKEN\n"
            "    slack: {app_token_env: SLACK_APP, app_token_file: /run/x}\n"
        },
        "routes.yaml:6 channels.a.slack.app_token_file: a second place for the secret -> "
        "app_token_env or app_token_file, not both",
    ),
    (
        "answers of slack at another kind",
        {"routes": "channels:\n  a:\n    kind: pagerduty\n    secret_env: PD\n    slack: {answers: socket}\n"},
        "routes.yaml:5 channels.a.slack: slack -> nothing: the channel is of kind pagerduty",
    ),
    (
        "a timezone that is none",
        {
            "routes": "channels:\n  a:\n    kind: slack\n    target: C1\n    secret_env: SLACK_TOKEN\n"
            "    slack: {timezone: Europe/Nowhere}\n"
        },
        "routes.yaml:6 channels.a.slack: what cannot be -> no timezone of that name: 'Europe/Nowhere'",
    ),
    (
        "no secret named",
        {"routes": "channels:\n  a: {kind: pagerduty}\n"},
        "routes.yaml:2 channels.a.secret_env: nothing -> secret_env or secret_file: where its secret is",
    ),
    (
        "two places for the secret of PagerDuty's webhook",
        {
            "routes": "channels:\n  a:\n    kind: pagerduty\n    secret_env: PD_KEY\n"
            "    pagerduty: {webhook_secret_env: PD_HOOK, webhook_secret_file: /run/x}\n"
        },
        "routes.yaml:5 channels.a.pagerduty.webhook_secret_file: a second place for the secret -> "
        "webhook_secret_env or webhook_secret_file, not both",
    ),
    (
        "a webhook of PagerDuty for Teams",
        {
            "routes": "channels:\n  a:\n    kind: teams\n    secret_env: TEAMS_URL\n"
            "    pagerduty: {webhook_secret_env: PD_HOOK}\n"
        },
        "routes.yaml:5 channels.a.pagerduty: pagerduty -> nothing: the channel is of kind teams",
    ),
    (
        "two places for one secret",
        {"routes": "channels:\n  a: {kind: pagerduty, secret_env: PD_KEY, secret_file: /run/x}\n"},
        "routes.yaml:2 channels.a.secret_file: a second place for the secret -> secret_env or secret_file, and only",
    ),
    (
        "webhook without an address",
        {"routes": "channels:\n  a: {kind: webhook, target: siem.example.com}\n"},
        'routes.yaml:2 channels.a.target: "siem.example.com" -> an address that begins with https:// or http://',
    ),
    (
        "unknown provider kind",
        {"keyfuse": "providers:\n  p: {kind: opanai, secret_env: K}\n"},
        'keyfuse.yaml:2 providers.p.kind: "opanai" -> did you mean "openai"?',
    ),
    (
        "gateway without address",
        {"keyfuse": "providers:\n  p: {kind: litellm, secret_env: K}\n"},
        "keyfuse.yaml:2 providers.p.base_url: nothing -> its address: litellm has none of its own",
    ),
    (
        "automation without steps",
        {"keyfuse": "providers:\n  p: {kind: webhook, base_url: 'https://a', secret_env: K}\n"},
        "keyfuse.yaml:2 providers.p.steps: nothing -> the steps that your automation has, like `disable:`",
    ),
    (
        "steps for a kind that has its own",
        {"keyfuse": "providers:\n  p: {kind: openai, secret_env: K, steps: {disable: {}}}\n"},
        "keyfuse.yaml:2 providers.p.steps: steps -> nothing: openai has its own; only command and webhook",
    ),
    (
        "a revoke that comes back",
        {
            "keyfuse": "providers:\n  p:\n    kind: command\n    command: [/x]\n"
            "    steps: {revoke: {reversible: true}}\n"
        },
        "keyfuse.yaml:5 providers.p.steps.revoke.reversible: true -> false: what can be undone is `disable`",
    ),
    (
        "a program without its path",
        {"keyfuse": "providers:\n  p: {kind: command, command: [cut-key, -v], steps: {disable: {}}}\n"},
        'keyfuse.yaml:2 providers.p.command: "cut-key" -> the program\'s full path, then its arguments',
    ),
    (
        "three places for one admin key",
        {
            "keyfuse": "vault: {address: 'https://v'}\nproviders:\n"
            "  p: {kind: openai, secret_env: K, secret_file: /run/x, secret_vault: 'kv/a#b'}\n"
        },
        "keyfuse.yaml:3 providers.p.secret_vault: a second place for the secret -> secret_env, secret_file or "
        "secret_vault, and only one",
    ),
    (
        "an admin key in a Vault nobody named",
        {"keyfuse": "providers:\n  p: {kind: openai, secret_vault: 'kv/keyfuse/openai#key'}\n"},
        "keyfuse.yaml:1 vault.address: nothing -> where Vault is: providers.p asks it",
    ),
    (
        "a place in Vault without its field",
        {"keyfuse": "providers:\n  p: {kind: openai, secret_vault: kv/keyfuse/openai}\n"},
        'keyfuse.yaml:2 providers.p.secret_vault: "kv/keyfuse/openai" -> ',
    ),
    (
        "a public key that is none",
        {"keyfuse": "commands:\n  public_keys: ['abc']\n"},
        'keyfuse.yaml:2 commands.public_keys[0]: "abc" -> ',
    ),
    (
        "a key where its variable belongs",
        {"keyfuse": "commands:\n  signing_key_env: commands.pem\n"},
        "keyfuse.yaml:2 commands.signing_key_env: ",
    ),
    (
        "one of several replicas without its scheme",
        {"keyfuse": "providers:\n  p: {kind: litellm, secret_env: K, base_url: 'http://a:4000, b:4000'}\n"},
        'keyfuse.yaml:2 providers.p.base_url: "b:4000" -> an address that begins with https:// or http://',
    ),
    (
        "a call with a key to nowhere",
        {"keyfuse": "providers:\n  p: {kind: openai, secret_env: K, probe_url: 'https://a/models, b/models'}\n"},
        'keyfuse.yaml:2 providers.p.probe_url: "b/models" -> an address that begins with https:// or http://',
    ),
    (
        "a key's secret in two places",
        {
            "keyfuse": "providers:\n  p: {kind: openai, secret_env: K}\n",
            "keys": "keys:\n- {key_id: k, provider: p, probe_secret_env: A, probe_secret_file: /b}\n",
        },
        "keys.yaml:2 keys[0].probe_secret_file: a second place for the secret -> probe_secret_env or probe_secret_file",
    ),
    (
        "a key's secret for a kind that has no call",
        {
            "keyfuse": "providers:\n  p: {kind: vault, base_url: 'https://v', secret_env: K}\n",
            "keys": "keys:\n- {key_id: k, provider: p, probe_secret_file: /b}\n",
        },
        'keys.yaml:2 keys[0].probe_secret_file: "/b" -> nothing, or a probe_url under `providers: p:` in keyfuse.yaml',
    ),
    (
        "a key's secret for nobody",
        {"keys": "keys:\n- {key_id: k, provider: p, probe_secret_env: KEY_OF_SHOP}\n"},
        "keys.yaml:2 keys[0].probe_secret_env: another text (not shown: it may be a secret) -> nothing, or",
    ),
    (
        "a key where its variable's name belongs",
        {
            "keyfuse": "providers:\n  p: {kind: openai, secret_env: K}\n",
            "keys": "keys:\n- {key_id: k, provider: p, probe_secret_env: 'K Y'}\n",
        },
        "keys.yaml:2 keys[0].probe_secret_env:",
    ),
    (
        "key twice",
        {"keys": f"keys:\n- key_id: '{FP}'\n  provider: a\n- key_id: '{FP}'\n  provider: b\n"},
        f'keys.yaml:4 keys[1].key_id: "{FP}" again -> each key once (first on line 2)',
    ),
    (
        "policy twice",
        {"policies": "policies:\n- {name: a, allowed_models: [x]}\n- {name: a, allowed_models: [y]}\n"},
        'policies.yaml:3 policies[1].name: "a" again -> a name of its own (first on line 2)',
    ),
    (
        "mistyped fingerprint",
        {"responses": "protected_keys:\n  - fp1:ABC\n"},
        'responses.yaml:2 protected_keys[0]: "fp1:ABC" -> fp1: and 32 hex digits, in small letters',
    ),
    (
        "mistyped fingerprint of a limit",
        {"detectors": "keys:\n  fp1:12: {usd_per_min: 1}\n"},
        'detectors.yaml:2 keys.fp1:12: "fp1:12" -> fp1: and 32 hex digits, in small letters',
    ),
    (
        "mistyped fingerprint of a policy",
        {"policies": "policies:\n- {name: a, keys: ['fp1:x'], allowed_models: [x]}\n"},
        'policies.yaml:2 policies[0].keys[0]: "fp1:x" -> fp1: and 32 hex digits, in small letters',
    ),
    (
        "nobody to act through",
        {
            "keyfuse": "providers:\n  openai: {kind: openai, secret_env: K}\n",
            "keys": "keys:\n- key_id: k\n  provider: openapi\n  env: prod\n",
            "responses": "modes: {prod: auto}\n",
        },
        'keys.yaml:3 keys[0].provider: "openapi" -> a name from `providers` in keyfuse.yaml, '
        'because the key\'s mode is auto; did you mean "openai"?',
    ),
    (
        "first pause longer than the longest",
        {"responses": "retry:\n  wait_initial_s: 60\n"},
        "responses.yaml:2 retry.wait_initial_s: 60 -> at most retry.wait_max_s, which is 30",
    ),
    (
        "two people who are one in Slack",
        {"people": "people:\n  ada: {role: approver, slack: U0ADA}\n  vera: {role: viewer, slack: U0ADA}\n"},
        'people.yaml:3 people.vera.slack: "U0ADA" -> an id of vera alone: ada has this one',
    ),
    (
        "an approver who is nobody",
        {"people": "people: {ada: {role: approver}}\n", "keys": "issuing: {approvers: {search: [adda]}}\n"},
        'keys.yaml:1 issuing.approvers.search[0]: "adda" -> did you mean "ada"?',
    ),
    (
        "a token where its variable belongs",
        {"keyfuse": "key_requests: {token_env: hunter2}\n"},
        "keyfuse.yaml:1 key_requests.token_env: another text (not shown: it may be a secret) -> the name of an",
    ),
    (
        "trust in a token that everybody who sends events has",
        {"keyfuse": "leaks: {trusted: true}\n"},
        "keyfuse.yaml:1 leaks.trusted: true without it -> leaks.token_env, a token of their own",
    ),
    (
        "GitHub's keys from nowhere",
        {"keyfuse": "leaks: {github_keys_url: ftp://x}\n"},
        'keyfuse.yaml:1 leaks.github_keys_url: "ftp://x" -> an address that begins with https://',
    ),
    (
        "topic prefix",
        {"keyfuse": "kafka: {topic_prefix: 'a/b'}\n"},
        'keyfuse.yaml:1 kafka.topic_prefix: "a/b" -> only letters, digits, dots, dashes and underscores, at most 100',
    ),
    (
        "store",
        {"keyfuse": "store: {dsn: 'postgres://x'}\n"},
        "keyfuse.yaml:1 store.dsn: an address that cannot be used -> expected chdb://PATH, clickhouse://",
    ),
]


@pytest.mark.parametrize(("files", "told"), [case[1:] for case in FORBIDDEN], ids=[case[0] for case in FORBIDDEN])
def test_forbidden(files: dict[str, str], told: str, tmp_path: Path) -> None:
    """One test per forbidden configuration: one mistake, told in the user's words with its line."""
    (found,) = mistakes(folder(tmp_path, **files))
    assert found.startswith(told)


def test_a_gateway_has_several_addresses_and_a_cloud_may_know_the_machine_itself(tmp_path: Path) -> None:
    gateway = "{kind: litellm, secret_env: K, base_url: 'http://a:4000, http://b:4000'}"
    text = f"providers:\n  p: {gateway}\n  az: {{kind: azure}}\n"
    assert set(load_folder(folder(tmp_path, keyfuse=text)).wiring.providers) == {"p", "az"}


def test_a_mode_that_only_observes_needs_no_provider(tmp_path: Path) -> None:
    load_folder(folder(tmp_path, keys="keys:\n- {key_id: k, provider: nobody}\n"))


def test_all_mistakes_come_at_once_in_the_order_of_the_files(tmp_path: Path) -> None:
    path = folder(
        tmp_path,
        keyfuse="kafka: {partitions: 0, replication_factor: -1}\n",
        keys="keys:\n- {key_id: k}\n- {key_id: k2, provider: p, teem: x}\n",
        routes="routes:\n- channels: [nowhere]\n",
        responses="mode: never\n",
    )
    assert [line.split(": ")[0] for line in mistakes(path)] == [
        "keyfuse.yaml:1 kafka.partitions",
        "keyfuse.yaml:1 kafka.replication_factor",
        "keys.yaml:2 keys[0].provider",
        "keys.yaml:3 keys[1].teem",
        "routes.yaml:2 routes[0].channels[0]",
        "responses.yaml:1 mode",
    ]


def test_mistakes_read_as_a_table(tmp_path: Path) -> None:
    path = folder(tmp_path, keyfuse="kafka:\n  partitions: 0\n", responses="mode: never\n")
    with pytest.raises(ConfigErrors) as errors:
        load_folder(path)
    assert str(errors.value).splitlines() == [
        f"{path}: 2 mistakes",
        "  keyfuse.yaml:2    kafka.partitions  found 0; expected a whole number from 1 to 256",
        '  responses.yaml:1  mode              found "never"; expected one of observe, approve, auto',
    ]
    assert isinstance(errors.value, UserError), "the command line shows it as a sentence, not as a traceback"


def test_a_flood_of_mistakes_stays_readable(tmp_path: Path) -> None:
    path = folder(tmp_path, keys="keys:\n" + "- {team: x}\n" * 200)
    with pytest.raises(ConfigErrors) as errors:
        load_folder(path)
    assert len(errors.value.errors) == 400
    assert str(errors.value).splitlines()[-1] == "  ... and 350 more"


@pytest.mark.parametrize(
    ("files", "where"),
    [
        ({"keyfuse": f"providers:\n  openai:\n    kind: openai\n    secret_env: {SECRET}\n"}, "keyfuse.yaml:4"),
        ({"keyfuse": f"providers:\n  openai:\n    kind: openai\n    secret: {SECRET}\n"}, "keyfuse.yaml:4"),
        ({"keyfuse": "store:\n  dsn: clickhouse://kf:hunter2222@ch/db\n"}, "keyfuse.yaml:2"),
        ({"keys": f"keys:\n- key_id: {SECRET}\n  provider: openai\n"}, "keys.yaml:2"),
        ({"detectors": f"keys:\n  {SECRET}: {{usd_per_min: 1}}\n"}, "detectors.yaml:2"),
        ({"detectors": f"keys:\n  {SECRET}: {{usd_per_min: -1}}\n"}, "detectors.yaml:2"),
        ({"responses": f"key_modes:\n  {SECRET}: nothing\n"}, "responses.yaml:2"),
        ({"responses": f"protected_keys:\n- [{SECRET}]\n"}, "responses.yaml:2"),
        ({"responses": f"mode: {SECRET}\n"}, "responses.yaml:1"),
        ({"routes": f"{SECRET}: [\n"}, "routes.yaml:2"),
        ({"routes": f"a: *{SECRET}\n"}, "routes.yaml:1"),
        ({"routes": f"a: !{SECRET} x\n"}, "routes.yaml:1"),
        ({"routes": f"channels:\n  a: {{kind: pagerduty, secret_env: {ROUTING_KEY}}}\n"}, "routes.yaml:2"),
        ({"routes": f"channels:\n  a: {{kind: pagerduty, secret_env: {ROUTING_KEY.upper()}}}\n"}, "routes.yaml:2"),
        ({"routes": f"routes:\n- channels: [{SECRET}]\n"}, "routes.yaml:2"),
    ],
)
def test_secrets_in_the_folder_are_refused_and_not_shown(files: dict[str, str], where: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors) as errors:
        load_folder(folder(tmp_path, **files))
    told = str(errors.value) + repr(errors.value.errors)
    assert where in told
    for secret in (SECRET, ROUTING_KEY, ROUTING_KEY.upper(), "hunter2222"):
        assert secret[-10:] not in told


def test_a_secret_is_told_to_go_elsewhere(tmp_path: Path) -> None:
    files = {"keyfuse": f"intake: {{token_env: {SECRET}}}\n", "keys": f"keys:\n- {{key_id: {SECRET}, provider: a}}\n"}
    assert mistakes(folder(tmp_path, **files)) == [
        "keyfuse.yaml:1 intake.token_env: something that looks like a secret (not shown) -> "
        "the name of an environment variable or file: secrets do not belong into YAML",
        "keys.yaml:2 keys[0].key_id: something that looks like a secret (not shown) -> "
        "its key_id (`fp1:...` or the provider's public id), never the key itself",
    ]


def test_bytes_and_places_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "keys.yaml").write_bytes(b"keys: []\n# \xff\n")
    (tmp_path / "routes.yaml").mkdir()
    assert mistakes(tmp_path) == [
        "keys.yaml:2 : bytes that are not UTF-8 -> a text file in UTF-8",
        "routes.yaml : (Is a directory) -> a file that can be read",
    ]
    assert "a folder; `keyfuse init`" in mistakes(tmp_path / "keys.yaml")[0]


def test_aliases_cannot_fill_the_memory() -> None:
    layers = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 12)]
    source = parse_source("keys.yaml", "\n".join(["l0: &l0 [x]", *layers]), max_values=10_000)
    assert [error.key for error in source.errors] == [""]


@given(st.text(alphabet=st.sampled_from("ab:-[]{}#&*!|>'\"%@`,? \n\t0.~"), max_size=60))
def test_whatever_is_written_there_is_an_answer(text: str) -> None:
    """No text ends in an exception, and what YAML itself refuses is refused here."""
    source = parse_source("keys.yaml", text)
    try:
        plain = yaml.load(text, yaml.CSafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError):
        assert source.errors
    else:
        assert source.errors or not plain or (isinstance(plain, dict) and len(source.data) == len(plain))


# --- init


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    write_templates(tmp_path / "keyfuse.d", pepper_file=tmp_path / ".keyfuse" / "pepper")
    return tmp_path / "keyfuse.d"


def test_what_init_writes_is_the_defaults(fresh: Path) -> None:
    assert load_folder(fresh) == Folder()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_init_names_every_setting_once_with_its_meaning(file: object, fresh: Path) -> None:
    assert isinstance(file, type(FILES[0]))
    text = (fresh / file.name).read_text()
    words = " ".join(line.strip().removeprefix("#").strip() for line in text.splitlines())
    for setting in settings_of(file.model):
        assert f"{setting.path[-1]}:" in text or re.search(rf"- (\S+\.)?{setting.path[-1]} \(", text), setting.key
        assert setting.meaning in words, setting.key


def test_the_examples_load_together(tmp_path: Path) -> None:
    """What a person uncomments works, file against file."""
    for file in FILES:
        (tmp_path / file.name).write_text(render_template(file, examples=True))
    loaded = load_folder(tmp_path)
    assert loaded.keys.keys
    assert loaded.policies.policies
    assert loaded.routes.routes
    assert loaded.wiring.providers


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_uncommenting_is_taking_two_characters_away(file: object) -> None:
    assert isinstance(file, type(FILES[0]))
    plain, with_examples = render_template(file).splitlines(), render_template(file, examples=True).splitlines()
    assert len(plain) == len(with_examples)
    assert all(line in (other, f"# {other}") for line, other in zip(plain, with_examples, strict=True))


def test_editors_find_the_schema(fresh: Path) -> None:
    for file in FILES:
        first = (fresh / file.name).read_text().splitlines()[0]
        schema = json.loads((fresh / first.removeprefix("# yaml-language-server: $schema=")).read_text())
        assert schema["title"] == file.name
        assert schema["properties"].keys() == {setting.path[0] for setting in settings_of(file.model)}
        assert schema["additionalProperties"] is False


def test_init_makes_a_pepper_for_the_owner_only(fresh: Path) -> None:
    pepper = fresh.parent / ".keyfuse" / "pepper"
    assert stat.S_IMODE(pepper.stat().st_mode) == 0o600
    assert len(pepper.read_text().strip()) == 64


def test_init_makes_a_key_that_signs_commands_for_the_owner_only(fresh: Path) -> None:
    key = fresh.parent / ".keyfuse" / "commands.pem"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert len(Signer(SecretStr(key.read_text())).public_key) == 64


def test_init_overwrites_only_by_force_and_never_the_pepper(fresh: Path) -> None:
    pepper = fresh.parent / ".keyfuse" / "pepper"
    before = pepper.read_text()
    (fresh / "keys.yaml").write_text("keys: []\n")
    (fresh / "routes.yaml").unlink()
    with pytest.raises(
        UserError, match=r"has keyfuse.yaml, detectors.yaml, keys.yaml, .* already; nothing was written"
    ):
        write_templates(fresh, pepper_file=pepper)
    assert not (fresh / "routes.yaml").exists()
    written = write_templates(fresh, force=True, pepper_file=pepper)
    assert fresh / "keys.yaml" in written
    assert pepper not in written
    assert pepper.read_text() == before
    assert load_folder(fresh) == Folder()


def test_init_says_where_it_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written: Not a directory"):
        write_templates(tmp_path / "file" / "keyfuse.d")


def test_the_pepper_lands_where_the_defaults_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Path(".keyfuse/pepper") in write_templates(Path("keyfuse.d"))
    assert Path(load_folder(Path("keyfuse.d")).wiring.pepper_file).exists()


# --- hot reload


def rewrite(path: Path, text: str) -> None:
    """Written as editors and ConfigMaps do it: a new file in the old one's place."""
    new = path.with_suffix(".new")
    new.write_text(text)
    os.replace(new, path)


def test_a_valid_change_is_taken(tmp_path: Path) -> None:
    watch = FolderWatch(folder(tmp_path, responses="mode: observe\n"))
    assert watch.poll() is None
    rewrite(tmp_path / "responses.yaml", "mode: approve\n")
    changed = watch.poll()
    assert isinstance(changed, Folder)
    assert changed.responses.mode == watch.current.responses.mode == "approve"
    assert watch.poll() is None


def test_mistakes_are_told_once_and_change_nothing(tmp_path: Path) -> None:
    watch = FolderWatch(folder(tmp_path, responses="mode: approve\n"))
    rewrite(tmp_path / "responses.yaml", "mode: atuo\n")
    told = watch.poll()
    assert isinstance(told, ConfigErrors)
    assert watch.poll() is None
    rewrite(tmp_path / "responses.yaml", "mode: atuo\n")
    assert watch.poll() is None, "written again, still the same mistakes"
    assert watch.current.responses.mode == "approve"
    rewrite(tmp_path / "responses.yaml", "mode: aotu\n")
    assert isinstance(watch.poll(), ConfigErrors), "another mistake is news"


def test_mending_is_told_even_when_it_brings_the_old_settings_back(tmp_path: Path) -> None:
    watch = FolderWatch(folder(tmp_path, responses="mode: approve\n"))
    rewrite(tmp_path / "responses.yaml", "mode: atuo\n")
    watch.poll()
    rewrite(tmp_path / "responses.yaml", "mode: approve\n")
    assert watch.poll() == watch.current


def test_a_comment_is_no_change(tmp_path: Path) -> None:
    watch = FolderWatch(folder(tmp_path, responses="mode: approve\n"))
    rewrite(tmp_path / "responses.yaml", "mode: approve  # until monday\n")
    assert watch.poll() is None


def test_files_may_come_and_go(tmp_path: Path) -> None:
    watch = FolderWatch(tmp_path)
    (tmp_path / "responses.yaml").write_text("mode: auto\n")
    assert isinstance(watch.poll(), Folder)
    (tmp_path / "responses.yaml").unlink()
    assert watch.poll() == Folder()


def test_an_invalid_folder_cannot_be_watched_from_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors):
        FolderWatch(folder(tmp_path, responses="mode: atuo\n"))


def test_kinds_are_those_that_can_be_built() -> None:
    """The check must not refuse what the builders take, nor pass what they refuse."""
    assert set(CHANNEL_KINDS) == set(KINDS)
