"""The policy plane: which models a key may use. A breach is certain; nothing is learned here."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Final

from schemas.config.policies import PoliciesConfig, PolicyConfig
from schemas.records import KeyFacts

_CACHE_LIMIT: Final = 200_000


class Policies:
    """`policies.yaml`, ready to be asked. Answers are remembered: keys use the same few models for ever.

    >>> policies = Policies(PoliciesConfig(policies=(PolicyConfig(name="small", allowed_models=("gpt-4.1*",)),)))
    >>> facts = KeyFacts(provider="openai")
    >>> policies.forbidden("k1", facts, "gpt-4.1-mini"), policies.forbidden("k1", facts, "o3-pro")
    (None, 'small')
    """

    def __init__(self, config: PoliciesConfig) -> None:
        self._policies = config.policies
        self._known: dict[tuple[str, ...], str | None] = {}

    def forbidden(self, key_id: str, facts: KeyFacts, model: str) -> str | None:
        """The first policy, in the order written, that covers the key and does not allow the model; else None.

        Patterns are shell-style and tell upper from lower case.
        """
        if not self._policies:
            return None
        question = (key_id, facts.team, facts.app, facts.env, model)
        if question not in self._known:
            if len(self._known) >= _CACHE_LIMIT:
                self._known.clear()
            self._known[question] = self._judge(key_id, facts, model)
        return self._known[question]

    def _judge(self, key_id: str, facts: KeyFacts, model: str) -> str | None:
        for policy in self._policies:
            allowed = policy.allowed_models is None or any(fnmatchcase(model, p) for p in policy.allowed_models)
            if not allowed and _covers(policy, key_id, facts):
                return policy.name
        return None


def _covers(policy: PolicyConfig, key_id: str, facts: KeyFacts) -> bool:
    scopes = ((policy.keys, key_id), (policy.teams, facts.team), (policy.apps, facts.app), (policy.envs, facts.env))
    return all(not wanted or value in wanted for wanted, value in scopes)
