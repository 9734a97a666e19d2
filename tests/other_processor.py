"""A pytest plugin under which arithmetic rounds as on another processor: which tests would fail there, seen here.

    python -m pytest -p other_processor -m "not slow" tests/analyses

Products, exponentials and norms are off by up to two units in the last place, by their value and their tensor's size: equal
computations stay equal, the same rows in batches of another size do not. Whole numbers stay, since their sums are exact.
Processes that a test starts are not concerned.
"""

import pytest
import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

UNITS = 2.0
INTEGERS = {torch.float32: torch.int32, torch.float64: torch.int64}
NAMES = ["matmul", "mm", "bmm", "addmm", "baddbmm", "__matmul__", "__rmatmul__", "softmax", "log_softmax", "logsumexp"]
NAMES += ["exp", "tanh", "rsqrt", "sqrt", "var", "std", "addcmul"]
ROUNDED = {getattr(owner, name) for owner in (torch, torch.Tensor) for name in NAMES if hasattr(owner, name)}
ROUNDED |= {torch.einsum, functional.linear, functional.gelu, functional.layer_norm, functional.cross_entropy}
ROUNDED |= {functional.softmax, functional.log_softmax, functional.scaled_dot_product_attention}


def rounded(values: torch.Tensor) -> torch.Tensor:
    """The values, each off by −2, 0 or 2 units in the last place unless it is a whole number."""
    if values.dtype not in INTEGERS or values.device.type != "cpu":
        return values
    with torch.no_grad():
        plain = values.detach().clone(memory_format=torch.contiguous_format)
        bits = plain.view(INTEGERS[plain.dtype]).long() * 2_654_435_761 + values.numel() * 40_503
        signs = ((bits >> 11) ^ (bits >> 19) ^ (bits >> 7)) % 3 - 1
        factors = 1 + signs * (plain != plain.round()) * (UNITS * torch.finfo(plain.dtype).eps)
    return values * factors.to(values.dtype)


class OtherProcessor(TorchFunctionMode):
    """Rounds what `ROUNDED` give in another way."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        given = func(*args, **(kwargs or {}))
        if func not in ROUNDED or type(given) is not torch.Tensor or (kwargs or {}).get("out") is not None:
            return given
        with torch._C.DisableTorchFunction():
            return rounded(given)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item):
    """Every test runs on the other processor, with its fixtures."""
    with OtherProcessor():
        yield
