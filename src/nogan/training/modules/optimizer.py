"""Adam with decoupled weight decay, as one fused kernel where that pays."""

from typing import Any

import torch

FUSED_ON = ("cuda",)
"""Devices on which a step is one kernel. It also skips for a gradient scaler without waiting for the device."""


def adamw(groups: list[dict[str, Any]], **options: Any) -> torch.optim.AdamW:
    """``AdamW`` over parameter ``groups``, all on one device; it loads states from any kind of device."""
    fused = next(parameter for group in groups for parameter in group["params"]).device.type in FUSED_ON
    optimizer = torch.optim.AdamW(groups, fused=fused or None, **options)
    optimizer.register_load_state_dict_pre_hook(_with_own_kernel)
    return optimizer


def _with_own_kernel(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """``state``, with this device's own choice of the kernel."""
    groups = zip(state["param_groups"], optimizer.param_groups, strict=True)
    return {**state, "param_groups": [{**saved, "fused": own["fused"]} for saved, own in groups]}
