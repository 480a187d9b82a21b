"""Mistakes about backups, each told with its line before the first theft finds it."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.config_folder import load_folder
from tests.service.test_config_folder import folder, mistakes

SWITCHES = """switches:
  kv: {kind: vault, base_url: 'https://vault', secret_env: VAULT_TOKEN}
  aws: {kind: aws_secrets, region: eu-central-1}
  hook: {kind: webhook, base_url: 'https://deploys', secret_env: HOOK_SECRET}
"""
SPARE = "- {key_id: k2, provider: p, env: prod}\n"
KV = "{at: kv, secret: shop/a, standby: shop/b}"


def keys(first: str, *others: str) -> str:
    return f"keys:\n- {{key_id: k1, provider: p, env: prod, {first}}}\n{''.join(others or (SPARE,))}"


def test_what_is_right_is_taken(tmp_path: Path) -> None:
    places = f"[{KV}, {{at: aws, secret: 'arn:aws:secretsmanager:x', standby: BACKUP}}, {{at: hook}}]"
    path = folder(tmp_path, keyfuse=SWITCHES, keys=keys(f"backup: k2, switch: {places}"))
    [key, _] = load_folder(path).keys.keys
    assert (key.backup, [place.at for place in key.switch]) == ("k2", ["kv", "aws", "hook"])


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (keys("backup: k1"), "keys.yaml:2 keys[0].backup: the key itself -> the key_id of another key"),
        (keys("backup: k22"), 'keys.yaml:2 keys[0].backup: "k22" -> a key of this file; did you mean "k2"?'),
        (
            keys("backup: k2", "- {key_id: k2, provider: p, env: dev}\n"),
            'keys.yaml:2 keys[0].backup: "k2" of "dev" -> a key of the same environment, "prod"',
        ),
        (
            keys("backup: k2, provider_ref: r", "- {key_id: k2, provider: p, env: prod, provider_ref: r}\n"),
            'keys.yaml:2 keys[0].backup: "k2", which is the same credential -> a key with a provider_ref of its own',
        ),
        (
            keys(f"switch: [{KV}]"),
            "keys.yaml:2 keys[0].switch: places to tell -> a `backup` that users are told to go on with, too",
        ),
        (
            keys("backup: k2, switch: [{at: kvv}]"),
            'keys.yaml:2 keys[0].switch[0].at: "kvv" -> a name from `switches` in keyfuse.yaml; did you mean "kv"?',
        ),
        (
            keys(f"backup: k2, switch: [{KV}, {KV}]"),
            'keys.yaml:2 keys[0].switch[1].secret: "shop/a" again -> each place once',
        ),
        (
            keys("backup: k2, switch: [{at: kv, standby: shop/b}]"),
            "keys.yaml:2 keys[0].switch[0].secret: nothing -> the path of the secret that is read, like shop/openai",
        ),
        (
            keys("backup: k2, switch: [{at: kv, secret: shop/a, standby: shop/a}]"),
            'keys.yaml:2 keys[0].switch[0].standby: "shop/a" -> the path of another secret',
        ),
        (
            keys("backup: k2, switch: [{at: kv, secret: /shop//a, standby: shop/b}]"),
            'keys.yaml:2 keys[0].switch[0].secret: "/shop//a" -> the path of the secret that is read',
        ),
        (
            keys("backup: k2, switch: [{at: aws, secret: shop/a, standby: AWSPREVIOUS}]"),
            'keys.yaml:2 keys[0].switch[0].standby: "AWSPREVIOUS" -> a staging label of your own',
        ),
        (
            keys("backup: k2, switch: [{at: hook, secret: shop/a}]"),
            'keys.yaml:2 keys[0].switch[0].secret: "shop/a" -> nothing: webhook is told the key_ids',
        ),
    ],
)  # fmt: skip
def test_one_mistake_is_told_once_with_its_line(written: str, told: str, tmp_path: Path) -> None:
    (found,) = mistakes(folder(tmp_path, keyfuse=SWITCHES, keys=written))
    assert found.startswith(told)


def test_a_circle_is_shown_at_every_key_in_it(tmp_path: Path) -> None:
    written = keys(
        "backup: k2",
        "- {key_id: k2, provider: p, env: prod, backup: k3}\n",
        "- {key_id: k3, provider: p, env: prod, backup: k1}\n",
        "- {key_id: k4, provider: p, env: prod, backup: k1}\n",  # leads into the circle, but not back to itself
    )
    assert mistakes(folder(tmp_path, keyfuse=SWITCHES, keys=written)) == [
        "keys.yaml:2 keys[0].backup: a circle: k1 → k2 → k3 → k1 -> backups that do not lead back to the key",
        "keys.yaml:3 keys[1].backup: a circle: k2 → k3 → k1 → k2 -> backups that do not lead back to the key",
        "keys.yaml:4 keys[2].backup: a circle: k3 → k1 → k2 → k3 -> backups that do not lead back to the key",
    ]


def test_a_backup_may_have_a_backup_and_serve_several_keys_and_an_unwritten_environment_fits_any(
    tmp_path: Path,
) -> None:
    chain = ("- {key_id: k2, provider: p, env: prod, backup: k3}\n", "- {key_id: k3, provider: p}\n")
    load_folder(folder(tmp_path, keys=keys("backup: k2", *chain, "- {key_id: k4, provider: p, backup: k3}\n")))


@pytest.mark.parametrize(
    ("switch", "told"),
    [
        ("{kind: vualt, secret_env: S}", 'keyfuse.yaml:2 switches.s.kind: "vualt" -> did you mean "vault"?'),
        ("{kind: vault, secret_env: S}", "keyfuse.yaml:2 switches.s.base_url: nothing -> its address"),
        ("{kind: vault, base_url: vault, secret_env: S}", 'keyfuse.yaml:2 switches.s.base_url: "vault" -> an address'),
        ("{kind: webhook, base_url: 'https://x'}", "keyfuse.yaml:2 switches.s.secret_env: nothing -> secret_env or"),
        ("{kind: aws_secrets, secret_env: a b}", "keyfuse.yaml:2 switches.s.secret_env: another text"),
        (
            "{kind: aws_secrets, secret_env: S, secret_file: /s}",
            "keyfuse.yaml:2 switches.s.secret_file: a second place",
        ),
    ],
)
def test_a_switch_that_could_not_be_made_is_told_too(switch: str, told: str, tmp_path: Path) -> None:
    (found,) = mistakes(folder(tmp_path, keyfuse=f"switches:\n  s: {switch}\n"))
    assert found.startswith(told)


def test_the_cloud_may_know_the_machine_itself(tmp_path: Path) -> None:
    assert load_folder(folder(tmp_path, keyfuse="switches: {s: {kind: aws_secrets}}\n")).wiring.switches
