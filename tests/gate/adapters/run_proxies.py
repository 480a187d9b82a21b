"""Runs in the gateways' environment: LiteLLM's proxy, once for each variant, imported once (seven seconds).

run_proxies.py CONFIG '[{"port": 4001, "env": {"KEYFUSE_GATE_FAIL": "open"}}, ...]'
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any


def main(config: str, variants: list[dict[str, Any]]) -> None:
    import litellm.proxy.proxy_server  # noqa: F401, PLC0415 - what takes the time, before the fork

    for variant in variants:
        _forked(config, variant)
    sys.stdin.read()  # ends with whoever started this, however that ends
    os.killpg(0, signal.SIGKILL)


def _forked(config: str, variant: dict[str, Any]) -> None:
    if os.fork() == 0:
        os.environ.update(variant["env"])
        from litellm import run_server  # noqa: PLC0415

        run_server(["--config", config, "--host", "127.0.0.1", "--port", str(variant["port"]), "--telemetry", "False"])


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
