"""What training and inference need of the networks beside the right numbers."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from nogan.common.errors import UserError
from nogan.networks import build_critic, build_generator, fold_spectral_norm, trainable_parameters
from nogan.networks.blocks import SelfAttention, _shuffle_channels_last, blur, icnr_, resize_like


@pytest.fixture
def tiny():
    return build_generator("tiny", width=0.5)


@pytest.fixture
def small_critic():
    return build_critic(16, doublings=2)


def gray(batch, height, width, seed=0):
    return torch.randn(batch, 1, height, width, generator=torch.Generator().manual_seed(seed)).expand(-1, 3, -1, -1)


def last(x):
    return x.contiguous(memory_format=torch.channels_last)


def is_last(x):
    return x.is_contiguous(memory_format=torch.channels_last)


def settle(network, *inputs):
    """A few steps' worth of statistics and power iterations, so that eval mode is meaningful."""
    with torch.no_grad():
        for _ in range(5):
            network.train()(*inputs)
    return network.eval()


def test_tiny_is_small(tiny):
    assert sum(p.numel() for p in build_generator("tiny", width=1.0).parameters()) <= 900_000
    assert tiny.config == {"encoder": "tiny", "decoder": "deep", "width": 0.5, "attention": True}


@pytest.mark.parametrize("decoder", ["deep", "wide"])
@pytest.mark.parametrize("size", [(32, 32), (33, 47), (64, 40), (75, 101), (80, 80)])
def test_any_size(decoder, size):
    network = build_generator("tiny", decoder, 0.25).eval()
    with torch.no_grad():
        output = network(gray(2, *size))
    assert output.shape == (2, 3, *size)
    assert output.abs().max() <= 3


def test_too_small_an_image(tiny, small_critic):
    with pytest.raises(UserError, match=r"31 x 64 px: a generator needs at least 32 px"):
        tiny(gray(1, 64, 31))
    with pytest.raises(
        UserError, match=r"48 x 16 px: a critic of 2 doublings needs at least 32 px.*model\.critic\.doublings"
    ):
        small_critic(gray(1, 16, 48))


@pytest.mark.parametrize(
    ("doublings", "size", "patches"), [(3, 64, 1), (3, 128, 25), (3, 192, 81), (2, 32, 1), (1, 32, 25)]
)
def test_patches_of_the_critic(doublings, size, patches):
    logits = build_critic(8, doublings=doublings).eval()(gray(2, size, size))
    assert logits.shape == (2, patches)


def test_rebuilt_from_its_config(tiny, small_critic):
    again = build_generator(**tiny.config, pretrained=False, seed=9)
    again.load_state_dict(tiny.state_dict())
    assert again.config == tiny.config
    critic = build_critic(**small_critic.config, seed=9)
    critic.load_state_dict(small_critic.state_dict())
    x = gray(2, 32, 32)
    with torch.no_grad():
        assert torch.equal(again.eval()(x), tiny.eval()(x))
        assert torch.equal(critic.eval()(x), small_critic.eval()(x))


def test_seed_decides_the_weights_and_the_global_generator_is_left_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    first, again, other = (build_generator("tiny", width=0.25, seed=seed) for seed in (1, 1, 2))
    build_critic(8, doublings=1)
    assert torch.equal(torch.rand(3), expected)
    states = [torch.cat([p.flatten() for p in network.parameters()]) for network in (first, again, other)]
    assert torch.equal(states[0], states[1]) and not torch.equal(states[0], states[2])


def test_starts_as_smooth_upsampling():
    """ICNR: the four subpixels of a pixel-shuffle convolution start out equal, so nothing looks like a checkerboard."""
    weight = icnr_(torch.empty(12, 5, 1, 1))
    up = F.pixel_shuffle(F.conv2d(torch.randn(1, 5, 4, 4), weight), 2)
    torch.testing.assert_close(up, F.interpolate(up[..., ::2, ::2], scale_factor=2, mode="nearest"))


def test_blur_replicates_the_left_and_the_top():
    x = torch.randn(2, 3, 5, 4)
    torch.testing.assert_close(blur(x), F.avg_pool2d(F.pad(x, (1, 0, 1, 0), mode="replicate"), 2, stride=1))


