import logging
from dataclasses import replace
from subprocess import CalledProcessError

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from scale_video.aggregate import execution
from scale_video.aggregate.checkpoint import CheckpointError, TrainingRecord, load_record
from scale_video.aggregate.data_module import ClipSetDataModule
from scale_video.aggregate.execution import decided_compilation, decided_precision
from scale_video.aggregate.info_nce import info_nce, similarity_logits
from scale_video.aggregate.lightning_module import SetPretraining
from scale_video.aggregate.pretrain import pretrain


@pytest.fixture(autouse=True)
def _forked():
    with torch.random.fork_rng():
        yield


def make(config):
    return SetPretraining(TrainingRecord(config=config, feature_dim=6, training_video_ids=()))


def step(config, features):
    """Losses and gradients of one step."""
    module = make(config)
    batch = next(ClipSetDataModule(features, config).batches(0))
    torch.manual_seed(0)  # equal dropout
    contrasts = module.contrasts(batch)
    module.total_loss(contrasts).backward()
    return contrasts, torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])


@pytest.mark.parametrize("negatives", ["all", "masked"])
def test_bf16_gives_losses_in_float32_close_to_those_of_fp32(make_features, tiny_config, negatives):
    features = make_features()
    config = replace(tiny_config, negatives=negatives, prediction_hidden_dim=64, target_hidden_dim=64)
    expected, gradient = step(replace(config, precision="fp32"), features)
    got, close_gradient = step(replace(config, precision="bf16"), features)
    for task, contrast in got.items():
        assert contrast.loss.dtype == contrast.accuracy.dtype == torch.float32
        assert contrast.loss.item() == pytest.approx(expected[task].loss.item(), abs=0.05)
        assert contrast.loss.item() != expected[task].loss.item()  # or nothing was computed otherwise
    assert close_gradient.dtype == torch.float32
    assert torch.cosine_similarity(gradient, close_gradient, dim=0) > 0.99


@pytest.fixture
def autocast_of_a_gpu(recwarn):
    """CPU's autocast brings the operands of three more operations to one precision; without them it is as CUDA's."""
    only_on_cpu = ("index_copy", "cat", "stack")
    assert not any("AutocastCUDA" in torch._C._dispatch_dump(f"aten::{name}") for name in only_on_cpu)
    library = torch.library.Library("aten", "IMPL")
    for name in only_on_cpu:
        library.impl(name, torch.library.fallthrough_kernel, "AutocastCPU")  # warns that it takes another's place
    yield
    library._destroy()


@pytest.mark.usefixtures("autocast_of_a_gpu")
@pytest.mark.parametrize("negatives", ["all", "masked"])
def test_bf16_needs_no_more_of_autocast_than_a_gpu_has(make_features, tiny_config, negatives):
    contrasts, gradient = step(replace(tiny_config, precision="bf16", negatives=negatives), make_features())
    assert all(contrast.loss.isfinite() for contrast in contrasts.values())
    assert gradient.isfinite().all()


