"""The configuration tree: one model per YAML file. The folder is checked as one; see service/config_folder.py."""

from schemas.config.budgets import BudgetsConfig
from schemas.config.detectors import DetectorsConfig
from schemas.config.keys import KeysConfig
from schemas.config.people import PeopleConfig
from schemas.config.policies import PoliciesConfig
from schemas.config.responses import ResponsesConfig
from schemas.config.routes import RoutesConfig
from schemas.config.wiring import WiringConfig

__all__ = [
    "BudgetsConfig",
    "DetectorsConfig",
    "KeysConfig",
    "PeopleConfig",
    "PoliciesConfig",
    "ResponsesConfig",
    "RoutesConfig",
    "WiringConfig",
]