def test_pixel_shuffle_with_channels_last_is_the_same_in_one_copy():
    x, weights = torch.randn(2, 12, 5, 4), torch.randn(2, 3, 10, 8)
    results, gradients = [], []
    for shuffle, leaf in ((lambda y: F.pixel_shuffle(y, 2), x), (_shuffle_channels_last, last(x))):
        leaf = leaf.detach().requires_grad_()
        results.append(shuffle(leaf))
        (results[-1] * weights).sum().backward()
        gradients.append(leaf.grad)
    assert torch.equal(*results) and torch.equal(*gradients)
    assert is_last(results[1]) and is_last(gradients[1])


def test_blurring_keeps_channels_last_backwards_too():
    gradients = []
    blurred = blur(last(torch.randn(2, 3, 6, 8)).requires_grad_())
    blurred.grad_fn.next_functions[0][0].register_hook(lambda _, found: gradients.extend(found))
    blurred.backward(torch.randn_like(blurred))
    assert is_last(blurred) and is_last(gradients[0])


@pytest.mark.parametrize("part", ["generator", "critic"])
def test_channels_stay_last_on_a_gpu(part, monkeypatch):
    """No feature map comes to a convolution as NCHW, to be copied, even if the image is; on tensors without content."""
    network = build_generator("tiny", width=0.5) if part == "generator" else build_critic(8, doublings=2)
    network.to(memory_format=torch.channels_last)
    seen = {}

    def fine(x):
        return is_last(x) or x.shape[1] == 3

    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda _, x, y, name=name: seen.update({name: fine(x[0]) and fine(y)}))
    monkeypatch.setattr(torch.__future__, "get_overwrite_module_params_on_conversion", lambda: True)
    with FakeTensorMode(allow_non_fake_inputs=True):
        network._apply(lambda tensor: torch.empty_like(tensor, device="cuda"))
        network(torch.empty(2, 3, 32, 48, device="cuda"))
    assert len(seen) > 5 and all(seen.values()), seen


def test_self_attention_asks_for_fused_kernels(monkeypatch):
    """They take four dimensions, the last of which is dense."""
    attend, seen = F.scaled_dot_product_attention, []
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda *qkv, **how: seen.extend(qkv) or attend(*qkv, **how))
    x = torch.randn(2, 16, 6, 5)
    assert is_last(SelfAttention(16)(x)) and is_last(SelfAttention(16)(last(x)))
    assert [tensor.shape for tensor in seen] == 2 * [(2, 1, 30, 2), (2, 1, 30, 2), (2, 1, 30, 16)]
    assert all(tensor.stride(-1) == 1 for tensor in seen)


def test_self_attention_is_the_original_formula():
    attention = settle(SelfAttention(16), torch.randn(2, 16, 6, 5))
    with torch.no_grad():
        attention.gamma.fill_(0.7)
        x = torch.randn(2, 16, 6, 5)
        flat = x.flatten(2)
        q, k, v = (F.conv1d(flat, conv.weight) for conv in (attention.query, attention.key, attention.value))
        columns = torch.softmax(q.transpose(1, 2) @ k, dim=1)
        torch.testing.assert_close(columns.sum(dim=1), torch.ones(2, 30))
        torch.testing.assert_close(attention(x), 0.7 * (v @ columns).view(x.shape) + x)


@pytest.mark.parametrize("part", ["generator", "critic"])
def test_spectral_norm_iterates_in_train_mode_only(part, tiny, small_critic):
    network = {"generator": tiny, "critic": small_critic}[part]

    def vectors():
        return {key: value.clone() for key, value in network.state_dict().items() if key.endswith(("._u", "._v"))}

    before = vectors()
    assert len(before) >= 20
    network.eval()(gray(1, 32, 32))
    assert all(torch.equal(value, before[key]) for key, value in vectors().items())
    network.train()(gray(2, 32, 32))
    # The critic's last matrix has one row, so its iteration has nowhere to go.
    after = {key: value for key, value in vectors().items() if part == "generator" or not key.startswith("head.")}
    assert not any(torch.equal(value, before[key]) for key, value in after.items())


def test_spectral_norm_is_one_after_some_steps(small_critic):
    settle(small_critic, gray(2, 32, 32))
    for _ in range(50):
        small_critic.train()(gray(1, 32, 32))
    small_critic.eval()
    for module in small_critic.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d):
            assert torch.linalg.matrix_norm(module.weight.flatten(1), ord=2).item() == pytest.approx(1, abs=0.02)


