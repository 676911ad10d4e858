"""Checkpoints in diffusers' format: what is loaded equals what was saved, and what is wrong is refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("diffusers")

import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler
from diffusers.models.embeddings import get_timestep_embedding
from safetensors.torch import load_file, save_file

import diffnum as dn
from diffnum.models import MissingModelError, ModelFileError
from diffnum.models.loading.architectures import ExactTimesteps
from diffnum.schedules import FlowMatching, Tabulated
from tests.models import small

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved DDPM pipeline."""
    path = tmp_path_factory.mktemp("ddpm")
    small.ddpm().save_pretrained(path)
    return path


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """A saved class-conditional network whose last class is the null label, and its scheduler."""
    small.unet(num_class_embeds=4).save_pretrained(tmp_path)
    DDIMScheduler().save_pretrained(tmp_path)
    return tmp_path


def test_a_saved_pipeline_predicts_what_its_network_predicted(folder: Path) -> None:
    model = dn.load(f"diffusers:{folder}")
    with torch.no_grad():
        expected = small.unet()(X, torch.tensor(321.0)).sample
    torch.testing.assert_close(model(X, 321), expected, rtol=0, atol=0)
    assert (model.prediction, model.sample_shape, model.value_range) == ("noise", (3, 8, 8), (-1.0, 1.0))
    assert model.schedule == Tabulated.from_betas(dn.schedules.linear_betas())
    assert not model.rounds_time


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_loading_says_nothing(folder: Path, dtype: str, caplog: pytest.LogCaptureFixture) -> None:
    assert dn.load(f"diffusers:{folder}", dtype=dtype).dtype == getattr(torch, dtype)
    assert not caplog.records


def test_times_between_labels_reach_the_network_unrounded(folder: Path) -> None:
    model = dn.load(f"diffusers:{folder}", dtype="float64")
    x = X.double()
    step = 1e-6
    slope = (model(x, 500.5 + step) - model(x, 500.5 - step)) / (2 * step)
    wide = (model(x, 500.5 + 1e-3) - model(x, 500.5 - 1e-3)) / 2e-3
    assert float(slope.abs().max()) > 1e-5
    torch.testing.assert_close(slope, wide, rtol=1e-4, atol=1e-8)  # a float32 time would be a staircase at this step
    rounded = dn.load(f"diffusers:{folder}", dtype="float64", time="index")
    torch.testing.assert_close(rounded(x, 500.4), model(x, 500.0), rtol=0, atol=0)
    assert rounded.rounds_time


def test_half_precision_models_do_not_round_time(folder: Path) -> None:
    model = dn.load(f"diffusers:{folder}", dtype="bfloat16")
    x = X.bfloat16()
    assert not torch.equal(model(x, 999.0), model(x, 997.0))  # the same number in bfloat16


