"""The networks against the original DeOldify, run under the same weights."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from deoldify_golden import arrays, golden, image, image2, layout, network, sized, tensors_of

from nogan.networks import deoldify, fold_spectral_norm, trainable_parameters

TOLERANCE = 5e-5  # absolute, fp32 in eval mode; outputs span (-3, 3)
TRAIN_TOLERANCE = 1e-3  # relative, after one step in train mode
# Batch norm over as few as eight values: on two threads, as in the goldens, all gradients agree to 3e-4, but a single
# thread, or an input larger by 1e-6, moves those of "wide" by up to 7 % (and of "deep" by 0.7 %).
GRADIENT_TOLERANCE = {"deep": 0.02, "wide": 0.1, "critic": 0.02}
DEFAULT_SIZES = [
    ("deep", "2x64x64"),
    ("deep", "1x96x64"),
    ("deep", "1x80x80"),
    ("wide", "2x64x64"),
    ("wide", "1x80x80"),
    ("critic", "2x128x128"),
]
SLOW_SIZES = [("deep", "1x192x192"), ("wide", "1x128x128"), ("critic", "2x192x192")]
WITH_ACTIVATIONS = {"deep": ("2x64x64", "1x80x80"), "wide": ("2x64x64", "1x80x80"), "critic": ("2x128x128",)}


@pytest.mark.parametrize("name", ["deep", "wide", "critic"])
def test_layout_is_the_originals(name):
    net, theirs = network(name), layout(name)
    state = net.state_dict()
    ours = [(key, list(state[our].shape), str(state[our].dtype)) for key, our in deoldify.deoldify_names(net)]
    assert ours == [(entry["key"], entry["shape"], f"torch.{entry['dtype']}") for entry in theirs["entries"]]
    assert len(ours) == len(state)
    assert sum(p.numel() for p in net.parameters()) == theirs["params_total"]


@pytest.mark.parametrize("name", ["deep", "critic"])
def test_fill_is_the_goldens(name):
    tensors = tensors_of(name)
    for key, check in golden(name)["weight_check"].items():
        flat = tensors[key].double().flatten()
        assert flat.sum().item() == pytest.approx(check["sum"], rel=1e-6, abs=1e-4), key
        assert flat.norm().item() == pytest.approx(check["l2"], rel=1e-6), key
        assert (flat[0].item(), flat[-1].item()) == pytest.approx((check["first"], check["last"]), rel=1e-6), key


def taps(net):
    """Module of ours, and what to make of its result, for each layer whose activations the goldens record."""
    relu, plain = F.relu, lambda y: y
    if not hasattr(net, "encoder"):
        found = {f"{i}": (layer, plain) for i, layer in enumerate(net.layers)}
        found["4.0"] = (net.layers[4].conv, plain)
        if not isinstance(net.layers[4].attention, torch.nn.Identity):
            found["4.2"] = (net.layers[4].attention, plain)
        return found | {"12": (net.head, plain), "13": (net.head, lambda y: y.flatten(1))}
    body = net.encoder.backbone
    names = ("conv1", "bn1", "act1", "maxpool", "layer1", "layer2", "layer3", "layer4")
    found = {f"layers.0.{i}": (getattr(body, name), plain) for i, name in enumerate(names)}
    found |= {
        "layers.0": (body.layer4, plain),
        "layers.1": (net.bridge_norm, plain),
        "layers.2": (net.bridge_norm, relu),
    }
    found |= {
        "layers.3.0": (net.middle[0], plain),
        "layers.3.1": (net.middle[1], plain),
        "layers.3": (net.middle, plain),
    }
    for i, block in enumerate(net.blocks):
        name = f"layers.{4 + i}"
        found |= {f"{name}.shuf.conv": (block.up.norm, plain), f"{name}.shuf": (block.up, plain)}
        found |= {f"{name}.bn": (block.skip_norm, plain), name: (block, plain)}
        convs = ("conv1", "conv2") if len(block.convs) == 2 else ("conv",)
        for conv, module in zip(convs, block.convs, strict=True):
            found[f"{name}.{conv}"] = (module, plain)
        found[f"{name}.{convs[-1]}"] = (block.attention, plain)
        found[f"{name}.{convs[-1]}.3"] = (block.attention, plain)
    found |= {"layers.8": (net.final_up, plain), "layers.10": (net.residual, plain), "layers.11": (net.head, plain)}
    found |= {f"layers.10.layers.{i}": (getattr(net.residual, f"conv{i + 1}"), relu) for i in range(2)}
    return found | {"layers.12": (net, plain)}


def recorded(net, x):
    """Mean, standard deviation and largest magnitude of every tapped activation, as the forward pass makes it."""
    stats, handles = {}, []
    for name, (module, then) in taps(net).items():

        def record(_, __, output, name=name, then=then):
            y = then(output.detach()).double()
            stats[name] = (tuple(y.shape), y.mean().item(), y.std(correction=0).item(), y.abs().max().item())

        handles.append(module.register_forward_hook(record))
    try:
        output = net(x)
    finally:
        for handle in handles:
            handle.remove()
    return output, stats


def first_departure(stats, expected, tolerance):
    """The first of the goldens' layers, in order of execution, whose statistics are not ours; None if there is none."""
    for layer in expected:
        if layer["name"] == "layers.9":  # the concatenation has no module of its own here
            continue
        shape, *ours = stats[layer["name"]]
        theirs = [layer["mean"], layer["std"], layer["absmax"]]
        room = tolerance * max(layer["std"], abs(layer["mean"]))
        close = all(abs(a - b) <= room * factor for a, b, factor in zip(ours, theirs, (1, 1, 10), strict=True))
        if shape != tuple(layer["shape"]) or not close:
            return f"{layer['name']}: shape, mean, std, absmax {shape}, {ours}; DeOldify's {layer['shape']}, {theirs}"
    return None


