"""Run every scenario: `run.py tinker|tinker_client URL MODEL ADAPTER` prints what each was told, as JSON."""

from __future__ import annotations

import importlib
import json
import logging
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

# The official SDK's environment knows nothing of this project.
sys.path.insert(0, str(Path(__file__).parent))

from scenarios import SCENARIOS, World  # type: ignore[import-not-found]


def main(module: str, base_url: str, base_model: str, adapter: str) -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.ERROR)
    sdk = importlib.import_module(module)
    service_client = sdk.ServiceClient(base_url=base_url, api_key="tml-conformance")
    client = service_client.create_sampling_client(base_model=base_model).result()
    world = World(sdk, service_client, client, base_model, adapter)
    print(json.dumps({name: _told(scenario, world) for name, scenario in SCENARIOS.items()}))


def _told(scenario: Any, world: World) -> Any:
    try:
        return {"told": scenario(world)}
    except Exception:
        return {"failed": traceback.format_exc()}


if __name__ == "__main__":
    main(*sys.argv[1:])