@pytest.mark.parametrize("kind", ["SD3", "Flux", "Flux, distilled"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_flows_do_not_round_time(tmp_path: Path, kind: str, dtype: str) -> None:
    if kind == "SD3":
        small.stable_diffusion_3().save_pretrained(tmp_path)
    else:
        small.flux(kind.endswith("distilled")).save_pretrained(tmp_path)
        FlowMatchEulerDiscreteScheduler().save_pretrained(tmp_path)
    model = dn.load(f"diffusers:{tmp_path}", dtype=dtype, sample_size=(4, 4))
    draws = torch.Generator().manual_seed(2)
    x = torch.randn(2, *model.sample_shape, generator=draws).to(model.dtype)
    given = {name: torch.randn(1, 5, 12, generator=draws) for name in ("prompt_embeds",)}
    given["pooled_prompt_embeds"] = torch.randn(1, 6, generator=draws)
    model = model.conditioned("a cat" if kind == "SD3" else given)
    near = (0.9012, 0.9014)  # the same number in both dtypes, 0.2 of a label apart
    assert len({float(torch.tensor(t, dtype=model.dtype)) for t in near}) == 1
    assert not torch.equal(model(x, near[0]), model(x, near[1]))
    assert torch.equal(model(x, near[0]), model(x, near[0]))


def test_the_network_of_flux_itself_rounds_time_in_half_precision() -> None:
    """The control of the test above: what the network does when it is called as its pipeline calls it."""
    network = small.flux(False).bfloat16()
    draws = torch.Generator().manual_seed(2)
    text = torch.randn(1, 5, 12, generator=draws).bfloat16()
    arguments = {
        "hidden_states": torch.randn(1, 4, 8, generator=draws).bfloat16(),
        "encoder_hidden_states": text,
        "pooled_projections": torch.randn(1, 6, generator=draws).bfloat16(),
        "img_ids": torch.zeros(4, 3),
        "txt_ids": torch.zeros(5, 3),
    }
    with torch.no_grad():
        near = [network(timestep=torch.tensor([t]), **arguments).sample for t in (0.9012, 0.9014)]
    assert torch.equal(*near)


def test_the_exact_embedding_is_that_of_diffusers_up_to_float32() -> None:
    from diffusers.models.embeddings import Timesteps

    t = torch.linspace(0, 999, 50, dtype=torch.float64)
    for channels, flip, shift in ((32, True, 0), (33, False, 1)):
        exact = ExactTimesteps(Timesteps(channels, flip, shift))(t)
        rounded = get_timestep_embedding(t, channels, flip, shift)
        assert exact.dtype == torch.float64
        torch.testing.assert_close(exact, rounded.double(), rtol=0, atol=1e-4)


def test_a_network_alone_needs_a_schedule(tmp_path: Path) -> None:
    small.unet().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"no scheduler_config.json; pass schedule="):
        dn.load(f"diffusers:{tmp_path}")
    schedule = Tabulated.from_betas(dn.schedules.cosine_betas())
    with pytest.raises(ValueError, match="pass prediction="):
        dn.load(f"diffusers:{tmp_path}", schedule=schedule)
    assert dn.load(f"diffusers:{tmp_path}", schedule=schedule, prediction="v").schedule == schedule


def test_a_schedule_that_contradicts_the_checkpoint_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="does not match the checkpoint, whose DDIMScheduler says"):
        dn.load(f"diffusers:{folder}", schedule=FlowMatching())
    with pytest.raises(ValueError, match=r"shift=3\.0: DDIMScheduler is no flow-matching schedule"):
        dn.load(f"diffusers:{folder}", shift=3.0)


def test_the_last_class_is_the_null_label_where_the_folder_records_it(labelled: Path) -> None:
    plain = dn.load(f"diffusers:{labelled}")
    assert (plain.num_classes, plain.unconditional) == (4, False)
    with pytest.raises(ValueError, match="trained without a null label"):
        plain(X, 10.0)
    with pytest.raises(ValueError, match="trained without a null label"):
        plain.conditioned(None)
    (labelled / "diffnum.json").write_text(json.dumps({"options": {"null_label": True, "value_range": [0, 1]}}))
    model = dn.load(f"diffusers:{labelled}")
    assert (model.num_classes, model.value_range) == (3, (0.0, 1.0))
    torch.testing.assert_close(model(X, 10.0), plain.conditioned(3)(X, 10.0), rtol=0, atol=0)
    with pytest.raises(ValueError, match=r"label=3 is not in 0\.\.2"):
        model.conditioned(3)


def test_one_pass_gives_both_predictions_of_guidance(labelled: Path) -> None:
    model = dn.load(f"diffusers:{labelled}", null_label=True).conditioned([0, 2])
    conditional, unconditional = model.with_unconditional(X, 400.5)
    torch.testing.assert_close(conditional, model(X, 400.5))
    torch.testing.assert_close(unconditional, model.conditioned(None)(X, 400.5))


