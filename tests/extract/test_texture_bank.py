import numpy as np
import pytest

from scale_video.extract.datasets.texture_bank import TEXTURE_SIZE, TEXTURES_PER_BANK, texture_bank


def test_textures_are_standardised_and_periodic() -> None:
    bank = texture_bank("test", 0)
    assert bank.shape == (TEXTURES_PER_BANK, TEXTURE_SIZE, TEXTURE_SIZE)
    np.testing.assert_allclose(bank.mean(axis=(1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(bank.std(axis=(1, 2)), 1, atol=1e-3)
    seam = abs(bank[:, :, 0] - bank[:, :, -1]).mean()
    inside = abs(np.diff(bank, axis=2)).mean()
    assert seam < 1.5 * inside


@pytest.mark.parametrize(("name", "seed"), [("train", 0), ("test", 1)])
def test_banks_share_no_texture(name: str, seed: int) -> None:
    ours, other = (bank.reshape(TEXTURES_PER_BANK, -1) for bank in (texture_bank("test", 0), texture_bank(name, seed)))
    correlation = ours @ other.T / TEXTURE_SIZE**2
    assert abs(correlation).max() < 0.9
    assert (ours @ ours.T / TEXTURE_SIZE**2).diagonal().min() > 0.99
