"""How measured numbers and their units are written in captions, labels and tables."""

import math
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np

KNOWN = {"logit_difference": "nats", "cross_entropy": "nats"}
"""Units of metrics whose results were saved before units were."""


def unit_of(metric: str, unit: str = "") -> str:
    """The unit as it is written: the declared one, else by name, else `units of NAME`.

    >>> unit_of("logit_difference"), unit_of("p", "probability"), unit_of("my_function"), unit_of("")
    ('nats', 'probability', 'units of my_function', "the metric's unit")
    """
    return unit or KNOWN.get(metric) or (f"units of {metric}" if metric not in ("", "unknown") else "the metric's unit")


def better(higher_is_better: Any) -> str:
    """What is said of a metric whose numbers read against the habit that more is better.

    >>> better(False), better(True), better(None)
    (', lower is better', '', '')
    """
    return ", lower is better" if higher_is_better is False else ""


def shown(value: float) -> str:
    """A number with two decimals, or with two digits where it is too small for that.

    >>> shown(-5.7), shown(-0.0), shown(0.00123), shown(float("nan"))
    ('-5.70', '0.00', '0.0012', 'nan')
    """
    small = 0 < abs(value) < 0.1 and math.isfinite(value)
    return f"{value:.2g}" if small else fixed(value, 2)


def fixed(value: float, digits: int, *, plus: bool = False) -> str:
    """A number with some decimals; what rounds to zero has no sign, unless all have.

    >>> fixed(-0.0001, 3), fixed(-0.0001, 3, plus=True), fixed(-0.5, 3), fixed(0.5, 3, plus=True)
    ('0.000', '+0.000', '-0.500', '+0.500')
    """
    return format(value, f"{'+' if plus else ''}z.{digits}f")


def cell(value: Any, *, digits: int = 3) -> str:
    """What a table for readers says of a value: no number that does not exist, and nothing in Python's words.

    >>> [cell(each) for each in (0.5, -0.0001, 1234.5, 7, True, None, float("nan"), float("inf"), "a")]
    ['0.500', '0.000', '1,234', '7', 'yes', '–', '–', '∞', 'a']
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return listed(value, digits=digits)
    if isinstance(value, Sequence | np.ndarray):
        return ", ".join(cell(each, digits=digits) for each in value)
    if value is None or value != value:
        return "–"
    if isinstance(value, Integral):
        return f"{int(value):,}"
    if not isinstance(value, Real):
        return str(value)
    number = float(value)
    if math.isinf(number):
        return "∞" if number > 0 else "−∞"
    return fixed(number, digits) if abs(number) < 100 else f"{number:,.0f}"


def interval(low: float, high: float, digits: int = 3) -> str:
    """Bounds in brackets; empty where there are none.

    >>> interval(0.1, 0.25), interval(float("nan"), float("nan"))
    ('[0.100, 0.250]', '')
    """
    return "" if math.isnan(low) else f"[{fixed(low, digits)}, {fixed(high, digits)}]"


def listed(values: Mapping[Any, Any], *, digits: int = 3) -> str:
    """Values by name, in words.

    >>> listed({1: 0.02205, 2: 0.5}), listed({})
    ('1: 0.022, 2: 0.500', 'none')
    """
    return ", ".join(f"{name}: {cell(value, digits=digits)}" for name, value in values.items()) or "none"


def after_number(unit: str) -> str:
    """What follows a number in a caption that names the metric: a space and the unit; nats go without saying.

    >>> after_number("probability"), after_number("nats"), after_number("")
    (' probability', '', '')
    """
    return f" {unit}" if unit and unit != "nats" else ""


def size_of_gap(gap: float, about: Mapping[str, Any]) -> str:
    """A gap in its unit, and which way is better where that is not up.

    Args:
        gap: mean m(clean) − m(corrupt).
        about: the metric's name `metric`, its `unit` and `higher_is_better`, as far as they are known.

    >>> size_of_gap(-7.1, {"metric": "cross_entropy", "unit": "nats", "higher_is_better": False})
    '-7.10 nats, lower is better'
    >>> size_of_gap(0.5, {"metric": "mine"}), size_of_gap(0.5, {})
    ('0.50 units of mine', '0.50')
    """
    metric, unit = (text if isinstance(text := about.get(name), str) else "" for name in ("metric", "unit"))
    known = f" {unit_of(metric, unit)}" if unit or metric not in ("", "unknown") else ""
    return f"{shown(gap)}{known}{better(about.get('higher_is_better'))}"
