"""How the emulator behaves where tests may choose, and where AWS does not say."""

from .errors import STYLES

# name -> default; the type of the default is the type of the setting
DEFAULT_SETTINGS = {
    "latency": 0.0,
    "error_style": "plain",
    "stale_reads_after_put": 0,
    "stale_reads_after_label": 0,
    "rotation_token": "optional",
    "rotation_token_principal": "any",
    "writes_per_second": 50,
    "puts_per_10_minutes": 0,
    "max_versions": 100,
    "random_passwords": [],
    # rotations that the service runs
    "rotation_attempts": 5,
    "rotation_backoff": 0.05,
    "step_spelling": "camel",
    "event_rotation_token": "always",
    "rotation_token_on_retry": "same",
    "current_before_finish": "accepted",
    "pending_gone_at_end": "accepted",
    "pending_after_test": "restored",
}
_CHOICES = {
    "error_style": STYLES + ("rotate",),
    "rotation_token": ("optional", "required", "required_for_roles", "ignored"),
    "rotation_token_principal": ("any", "function"),
    "step_spelling": ("camel", "snake"),
    "event_rotation_token": ("always", "create_only", "never"),
    "rotation_token_on_retry": ("same", "new"),
    "current_before_finish": ("accepted", "strict"),
    "pending_gone_at_end": ("accepted", "strict"),
    "pending_after_test": ("restored", "removed"),
}


def default_settings():
    return {name: list(value) if isinstance(value, list) else value
            for name, value in DEFAULT_SETTINGS.items()}


def change_settings(settings, changes):
    for name, value in changes.items():
        if name not in DEFAULT_SETTINGS:
            raise ValueError("unknown setting: " + name)
        kind = type(DEFAULT_SETTINGS[name])
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if type(value) is not kind:
            raise ValueError("wrong type of the setting " + name)
        if name in _CHOICES and value not in _CHOICES[name]:
            raise ValueError("%s is one of %s" % (name, list(_CHOICES[name])))
        settings[name] = value
