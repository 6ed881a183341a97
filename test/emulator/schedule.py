"""Rotation rules: what RotateSecret accepts, and the next date that follows.

No clock runs here: a test starts a scheduled rotation through the control port.
"""

import re

from .errors import invalid_parameter

HOUR = 3600
DAY = 24 * HOUR

_RATE = re.compile(r"rate\(([0-9]+) (hour|day)s?\)")
_CRON = re.compile(r"cron\(0 \S+ \S+ \S+ \S+ \*\)")


def _rate(rules):
    """Seconds between two rotations, or None for cron and for no schedule."""
    if "AutomaticallyAfterDays" in rules and "ScheduleExpression" not in rules:
        return rules["AutomaticallyAfterDays"] * DAY
    matched = _RATE.fullmatch(rules.get("ScheduleExpression", ""))
    if not matched:
        return None
    return int(matched.group(1)) * (HOUR if matched.group(2) == "hour" else DAY)


def check(rules):
    """The errors of RotateSecret."""
    expression = rules.get("ScheduleExpression")
    if expression is not None:
        if "AutomaticallyAfterDays" in rules:
            raise invalid_parameter("You can't specify both AutomaticallyAfterDays and "
                                    "ScheduleExpression.")
        seconds = _rate(rules)
        if seconds is None and not _CRON.fullmatch(expression):
            raise invalid_parameter("The ScheduleExpression isn't valid.")
        if seconds is not None and not 4 * HOUR <= seconds <= 999 * DAY:
            raise invalid_parameter("The rate has to be between 4 hours and 999 days.")
    duration = rules.get("Duration")
    if duration is not None and not re.fullmatch(r"[1-9][0-9]?h", duration):
        raise invalid_parameter("The Duration isn't valid.")


def shown(rules):
    """As DescribeSecret shows them: the days are worked out from a rate."""
    seconds = _rate(rules)
    if seconds is None or seconds < DAY:
        return dict(rules)
    return dict(rules, AutomaticallyAfterDays=seconds // DAY)


def set_next_date(secret, now):
    """From a rotation, or a value put by hand, at `now`."""
    attributes = secret.attributes
    seconds = _rate(attributes.get("rotation_rules") or {})
    if attributes.get("rotation_enabled") and seconds is not None:
        attributes["next_rotation"] = now + seconds