def test_folding(tiny, small_critic):
    x = gray(2, 48, 32)
    for network, build in ((tiny, build_generator), (small_critic, build_critic)):
        settle(network, x)
        with torch.no_grad():
            expected = network(x)
            folded = fold_spectral_norm(copy.deepcopy(network))
            torch.testing.assert_close(folded(x), expected, rtol=1e-5, atol=1e-5)
            again = build(**folded.config).eval()
            again.load_state_dict(folded.state_dict())
            assert torch.equal(again(x), folded(x))
            assert torch.equal(network(x), expected)  # the network that was copied still works
        assert not folded.config["normalized_weights"]


def test_deep_copy_stands_alone(tiny):
    copied = copy.deepcopy(tiny)
    before = {key: value.clone() for key, value in tiny.state_dict().items()}
    optimizer = torch.optim.SGD(copied.parameters(), lr=1.0)
    copied(gray(2, 32, 32)).square().mean().backward()
    optimizer.step()
    assert all(torch.equal(value, before[key]) for key, value in tiny.state_dict().items())
    assert not torch.equal(copied.state_dict()["head.bias"], before["head.bias"])


def test_nothing_is_held_between_calls(tiny):
    """No hook keeps a skip: two sizes in turn give what each gives alone."""
    tiny.eval()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in tiny.modules())
    with torch.no_grad():
        alone = tiny(gray(1, 64, 32))
        tiny(gray(2, 32, 48))
        assert torch.equal(tiny(gray(1, 64, 32)), alone)


@pytest.mark.parametrize(
    ("mode", "backend"),
    [
        ("train", "eager"),
        pytest.param("eval", "aot_eager", marks=pytest.mark.slow),
        pytest.param("train", "inductor", marks=pytest.mark.slow),
    ],
)
def test_compiles_without_graph_breaks(mode, backend, tiny):
    torch._dynamo.reset()
    for network in (tiny, build_critic(8, doublings=1)):
        network.train(mode == "train")
        for module in network.modules():
            if isinstance(module, nn.Dropout2d):
                module.eval()
        reference = copy.deepcopy(network)
        compiled = torch.compile(network, backend=backend, fullgraph=True)
        x = gray(2, 32, 32)
        ours, expected = compiled(x), reference(x)
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)
        if mode == "train":
            ours.mean().backward()
            assert all(p.grad is not None for p in network.parameters() if p.requires_grad and p.numel() > 1)


def test_compiles_under_autocast(tiny):
    torch._dynamo.reset()
    compiled = torch.compile(tiny.eval(), backend="eager", fullgraph=True)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(compiled(gray(2, 32, 32)), tiny(gray(2, 32, 32)))


def test_compiling_in_place_keeps_the_names(tiny):
    names = list(tiny.state_dict())
    tiny.compile(backend="eager", fullgraph=True)
    tiny.eval()(gray(1, 32, 32))
    assert list(tiny.state_dict()) == names


@pytest.mark.parametrize("folded", [False, True])
def test_exports(tiny, folded):
    settle(tiny, gray(2, 48, 32))
    network = fold_spectral_norm(tiny) if folded else tiny
    batch, height, width = torch.export.Dim("batch", max=8), torch.export.Dim.AUTO, torch.export.Dim.AUTO
    shapes = {"x": {0: batch, 2: height, 3: width}}
    program = torch.export.export(network, (gray(2, 48, 32).contiguous(),), dynamic_shapes=shapes)
    x = gray(3, 64, 80, seed=1)
    with torch.no_grad():
        torch.testing.assert_close(program.module()(x.contiguous()), network(x), rtol=1e-5, atol=1e-5)


