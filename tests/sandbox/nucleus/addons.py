"""Services that Java has only while the component behind them is deployed, and Lite never."""

from __future__ import annotations

import base64
from copy import deepcopy

from tests.sandbox.nucleus.model import Component, Handler, IpcError, Nucleus, Stream, text
from tests.sandbox.nucleus.records import JsonObject
from tests.sandbox.nucleus.rules import authorize

CLI = "aws.greengrass.Cli"
SECRET_MANAGER = "aws.greengrass.SecretManager"


class CliService:
    """Component lists of `aws.greengrass.Cli`."""

    def __init__(self, nucleus: Nucleus) -> None:
        self._nucleus = nucleus

    def handlers(self) -> dict[str, Handler]:
        if self._nucleus.is_lite or CLI not in self._nucleus.components:
            return {}
        return {"ListComponents": self._list, "GetComponentDetails": self._details}

    def close(self, stream: Stream) -> None:
        """It has no subscriptions."""

    def _list(self, stream: Stream, _request: JsonObject) -> JsonObject:
        authorize(self._nucleus, stream.component, CLI, "ListComponents", "*")
        return {"components": [_describe(item) for item in self._nucleus.components.values()]}

    def _details(self, stream: Stream, request: JsonObject) -> JsonObject:
        name = text(request, "componentName")
        authorize(self._nucleus, stream.component, CLI, "GetComponentDetails", name)
        if name not in self._nucleus.components:
            raise IpcError("ResourceNotFoundError", "Component with given name not found")
        return {"componentDetails": _describe(self._nucleus.components[name])}


class SecretService:
    """GetSecretValue of `aws.greengrass.SecretManager`; a secret goes by its ARN or by its name."""

    def __init__(self, nucleus: Nucleus) -> None:
        self._nucleus = nucleus

    def handlers(self) -> dict[str, Handler]:
        if self._nucleus.is_lite or SECRET_MANAGER not in self._nucleus.components:
            return {}
        return {"GetSecretValue": self._get}

    def close(self, stream: Stream) -> None:
        """It has no subscriptions."""

    def _get(self, stream: Stream, request: JsonObject) -> JsonObject:
        wanted = text(request, "secretId")
        secrets = self._nucleus.secrets
        arn = next((arn for arn in secrets if wanted in (arn, _secret_name(arn))), None)
        if arn is None:
            raise IpcError("ResourceNotFoundError", f"Secret not found: {wanted}")
        authorize(self._nucleus, stream.component, SECRET_MANAGER, "GetSecretValue", arn)
        secret = secrets[arn]
        if isinstance(secret, str):
            value = {"secretString": secret}
        else:
            value = {"secretBinary": base64.b64encode(secret).decode()}
        return {
            "secretId": arn,
            "versionId": "00000000-0000-0000-0000-000000000001",
            "versionStage": ["AWSCURRENT"],
            "secretValue": value,
        }


def _describe(component: Component) -> JsonObject:
    return {
        "componentName": component.name,
        "version": component.version,
        "state": component.state,
        "configuration": deepcopy(component.configuration_tree()),
    }


def _secret_name(arn: str) -> str:
    """The name that an ARN was made from: without the six random characters at its end."""
    return arn.rpartition(":secret:")[2].rpartition("-")[0]
