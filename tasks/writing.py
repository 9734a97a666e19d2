"""Files that are complete or absent; see `circuits.writing`, the one place where the library writes."""

from ..circuits.writing import write_atomic as write_atomic
