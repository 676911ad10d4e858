"""Prompts and their embeddings are bound like labels, and what does not fit is refused."""

from __future__ import annotations

import pytest
import torch

from diffnum.models.conditions.prompts import Condition, Prompts

SHAPES: dict[str, tuple[int | None, ...]] = {"tokens": (None, 3), "pooled": (2,)}
PLACE = (torch.float32, torch.device("cpu"))


def encode(texts: list[str]) -> Condition:
    """Embeds a text by its length."""
    sizes = torch.tensor([float(len(text)) for text in texts])
    return {"tokens": sizes[:, None, None].expand(-1, 4, 3), "pooled": sizes[:, None].expand(-1, 2)}


PROMPTS = Prompts(SHAPES, encode)


def test_text_lists_and_embeddings_are_bound() -> None:
    one = PROMPTS.bind("cat", *PLACE)
    assert {name: tuple(value.shape) for name, value in one.items()} == {"tokens": (1, 4, 3), "pooled": (1, 2)}
    two = PROMPTS.bind(["cat", "mouse"], *PLACE)
    assert two["pooled"][:, 0].tolist() == [3.0, 5.0]
    own = PROMPTS.bind({"tokens": torch.ones(7, 3), "pooled": torch.ones(2)}, *PLACE)
    assert own["tokens"].shape == (1, 7, 3)
    alone = Prompts({"tokens": (None, 3)}).bind(torch.ones(2, 5, 3, dtype=torch.float64), *PLACE)
    assert alone["tokens"].dtype == torch.float32


def test_a_single_prompt_serves_the_whole_batch() -> None:
    bound = PROMPTS.batch(PROMPTS.bind("cat", *PLACE), 5, *PLACE)
    assert bound["tokens"].shape == (5, 4, 3)
    with pytest.raises(ValueError, match="bound for 2 samples, and the batch has 5"):
        PROMPTS.batch(PROMPTS.bind(["a", "b"], *PLACE), 5, *PLACE)


def test_unconditional_is_the_empty_prompt_or_what_is_recorded() -> None:
    assert PROMPTS.batch(None, 2, *PLACE)["pooled"].tolist() == [[0.0, 0.0]] * 2
    null = {"tokens": torch.full((1, 1, 3), 9.0), "pooled": torch.full((1, 2), 9.0)}
    assert Prompts(SHAPES, encode, null).bind(None, *PLACE)["pooled"].tolist() == [[9.0, 9.0]]


def test_what_does_not_fit_is_refused() -> None:
    silent = Prompts(SHAPES)
    with pytest.raises(
        ValueError, match=r"'cat' is text, and the model has no text encoder; give the embeddings tokens"
    ):
        silent.bind("cat", *PLACE)
    with pytest.raises(ValueError, match="no text encoder to make the empty prompt"):
        silent.bind(None, *PLACE)
    with pytest.raises(ValueError, match=r"takes exactly tokens \(batch, any, 3\); pooled \(batch, 2\)"):
        silent.bind({"tokens": torch.ones(1, 4, 3)}, *PLACE)
    with pytest.raises(ValueError, match=r"tokens has shape \(1, 4, 5\)"):
        silent.bind({"tokens": torch.ones(1, 4, 5), "pooled": torch.ones(1, 2)}, *PLACE)
    with pytest.raises(TypeError, match="a condition of type int"):
        PROMPTS.bind(3, *PLACE)
    with pytest.raises(TypeError, match="a condition of type list"):
        PROMPTS.bind([], *PLACE)
