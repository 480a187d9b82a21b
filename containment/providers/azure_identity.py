"""Who Keyfuse is at Azure: a service principal with its secret, or the identity of the machine it runs on."""

from __future__ import annotations

from azure.core.credentials_async import AsyncTokenCredential
from azure.identity.aio import ClientSecretCredential, DefaultAzureCredential
from pydantic import BaseModel, SecretStr, ValidationError


class ServicePrincipal(BaseModel, frozen=True):
    """What `az ad sp create-for-rbac` prints, as far as it matters here; in its spelling or in Azure's other one."""

    tenant: str
    appId: str
    password: SecretStr


class ClientSecret(BaseModel, frozen=True):
    """The same in the spelling of Azure's libraries."""

    tenant_id: str
    client_id: str
    client_secret: SecretStr


def credential_from(secret: SecretStr) -> tuple[AsyncTokenCredential, SecretStr]:
    """The credential and what must never be shown of it.

    An empty secret takes what the machine has: workload identity, managed identity, AZURE_... variables.

    Raises:
        ValueError: The secret is neither empty nor a service principal; the words do not repeat it.
    """
    text = secret.get_secret_value()
    if not text:
        return DefaultAzureCredential(), SecretStr("")
    own = _read(text)
    credential = ClientSecretCredential(own.tenant_id, own.client_id, own.client_secret.get_secret_value())
    return credential, own.client_secret


def _read(text: str) -> ClientSecret:
    try:
        return ClientSecret.model_validate_json(text)
    except ValidationError:
        pass
    try:
        printed = ServicePrincipal.model_validate_json(text)
    except ValidationError:
        words = "the admin key must be JSON with tenant_id, client_id and client_secret, or empty for the machine's own"
        raise ValueError(f"{words} identity") from None
    return ClientSecret(tenant_id=printed.tenant, client_id=printed.appId, client_secret=printed.password)
