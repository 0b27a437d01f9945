"""The validator's settings: the only place that reads the environment and the configuration file.

>>> settings = load_settings(None, os.environ)

A TOML file (`--config`, else `REACTOR_CONFIG`, else `reactor.toml`) below the environment (`REACTOR_SECTION__NAME`,
`MONGODB_URI`; each secret also as `…_FILE`). A configuration with faults is refused with all of them at once.
"""

from reactor.settings.faults import Fault, SettingsError
from reactor.settings.fields import FieldInfo, settings_fields
from reactor.settings.load import load_settings
from reactor.settings.model import (
    EngineSettings,
    EthereumSettings,
    LimitSettings,
    LimitsSettings,
    LogSettings,
    MongoCollections,
    MongoSettings,
    PocketSettings,
    Settings,
    StateSettings,
    ValidatorSettings,
)
from reactor.settings.schedule import Schedule

__all__ = [
    "EngineSettings",
    "EthereumSettings",
    "Fault",
    "FieldInfo",
    "LimitSettings",
    "LimitsSettings",
    "LogSettings",
    "MongoCollections",
    "MongoSettings",
    "PocketSettings",
    "Schedule",
    "Settings",
    "SettingsError",
    "StateSettings",
    "ValidatorSettings",
    "load_settings",
    "settings_fields",
]
