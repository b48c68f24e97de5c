"""Changed images against a slow reference, and what a step draws: the same again, for a shard of a batch too."""

import pytest
import torch

from slt_compress.config import CHOICES
from slt_compress.data.augment import Augmentation

SIZE = 16


def distinct_images(count: int = 300) -> torch.Tensor:
    """Images in which no two pixels are alike, and none is black."""
    return torch.arange(1, SIZE * SIZE + 1).view(1, 1, SIZE, SIZE).repeat(count, 2, 1, 1)


def variants(image: torch.Tensor, border: int, *, flip: bool) -> list[torch.Tensor]:
    """Return all that may become of an image: every move by so many pixels, and its mirror image."""
    found = []
    for mirrored in (image, image.flip(2))[: 2 if flip else 1]:
        canvas = torch.zeros(2, SIZE + 2 * border, SIZE + 2 * border, dtype=image.dtype)
        canvas[:, border : border + SIZE, border : border + SIZE] = mirrored
        found += [
            canvas[:, top : top + SIZE, left : left + SIZE]
            for top in range(2 * border + 1)
            for left in range(2 * border + 1)
        ]
    return found


@pytest.mark.parametrize(("name", "border"), [("flip", 0), ("crop", 2), ("crop-flip", 2), ("shift-flip", 1)])
def test_every_move_comes_up_and_nothing_else(name: str, border: int) -> None:
    images = distinct_images()
    possible = variants(images[0], border, flip=name != "crop")
    changed = Augmentation(name, 3)(images, 7, len(images))
    assert (changed.dtype, changed.shape) == (images.dtype, images.shape)
    seen = {index for image in changed for index, variant in enumerate(possible) if torch.equal(image, variant)}
    assert all(any(torch.equal(image, variant) for variant in possible) for image in changed)
    assert len(seen) >= 0.95 * len(possible)


def test_none_changes_nothing() -> None:
    images = distinct_images(3)
    assert Augmentation()(images, 0, 3) is images


@pytest.mark.parametrize("name", CHOICES["augment"])
def test_a_shard_of_a_batch_is_changed_as_in_the_whole(name: str) -> None:
    images, augment = distinct_images(101), Augmentation(name, 2**64 - 1)
    whole = augment(images, 5, 101)
    for rank in range(3):
        assert torch.equal(augment(images[rank::3], 5, 101, (rank, 3)), whole[rank::3])


def test_seed_and_step_tell_what_is_drawn() -> None:
    images = distinct_images(64)
    first = Augmentation("crop", 1)(images, 0, 64)
    assert torch.equal(first, Augmentation("crop", 1)(images, 0, 64))
    assert not torch.equal(first, Augmentation("crop", 1)(images, 1, 64))
    assert not torch.equal(first, Augmentation("crop", 2)(images, 0, 64))


def test_images_too_small_to_move_are_mirrored() -> None:
    images = torch.arange(32, dtype=torch.uint8).view(8, 1, 2, 2)
    changed = Augmentation("crop-flip")(images, 0, 8)
    assert not torch.equal(changed, images)
    for image, was in zip(changed, images, strict=True):
        assert torch.equal(image, was) or torch.equal(image, was.flip(2))
