"""Adam with decoupled weight decay, as one fused kernel where that pays."""

from typing import Any

import torch

FUSED_ON = ("cuda",)
"""Kinds of devices on which a step is one kernel, which also heeds a gradient scaler without waiting for the device."""


def adamw(groups: list[dict[str, Any]], **options: Any) -> torch.optim.AdamW:
    """``AdamW`` over parameter ``groups``, all on one device; a state that it loads may come from any other."""
    fused = next(parameter for group in groups for parameter in group["params"]).device.type in FUSED_ON
    optimizer = torch.optim.AdamW(groups, fused=fused or None, **options)
    optimizer.register_load_state_dict_pre_hook(_with_own_kernel)
    return optimizer


def _with_own_kernel(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """``state``, but for which kernel steps: that is this device's affair."""
    groups = zip(state["param_groups"], optimizer.param_groups, strict=True)
    return {**state, "param_groups": [{**saved, "fused": own["fused"]} for saved, own in groups]}