class Products(TorchDispatchMode):
    """Notes the precision of every product of matrices, but for attention's, which a CPU computes in float32."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm):
            self.seen.append({arg.dtype for arg in args if isinstance(arg, torch.Tensor)})
        return func(*args, **(kwargs or {}))


def test_bf16_multiplies_layers_in_bfloat16_and_similarities_in_float32(make_features, tiny_config):
    config = replace(tiny_config, precision="bf16")
    batch = next(ClipSetDataModule(make_features(), config).batches(0))
    module = make(config)
    with Products() as products:
        module.contrasts(batch)
    assert products.seen.count({torch.float32}) == 3  # similarities of clips, and of sets in both directions
    assert products.seen.count({torch.bfloat16}) == len(products.seen) - 3 > 10


def test_similarities_and_losses_ignore_autocast():
    a, b = (torch.nn.functional.normalize(torch.randn(5, 8), dim=-1) for _ in range(2))
    expected = similarity_logits(a, b, temperature=0.2)
    torch.testing.assert_close(expected, torch.tensor([[float(x @ y) / 0.2 for y in b] for x in a]))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = similarity_logits(a, b, temperature=0.2)
        contrast = info_nce(logits, torch.arange(5))
    assert torch.equal(logits, expected)
    assert contrast.loss.dtype == torch.float32
    assert torch.equal(contrast.loss, info_nce(expected, torch.arange(5)).loss)


@pytest.mark.parametrize(
    ("device_type", "can", "precision"), [("cpu", True, "fp32"), ("cuda", True, "bf16"), ("cuda", False, "fp32")]
)
def test_auto_is_bf16_on_a_gpu_that_can(monkeypatch, device_type, can, precision):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: can)
    assert decided_precision("auto", device_type=device_type) == precision
    assert decided_precision("fp32", device_type=device_type) == "fp32"
    assert decided_precision("bf16", device_type=device_type) == "bf16"


def test_auto_does_not_compile_on_a_cpu():
    assert decided_compilation("auto", device_type="cpu") == "off"
    assert decided_compilation("on", device_type="cpu") == "on"


def test_auto_tries_the_compiler_of_a_gpu(monkeypatch, caplog):
    monkeypatch.setattr(execution.torch, "zeros", lambda *size, device: torch.ones(*size))  # there is no GPU here
    monkeypatch.setattr(execution.torch, "compile", lambda function: function)
    assert decided_compilation("auto", device_type="cuda") == "on"
    assert decided_compilation("off", device_type="cuda") == "off"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            RuntimeError("Cannot find a working triton installation.\nmore"),
            "Cannot find a working triton installation.",
        ),
        # such as where Python's headers are not installed
        (CalledProcessError(1, "gcc"), "Command 'gcc' returned non-zero exit status 1."),
    ],
)
def test_a_compiler_that_does_not_work_is_not_used(monkeypatch, caplog, error, reason):
    def without_compiler(function):
        def call(*_):
            raise error

        return call

    monkeypatch.setattr(execution.torch, "zeros", lambda *size, device: torch.ones(*size))
    monkeypatch.setattr(execution.torch, "compile", without_compiler)
    with caplog.at_level(logging.WARNING):
        assert decided_compilation("auto", device_type="cuda") == "off"
    assert caplog.messages == [f"pre-training is not compiled: torch.compile does not work here ({reason})"]


def test_the_checkpoint_records_what_auto_became_and_refuses_another_precision(make_features, tiny_config, tmp_path):
    def run(config):
        return pretrain(make_features(), config, run_dir=tmp_path, provenance={}, accelerator="cpu")

    config = load_record(run(replace(tiny_config, epochs=1))).config
    assert (config.precision, config.compile) == ("fp32", "off")
    with pytest.raises(CheckpointError, match=r"of another training \(config\.precision: 'fp32' != 'bf16'\)"):
        run(replace(tiny_config, epochs=1, precision="bf16"))
    with pytest.raises(CheckpointError, match=r"of another training \(config\.compile: 'off' != 'on'\)"):
        run(replace(tiny_config, epochs=1, compile="on"))


def test_a_checkpoint_from_before_these_options_goes_on(make_features, tiny_config, tmp_path):
    def run():
        return pretrain(make_features(), tiny_config, run_dir=tmp_path, provenance={}, accelerator="cpu")

    path = run()
    checkpoint = torch.load(path, weights_only=True)
    for option in ("precision", "compile", "feature_dropout", "feature_noise"):
        del checkpoint["scale_video"]["config"][option]
    torch.save(checkpoint, path)
    assert run() == path  # complete, and not of another training


class ForbidWaiting(TorchDispatchMode):
    """Raises at what a GPU would have to finish for: values that the host reads, sizes that depend on values."""

    forbidden = (
        torch.ops.aten._local_scalar_dense,
        torch.ops.aten.nonzero,
        torch.ops.aten.masked_select,
        torch.ops.aten.is_nonzero,
        torch.ops.aten.equal,
        torch.ops.aten._unique2,
    )

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        by_values = func is torch.ops.aten.index.Tensor and any(
            i is not None and i.dtype == torch.bool for i in args[1]
        )
        if by_values or func.overloadpacket in self.forbidden:
            raise AssertionError(f"{func} waits for the device")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("options", [{}, {"negatives": "masked", "feature_noise": 0.1, "feature_dropout": 0.1}])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_step_never_waits_for_the_device(make_features, tiny_config, options, precision):
    config = replace(tiny_config, precision=precision, **options)
    module = make(config)
    for batch in ClipSetDataModule(make_features(), config).batches(0):
        with ForbidWaiting():
            module.training_step(batch, 0).backward()


@pytest.mark.parametrize(
    "waits", [lambda x: x.sum().item(), lambda x: x[x > 0], lambda x: int(x[0]), lambda x: x.nonzero()]
)
def test_waiting_would_be_noticed(waits):
    with ForbidWaiting(), pytest.raises(AssertionError, match="waits for the device"):
        waits(torch.ones(3))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_step_on_a_gpu_never_waits(make_features, tiny_config):
    module = make(tiny_config).cuda()
    batches = ClipSetDataModule(make_features(), tiny_config).batches(0)
    first, second, *_ = [type(batch)(*(value.cuda() for value in batch)) for batch in batches]
    module.training_step(first, 0).backward()  # sets up libraries, which may wait
    torch.cuda.set_sync_debug_mode("error")
    try:
        module.training_step(second, 1).backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("options", [{}, {"negatives": "masked", "precision": "bf16"}])
def test_a_step_is_one_program_for_a_compiler(make_features, tiny_config, options):
    """Traced whole (``fullgraph`` raises where Python has to step in), and with the losses of a step that is not."""
    config = replace(tiny_config, model=replace(tiny_config.model, dropout=0), **options)
    module = make(config)
    traced = torch.compile(module.contrasts, backend="eager", fullgraph=True)
    for batch in ClipSetDataModule(make_features(), config).batches(0):
        expected, got = module.contrasts(batch), traced(batch)
        for task, contrast in got.items():
            torch.testing.assert_close(contrast.loss, expected[task].loss)
            torch.testing.assert_close(contrast.accuracy, expected[task].accuracy)
