"""Shipped classifiers, perturbed attention, and every guidance rule on a trained network."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import diffnum as dn
from diffnum.guidance import (
    RULES,
    Classifier,
    classifier_guidance,
    clean_classifier_guidance,
    gradient_free,
    minority_guidance,
    minority_score,
)
from diffnum.models import MissingModelError, NetworkClassifier, load_classifier, perturbed_attention


@pytest.fixture(scope="module")
def digits() -> Any:
    return dn.load("toy/digits").conditioned([3, 5])


@pytest.fixture(scope="module")
def x() -> torch.Tensor:
    return torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", ["noisy", "clean"])
def test_classifiers_of_digits_read_samples_and_have_the_gradient_of_their_logits(
    digits: Any, x: torch.Tensor, kind: str
) -> None:
    judge = load_classifier(digits, kind)
    assert isinstance(judge, Classifier)
    assert isinstance(judge, NetworkClassifier)
    assert judge.num_classes == 10
    images = dn.sample(digits, "dpmpp_2m", 20, n=2)
    assert judge(images, None).argmax(1).tolist() == [3, 5]
    t = 0.3 if kind == "noisy" else None
    weights = torch.randn(2, 10, generator=torch.Generator().manual_seed(1))
    move = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    slope = ((judge(x + 1e-2 * move, t) - judge(x - 1e-2 * move, t)) * weights).sum() / 2e-2
    torch.testing.assert_close((judge.vjp(x, t, weights) * move).sum(), slope, rtol=5e-3, atol=5e-3)


def test_a_classifier_of_data_refuses_noisy_states_and_others_are_not_shipped(digits: Any, x: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="knows data only"):
        load_classifier(digits, "clean")(x, 0.3)
    with pytest.raises(ValueError, match="kind='both'"):
        load_classifier(digits, "both")
    with pytest.raises(MissingModelError, match="no noisy classifier ships with toy/digits-flow"):
        load_classifier(dn.load("toy/digits-flow"))


def test_rules_with_a_classifier_take_the_label_that_is_bound(digits: Any, x: torch.Tensor) -> None:
    noisy, clean = load_classifier(digits), load_classifier(digits, "clean")
    found = classifier_guidance(digits, noisy, 2.0)(x, 0.3)
    expected = classifier_guidance(digits.conditioned(None), noisy, 2.0, label=[3, 5])(x, 0.3)
    torch.testing.assert_close(found, expected)
    assert clean_classifier_guidance(digits, clean, 1.0, jacobian=True)(x, 0.3).isfinite().all()
    other = gradient_free(digits, clean, 2.0)
    torch.testing.assert_close(
        other.conditioned([1, 2])(x, 0.3), gradient_free(digits.conditioned([1, 2]), clean, 2.0)(x, 0.3)
    )
    with pytest.raises(ValueError, match="no label bound"):
        classifier_guidance(digits.conditioned(None), noisy, 2.0)(x, 0.3)


def test_a_network_without_attention_has_none_to_perturb(digits: Any) -> None:
    with pytest.raises(ValueError, match=r"layers=.mid_block.: no self-attention of toy/digits .* there are: none"):
        perturbed_attention(digits)


def test_perturbed_attention_of_emoji_is_another_network_with_the_same_weights() -> None:
    pytest.importorskip("diffusers")
    emoji = dn.load("toy/emoji-32").conditioned(0)
    worse = perturbed_attention(emoji)
    mine = [p.data_ptr() for p in emoji.module.parameters()]
    assert [p.data_ptr() for p in worse.module.parameters()] == mine
    x = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    gap = (emoji(x, 300.0) - worse(x, 300.0)).abs().max()
    assert 1e-4 < float(gap) < 10.0
    torch.testing.assert_close(emoji(x, 300.0), dn.load("toy/emoji-32").conditioned(0)(x, 300.0))
    assert dn.sample(RULES["perturbed_attention"](emoji, 1.0, perturbed=worse), "ddim", 2, n=1).isfinite().all()


def test_an_identity_map_keeps_the_value_of_each_place() -> None:
    attention = pytest.importorskip("diffusers.models.attention_processor").Attention
    from diffnum.models.attention import _Identity

    torch.manual_seed(0)
    layer = attention(8, heads=2, dim_head=4, residual_connection=True, norm_num_groups=2, bias=True).eval()
    picture = torch.randn(1, 8, 3, 3)
    with torch.no_grad():
        plain = layer(picture)
        for part in (layer.to_q, layer.to_k):
            part.weight.zero_()
            part.bias.zero_()
        mean = layer(picture)  # a flat map: every place gets the mean of all values
        layer.set_processor(_Identity())
        own = layer(picture)
    pulled = own - picture
    torch.testing.assert_close((mean - picture)[0, :, 0, 0], pulled.mean(dim=(2, 3))[0], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(plain, own)


def test_minority_labels_of_digits_are_quarters_by_score_and_are_guided_to() -> None:
    bare = dn.load("toy/digits")
    judge = load_classifier(bare, "minority")
    assert judge.num_classes == 4
    guided = minority_guidance(bare, judge, 8.0)
    plain, unusual = (dn.sample(model, "dpmpp_2m", 12, n=64, seed=1) for model in (bare, guided))
    t = float(bare.schedule.time(0.0))
    before, after = (float(minority_score(bare, x, t).mean()) for x in (plain, unusual))
    assert after > 1.05 * before


def test_the_classifier_of_noisy_emoji_reads_samples_as_the_one_of_data_does() -> None:
    pytest.importorskip("diffusers")
    emoji = dn.load("toy/emoji-32")
    noisy = load_classifier(emoji)
    assert noisy.num_classes == emoji.num_classes == 6
    assert noisy(torch.zeros(2, 3, 32, 32), 300.0).shape == (2, 6)
