import pytest
import torch
from torch import Tensor

from scale_video.extract.backbones.motion_views import NUM_SYMMETRIES, change_look, draw_views, transform

IDENTITY, TRANSPOSED, MIRRORED, UPSIDE_DOWN, BACKWARDS = 0, 1, 2, 4, 8


def clips_of(count: int, *, seed: int = 0) -> Tensor:
    return torch.randn(count, 8, 6, 6, generator=torch.Generator().manual_seed(seed))


def test_symmetries_do_what_they_say() -> None:
    (clip,) = clips_of(1)
    expected = {
        IDENTITY: clip,
        TRANSPOSED: torch.stack([frame.T for frame in clip]),
        MIRRORED: torch.stack([frame.fliplr() for frame in clip]),
        UPSIDE_DOWN: torch.stack([frame.flipud() for frame in clip]),
        BACKWARDS: torch.stack([clip[7 - time] for time in range(8)]),
        MIRRORED + UPSIDE_DOWN: torch.stack([torch.rot90(frame, 2) for frame in clip]),
        TRANSPOSED + UPSIDE_DOWN: torch.stack([torch.rot90(frame, 1) for frame in clip]),
    }
    changed = transform(clip.expand(len(expected), -1, -1, -1), torch.tensor(list(expected)))
    torch.testing.assert_close(changed, torch.stack(list(expected.values())), rtol=0, atol=0)


def test_symmetries_are_sixteen_different_ones() -> None:
    (clip,) = clips_of(1)
    copies = transform(clip.expand(NUM_SYMMETRIES, -1, -1, -1), torch.arange(NUM_SYMMETRIES))
    assert len({copy.numpy().tobytes() for copy in copies}) == NUM_SYMMETRIES
    # The same textures in each frame, up to the square's symmetries: sorted, no pixel is new.
    assert torch.equal(copies.flatten(1).sort(dim=1).values, clip.flatten().sort().values.expand(NUM_SYMMETRIES, -1))


def test_looks_change_and_motion_stays() -> None:
    """Differences of frames keep their shape: only their sign, their scale and the noise are new."""
    still, moving = clips_of(64)[:, :1] * 3, clips_of(64, seed=1)
    looks = change_look(still + moving, torch.Generator().manual_seed(0))
    old, new = (clips.diff(dim=1).flatten(1) for clips in (still + moving, looks))
    alike = torch.cosine_similarity(old, new)
    assert alike.abs().min() > 0.5
    assert alike.abs().median() > 0.9
    assert 16 < (alike < 0).sum() < 48  # negatives
    pictures = torch.cosine_similarity((still + moving).mean(dim=1).flatten(1), looks.mean(dim=1).flatten(1))
    assert (pictures.abs() < 0.5).sum() > 16  # what was still is gone, or hidden under another picture


def test_what_is_put_on_top_is_still_and_of_another_clip() -> None:
    flat = torch.zeros(2, 8, 6, 6)
    flat[0] = clips_of(1)[0, :1]
    seen = 0
    for seed in range(12):
        looks = change_look(flat, torch.Generator().manual_seed(seed))
        noise = looks[1].diff(dim=0).std() / 2**0.5
        seen += bool(looks[1].mean(dim=0).std() > 3 * noise)
        assert noise < 0.35
    assert seen > 0  # the second clip is flat: what it shows is the first one's


@pytest.mark.parametrize("copies", [1, 4, NUM_SYMMETRIES])
def test_copies_of_a_shot_are_under_different_symmetries(copies: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scale_video.extract.backbones.motion_views.change_look", lambda clips, generator: clips)
    clips = torch.randint(256, (5, 3, 8, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    views = draw_views(clips, num_shots=4, copies_per_shot=copies, generator=torch.Generator().manual_seed(1))
    origin = {
        copy.numpy().tobytes(): (shot, clip, symmetry)
        for shot in range(5)
        for clip in range(3)
        for symmetry, copy in enumerate(
            transform(clips[shot, clip].float().expand(NUM_SYMMETRIES, -1, -1, -1), torch.arange(NUM_SYMMETRIES))
        )
    }
    origins = [origin[view.numpy().tobytes()] for view in views]
    assert len(origins) == 2 * 4 * copies
    for place in range(4):
        first, second = (origins[half + place * copies :][:copies] for half in (0, 4 * copies))
        assert len({symmetry for _, _, symmetry in first}) == copies
        assert [symmetry for _, _, symmetry in first] == [symmetry for _, _, symmetry in second]
        ((shot, clip),) = {(shot, clip) for shot, clip, _ in first}
        ((partners_shot, partner),) = {(shot, clip) for shot, clip, _ in second}
        assert (shot, clip) != (partners_shot, partner)
        assert shot == partners_shot


def test_views_repeat_by_their_generator() -> None:
    clips = torch.randint(256, (5, 2, 8, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    views = [
        draw_views(clips, num_shots=3, copies_per_shot=2, generator=torch.Generator().manual_seed(seed))
        for seed in (3, 3, 4)
    ]
    assert torch.equal(views[0], views[1])
    assert not torch.equal(views[0], views[2])