@pytest.mark.parametrize(
    ("name", "size"),
    [*DEFAULT_SIZES, *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW_SIZES)],
)
def test_outputs_and_activations(name, size):
    with torch.no_grad():
        output, stats = recorded(network(name), image(*sized(size)))
    activations = golden(name)["activations"].get(size, [])
    assert activations or size not in WITH_ACTIVATIONS[name]
    assert first_departure(stats, activations, TOLERANCE) is None

    expected = arrays(name)
    if f"out_{size}" in expected:
        torch.testing.assert_close(output, expected[f"out_{size}"], rtol=0, atol=TOLERANCE)
    else:
        torch.testing.assert_close(output[..., ::8, ::8], expected[f"out_sub8_{size}"], rtol=0, atol=TOLERANCE)
    whole = golden(name)["outputs"][size]
    assert output.mean().item() == pytest.approx(whole["mean"], abs=TOLERANCE)
    assert output.std(correction=0).item() == pytest.approx(whole["std"], abs=TOLERANCE)


def test_a_departure_is_named():
    spoiled = copy.deepcopy(network("deep"))
    with torch.no_grad():
        spoiled.blocks[1].convs[0].norm.weight.mul_(1.001)
        _, stats = recorded(spoiled, image(2, 64, 64))
    assert first_departure(stats, golden("deep")["activations"]["2x64x64"], TOLERANCE).startswith("layers.5.conv1:")


@pytest.mark.parametrize("name", ["deep", pytest.param("wide", marks=pytest.mark.slow), "critic"])
def test_one_step_in_train_mode(name):
    expected, tensors = golden(name)["train1"], arrays(name)
    net = copy.deepcopy(network(name)).train()
    x = image(*sized(expected["input"]))
    if name == "critic":
        for module in net.modules():
            if isinstance(module, torch.nn.Dropout2d):
                module.eval()
    output, stats = recorded(net, x)
    loss = F.binary_cross_entropy_with_logits(output, torch.ones_like(output)) if name == "critic" else None
    loss = F.l1_loss(output, image2(*sized(expected["input"]))) if loss is None else loss
    loss.backward()

    assert loss.item() == pytest.approx(expected["loss"], rel=TRAIN_TOLERANCE)
    assert first_departure(stats, expected["activations"], TRAIN_TOLERANCE) is None
    state, names = net.state_dict(), dict(deoldify.deoldify_names(net))
    checked = 0
    for key, value in tensors.items():
        if key.startswith("train1_") and key != "train1_out":
            ours = state[names[key.removeprefix("train1_")]]
            assert (ours - value).norm() <= TRAIN_TOLERANCE * value.norm(), key
            checked += 1
    assert checked >= 4
    for key, value in expected["u_dot_hash"].items():
        u = state[names[f"{key}_u"]].double()
        weights = torch.arange(1, len(u) + 1, dtype=torch.float64)
        assert abs((u * weights).sum().item() - value) <= TRAIN_TOLERANCE * weights.norm().item(), key
        sigma = u @ state[names[f"{key}_orig"]].double().flatten(1) @ state[names[f"{key}_v"]].double()
        assert sigma.item() == pytest.approx(expected["sigma_used"][key], rel=TRAIN_TOLERANCE), key
    gradients = {name: parameter.grad for name, parameter in net.named_parameters()}
    largest = max(expected["grad_l2"].values())
    for key, value in expected["grad_l2"].items():
        ours = gradients[names[key]].double().norm().item()
        assert ours == pytest.approx(value, rel=GRADIENT_TOLERANCE[name], abs=1e-5 * largest), key


def test_eval_mode_changes_no_state():
    critic = network("critic")
    before = {key: value.clone() for key, value in critic.state_dict().items()}
    with torch.no_grad():
        critic(image(1, 64, 64))
    assert all(torch.equal(value, before[key]) for key, value in critic.state_dict().items())


@pytest.mark.parametrize("name", ["deep", "wide"])
def test_layer_groups_are_the_originals(name):
    net = network(name)
    theirs_to_ours = dict(deoldify.deoldify_names(net))
    our_names = {id(parameter): key for key, parameter in net.named_parameters()}
    for group, expected in zip(net.layer_groups(), layout(name)["layer_groups"], strict=True):
        ours = [our_names[id(parameter)] for module in group for parameter in module.parameters()]
        assert sorted(ours) == sorted(theirs_to_ours[key] for key in expected["params"])
        assert len(ours) == expected["n_params"]


@pytest.mark.parametrize("name", ["deep", "wide"])
def test_what_trains_behind_a_frozen_encoder_is_the_originals(name):
    net = network(name)
    theirs_to_ours = dict(deoldify.deoldify_names(net))
    expected = {theirs_to_ours[key] for group in layout(name)["optimizer_param_groups_frozen"] for key in group}
    trains = trainable_parameters(net, "decoder")
    assert set(trains) == expected
    assert sum(p.numel() for p in trains.values()) == layout(name)["params_trainable_as_created_by_factory_frozen"]
    assert len(trainable_parameters(net)) == layout(name)["n_param_tensors"]


def test_folded_weights_give_the_same_output():
    folded = fold_spectral_norm(copy.deepcopy(network("deep")))
    assert not any("parametrizations" in key for key in folded.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(folded(image(2, 64, 64)), arrays("deep")["out_2x64x64"], rtol=0, atol=TOLERANCE)
    assert math.isclose(sum(p.numel() for p in folded.parameters()), layout("deep")["params_total"] - 1200)