def test_networks_with_attention_have_a_jacobian(labelled: Path) -> None:
    model = dn.load(f"diffusers:{labelled}", dtype="float64").conditioned(1)
    x, tangent = X.double(), torch.randn(X.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    slope = (model(x + 1e-6 * tangent, 400.5) - model(x - 1e-6 * tangent, 400.5)) / 2e-6
    torch.testing.assert_close(model.jvp(x, 400.5, tangent), slope, rtol=1e-6, atol=1e-7)


def test_a_learned_variance_is_dropped(tmp_path: Path) -> None:
    small.ddpm(out_channels=6).save_pretrained(tmp_path)
    model = dn.load(f"diffusers:{tmp_path}")
    with torch.no_grad():
        expected = small.unet(out_channels=6)(X, 7).sample[:, :3]
    torch.testing.assert_close(model(X, 7.0), expected, rtol=0, atol=0)


def test_a_table_of_times_is_rounded_with_a_warning_or_interpolated(tmp_path: Path) -> None:
    small.ddpm(time_embedding_type="learned", num_train_timesteps=1000).save_pretrained(tmp_path)
    with pytest.warns(UserWarning, match='other times are rounded; load it with time="continuous"'):
        rounded = dn.load(f"diffusers:{tmp_path}")
    assert rounded.rounds_time
    torch.testing.assert_close(rounded(X, 500.3), rounded(X, 500.0), rtol=0, atol=0)
    smooth = dn.load(f"diffusers:{tmp_path}", time="continuous")
    assert not smooth.rounds_time
    torch.testing.assert_close(smooth(X, 500.0), rounded(X, 500.0))
    torch.testing.assert_close(smooth(X, 999.0), rounded(X, 999.0))
    assert not torch.equal(smooth(X, 500.3), smooth(X, 500.0))


def test_a_table_of_another_length_is_refused(tmp_path: Path) -> None:
    scheduler = DDIMScheduler(num_train_timesteps=100)
    small.ddpm(scheduler, time_embedding_type="learned", num_train_timesteps=1000).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="network has 1000 labels"):
        dn.load(f"diffusers:{tmp_path}", time="continuous")


def rewrite(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_unknown_prediction_types_tables_and_networks_are_refused(tmp_path: Path) -> None:
    small.ddpm().save_pretrained(tmp_path)
    config = tmp_path / "scheduler" / "scheduler_config.json"
    rewrite(config, prediction_type="clairvoyance")
    with pytest.raises(ValueError, match=r"prediction_type='clairvoyance' of DDIMScheduler is unknown"):
        dn.load(f"diffusers:{tmp_path}")
    rewrite(config, prediction_type="epsilon", beta_schedule="tea_leaves")
    with pytest.raises(ValueError, match="beta_schedule='tea_leaves'"):
        dn.load(f"diffusers:{tmp_path}")
    rewrite(config, beta_schedule="linear")
    rewrite(tmp_path / "unet" / "config.json", _class_name="UNet1DModel")
    with pytest.raises(ValueError, match="is of class UNet1DModel; diffnum knows UNet2DModel"):
        dn.load(f"diffusers:{tmp_path}")


def test_weights_must_be_all_there_and_nothing_else(tmp_path: Path) -> None:
    small.ddpm().save_pretrained(tmp_path)
    weights = tmp_path / "unet" / WEIGHTS
    tensors = load_file(weights)
    lost = tensors.pop("conv_out.bias")
    save_file(tensors, weights)
    with pytest.raises(ModelFileError, match=r"not those of its config.json \(missing keys: 1, conv_out.bias first"):
        dn.load(f"diffusers:{tmp_path}")
    save_file({**tensors, "conv_out.bias": lost, "stray": lost.clone()}, weights)
    with pytest.raises(ModelFileError, match="unexpected keys: 1, stray first"):
        dn.load(f"diffusers:{tmp_path}")
    save_file({**tensors, "conv_out.bias": lost[:1]}, weights)
    with pytest.raises(ModelFileError, match="cannot be read into UNet2DModel"):
        dn.load(f"diffusers:{tmp_path}")


def test_corrupt_truncated_or_missing_files_are_named(tmp_path: Path) -> None:
    small.ddpm().save_pretrained(tmp_path)
    weights = tmp_path / "unet" / WEIGHTS
    content = weights.read_bytes()
    weights.write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelFileError, match="cannot be read into UNet2DModel"):
        dn.load(f"diffusers:{tmp_path}")
    weights.unlink()
    with pytest.raises(MissingModelError, match="holds no weights"):
        dn.load(f"diffusers:{tmp_path}")
    (tmp_path / "unet" / "config.json").write_text("{")
    with pytest.raises(ModelFileError, match="not readable as JSON"):
        dn.load(f"diffusers:{tmp_path}")


