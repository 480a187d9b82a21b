"""`probe_...`: a call with a key needs somewhere to go, and its secret one place to come from."""

from __future__ import annotations

from containment.providers.harmless import has_call
from service.config_errors import shown
from service.config_tree import Folder
from service.field_checks import Errors, Sources, address, variable


def probes(folder: Folder, sources: Sources) -> Errors:
    """In keyfuse.yaml."""
    for name, provider in folder.wiring.providers.items():
        for part in provider.probe_url.split(","):
            yield from address(sources["wiring"], ("providers", name, "probe_url"), part.strip())


def probes_of_keys(folder: Folder, sources: Sources) -> Errors:
    """In keys.yaml."""
    source = sources["keys"]
    for number, key in enumerate(folder.keys.keys):
        loc = ("keys", number)
        yield from variable(source, (*loc, "probe_secret_env"), key.probe_secret_env)
        if key.probe_secret_env and key.probe_secret_file:
            expected = "probe_secret_env or probe_secret_file, not both"
            yield source.error((*loc, "probe_secret_file"), "a second place for the secret", expected)
        provider = folder.wiring.providers.get(key.provider)
        if (key.probe_secret_env or key.probe_secret_file) and (provider is None or not has_call(provider)):
            field = "probe_secret_env" if key.probe_secret_env else "probe_secret_file"
            expected = f"nothing, or a probe_url under `providers: {key.provider}:` in keyfuse.yaml: where to call"
            yield source.error((*loc, field), shown(getattr(key, field), loc=(field,)), expected)