def test_bfloat16_keeps_float32_where_it_must(tiny, small_critic):
    x = gray(2, 64, 64)
    settle(tiny, x), settle(small_critic, x)
    with torch.no_grad():
        exact, logits = tiny(x), small_critic(x)
        with torch.autocast("cpu", torch.bfloat16):
            rough = tiny(x)
            assert tiny.head.weight.dtype == torch.float32
            assert small_critic(x).dtype == torch.float32
            assert (small_critic(x) - logits).abs().max() < 0.1
    assert rough.dtype == torch.float32
    assert (rough - exact).abs().max() < 0.2
    assert torch.unique(rough).numel() > 5000  # bfloat16 has fewer than 1000 values between -3 and 3 that matter here

    reference = copy.deepcopy(tiny).train()
    tiny.train()
    with torch.autocast("cpu", torch.bfloat16):
        tiny(x).mean().backward()
    reference(x)
    ours, theirs = tiny.state_dict(), reference.state_dict()
    for key in ours:
        assert ours[key].dtype == theirs[key].dtype
        if key.endswith(("._u", "._v")):  # the power iteration saw the same float32 weights
            assert torch.equal(ours[key], theirs[key])
    assert all(p.grad.dtype == torch.float32 for p in tiny.parameters() if p.grad is not None)


def test_every_parameter_trains(tiny, small_critic):
    nn.init.ones_(next(m for m in tiny.modules() if isinstance(m, SelfAttention)).gamma)
    nn.init.ones_(next(m for m in small_critic.modules() if isinstance(m, SelfAttention)).gamma)
    for network in (tiny, small_critic):
        network(gray(2, 64, 64)).square().mean().backward()
        still = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
        # A first layer of one output channel divided by its own norm can only turn: nothing is left out.
        assert still == []


def test_groups_cover_every_parameter_once(tiny):
    groups = tiny.layer_groups()
    assert len(groups) == 3
    parameters = [id(p) for group in groups for module in group for p in module.parameters()]
    assert len(parameters) == len(set(parameters)) == len(list(tiny.parameters()))
    assert all(list(module.parameters()) for group in groups for module in group)


def test_frozen_encoder_trains_its_norms(tiny):
    trains = trainable_parameters(tiny, "decoder")
    encoder = {name for name in trains if name.startswith("encoder.")}
    norms = [name for name, module in tiny.encoder.named_modules() if isinstance(module, nn.BatchNorm2d)]
    assert encoder == {f"encoder.{name}.{kind}" for name in norms for kind in ("weight", "bias")}
    assert len(trains) - len(encoder) == sum(
        1 for name, _ in tiny.named_parameters() if not name.startswith("encoder.")
    )
    with pytest.raises(ValueError, match="part='encoder'"):
        trainable_parameters(tiny, "encoder")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"decoder": "broad"}, r"model\.decoder=broad: expected one of deep, wide"),
        ({"width": 0}, r"model\.width=0: expected a number above 0"),
        ({"encoder": "resnet34x"}, r"model\.encoder=resnet34x: expected 'tiny' or a backbone that timm .* knows"),
        ({"encoder_weights": "x.pth"}, r"model\.encoder_weights=x\.pth: the tiny encoder has no pretrained weights"),
    ],
)
def test_mistakes_are_named(arguments, message):
    with pytest.raises(UserError, match=message):
        build_generator(**{"encoder": "tiny"} | arguments)


@pytest.mark.parametrize("arguments", [{"width": 0}, {"doublings": 0}, {"dropout": 1.0}, {"dropout": -0.1}])
def test_mistakes_in_the_critic_are_named(arguments):
    with pytest.raises(UserError, match=r"model\.critic"):
        build_critic(**arguments)


def test_tiny_learns_in_a_few_steps():
    """A net that cannot overfit one batch of flat colors in 40 steps has a bug."""
    torch.manual_seed(0)
    network = build_generator("tiny", width=0.5)
    x, target = gray(8, 32, 32), torch.randn(8, 3, 1, 1).clamp(-2, 2).expand(-1, -1, 32, 32)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    losses = []
    for _ in range(40):
        loss = F.l1_loss(network(x), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_an_export_resizes_even_where_the_traced_sizes_agree():
    class ThereAndBack(nn.Module):
        def forward(self, x):
            return resize_like(F.interpolate(x[..., ::2, ::2], scale_factor=2, mode="nearest"), x.shape[-2:])

    even, odd = torch.rand(1, 1, 6, 8), torch.rand(1, 1, 5, 7)
    sizes = {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    exported = torch.export.export(ThereAndBack(), (even,), dynamic_shapes={"x": sizes}).module()
    for x in (even, odd):
        assert torch.equal(exported(x), ThereAndBack()(x))