def test_recorded_digests_are_checked(labelled: Path) -> None:
    weights = labelled / WEIGHTS
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    (labelled / "diffnum.json").write_text(json.dumps({"sha256": {WEIGHTS: digest}}))
    dn.load(f"diffusers:{labelled}")
    flipped = bytearray(weights.read_bytes())
    flipped[-1] ^= 1
    weights.write_bytes(bytes(flipped))
    with pytest.raises(ModelFileError, match="SHA-256 is"):
        dn.load(f"diffusers:{labelled}")
    weights.unlink()
    with pytest.raises(MissingModelError, match="is missing"):
        dn.load(f"diffusers:{labelled}")


def test_files_of_the_cache_are_checked_against_their_names(labelled: Path) -> None:
    weights = labelled / WEIGHTS
    blob = labelled / hashlib.sha256(weights.read_bytes()).hexdigest()
    weights.rename(blob)
    weights.symlink_to(blob)
    dn.load(f"diffusers:{labelled}")
    wrong = blob.rename(labelled / ("0" * 64))
    weights.unlink()
    weights.symlink_to(wrong)
    with pytest.raises(ModelFileError, match="SHA-256 is"):
        dn.load(f"diffusers:{labelled}")


def test_pickles_are_refused_unless_trusted(tmp_path: Path) -> None:
    small.ddpm().save_pretrained(tmp_path, safe_serialization=False)
    with pytest.raises(ModelFileError, match=r"can run any program when it is read.*trust_pickle=True"):
        dn.load(f"diffusers:{tmp_path}")
    model = dn.load(f"diffusers:{tmp_path}", trust_pickle=True)
    with torch.no_grad():
        torch.testing.assert_close(model(X, 3.0), small.unet()(X, 3).sample, rtol=0, atol=0)


def test_what_is_not_here_is_not_fetched(tmp_path: Path) -> None:
    with pytest.raises(
        MissingModelError, match="not in the cache of the hub; fetch it with `hf download nobody/nothing`"
    ):
        dn.load("diffusers:nobody/nothing")
    with pytest.raises(MissingModelError, match="no identifier of the hub"):
        dn.load("diffusers:/no/such/folder")
    with pytest.raises(MissingModelError, match=r"neither model_index.json"):
        dn.load(f"diffusers:{tmp_path}")


def test_unknown_options_are_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"speed=11: diffusers:.* takes schedule, prediction, shift"):
        dn.load(f"diffusers:{folder}", speed=11)
    with pytest.raises(ValueError, match="shift=1: toy/digits takes no options"):
        dn.load("toy/digits", shift=1)


def test_states_of_another_shape_or_dtype_are_refused(folder: Path) -> None:
    model = dn.load(f"diffusers:{folder}")
    with pytest.raises(ValueError, match=r"takes \(batch, 3, 8, 8\)"):
        model(X[:, :1], 5.0)
    with pytest.raises(TypeError, match=r"x has dtype torch\.float64"):
        model(X.double(), 5.0)
    with pytest.raises(ValueError, match=r"t=1000\.0 is not within"):
        model(X, 1000.0)


def test_toy_models_may_be_in_diffusers_format(labelled: Path) -> None:
    from diffnum.models.loading.toy import load_toy

    model = load_toy(labelled)
    assert model.name == f"toy/{labelled.name}"
    assert model.num_classes == 4
