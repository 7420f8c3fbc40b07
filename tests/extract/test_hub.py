"""What the hub's cache holds in part is completed, and serves where the hub cannot be reached."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import transformers

from scale_video.extract.backbones.hub import weight_files
from scale_video.extract.backbones.protocol import BackboneSpec
from scale_video.extract.backbones.registry import load_backbone
from scale_video.extract.backbones.request import BackboneRequest

NAME, COMMIT = "owner/tiny", "0" * 40
SIZES = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
COLOURS = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.6, 0.7]}


def vit() -> Any:
    return transformers.ViTModel(transformers.ViTConfig(**SIZES, image_size=64, patch_size=32))


def dinov3() -> Any:
    return transformers.DINOv3ViTModel(transformers.DINOv3ViTConfig(**SIZES, image_size=224, patch_size=32))


def vivit() -> Any:
    sizes = {"image_size": 32, "num_frames": 4, "tubelet_size": [2, 16, 16]}
    return transformers.VivitModel(transformers.VivitConfig(**SIZES, **sizes))


class Hub:
    """A hub with one model, the cache beside it, and the client's calls that went over the network."""

    def __init__(self, remote: Path, cache: Path) -> None:
        self.remote = remote
        repository = cache / "models--owner--tiny"
        self.cached = repository / "snapshots" / COMMIT
        self.cached.mkdir(parents=True)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(COMMIT)
        self.online = True
        self.calls: list[str | None] = []
        self._client = huggingface_hub.snapshot_download

    def publish(self, model: Any, **settings: Any) -> None:
        model.save_pretrained(self.remote, **settings)
        (self.remote / "preprocessor_config.json").write_text(json.dumps(COLOURS))

    def cache_all_but(self, *names: str) -> None:
        shutil.copytree(self.remote, self.cached, ignore=shutil.ignore_patterns(*names), dirs_exist_ok=True)

    def download(
        self, name: str, *, allow_patterns: list[str], local_files_only: bool = False, revision: str | None = None
    ) -> str:
        if local_files_only:
            return self._client(name, allow_patterns=allow_patterns, local_files_only=True)
        self.calls.append(revision)
        if not self.online:
            raise ConnectionError("no network")
        for pattern in allow_patterns:
            for file in self.remote.glob(pattern):
                shutil.copy(file, self.cached)
        return str(self.cached)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    hub = Hub(tmp_path / "remote", tmp_path / "cache")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub.download)
    return hub


def spec_of(family: str = "image") -> BackboneSpec:
    return load_backbone(BackboneRequest(family=family, source=NAME, name="tiny")).spec


@pytest.mark.parametrize("build", [vit, dinov3])
def test_the_description_of_colours_is_fetched_for_what_is_cached(hub: Hub, build: Callable[[], Any]) -> None:
    hub.publish(build())
    hub.cache_all_but("preprocessor_config.json")
    assert spec_of().preprocessing["mean"] == COLOURS["image_mean"]
    assert hub.calls == [COMMIT]  # not a newer revision, with other weights
    assert spec_of().preprocessing["mean"] == COLOURS["image_mean"]
    assert hub.calls == [COMMIT]


def test_what_is_cached_serves_where_the_hub_cannot_be_reached(hub: Hub) -> None:
    hub.online = False
    hub.publish(dinov3())
    hub.cache_all_but("preprocessor_config.json")
    assert spec_of().preprocessing["mean"] == [0.485, 0.456, 0.406]


def test_colours_that_are_not_known_are_refused_where_the_hub_cannot_be_reached(hub: Hub) -> None:
    hub.online = False
    hub.publish(vit())
    hub.cache_all_but("preprocessor_config.json")
    with pytest.raises(ValueError, match=r"^'owner/tiny' holds no preprocessor_config.json, and .*; get that file"):
        spec_of()


def test_the_hub_is_not_asked_for_what_a_family_knows(hub: Hub) -> None:
    hub.publish(vivit())
    hub.cache_all_but("preprocessor_config.json")
    assert spec_of("vivit").preprocessing["mean"] == [0.5] * 3
    assert hub.calls == []


def test_the_way_out_names_all_files_that_count(hub: Hub) -> None:
    hub.online = False
    files = "config.json, preprocessor_config.json, model.safetensors and README.md"
    with pytest.raises(ValueError, match=f"^'owner/tiny' is no folder here, .*; get {files} of it on a machine"):
        spec_of()


@pytest.mark.parametrize("absent", ["model-00001-of-*.safetensors", "model-00003-of-*.safetensors", "*.index.json"])
def test_a_model_of_which_a_shard_is_cached_is_completed(hub: Hub, absent: str) -> None:
    hub.publish(vit(), max_shard_size="15KB")
    shards = sorted(hub.remote.glob("model-*.safetensors"))
    assert len(shards) >= 3
    hub.cache_all_but(absent)
    assert weight_files(hub.cached) == []
    digest = spec_of().weights_digest
    assert hub.calls == [None]
    assert [file.name for file in weight_files(hub.cached)] == [shard.name for shard in shards]
    assert spec_of().weights_digest == digest
    assert hub.calls == [None]


def test_a_folder_that_lacks_a_shard(hub: Hub) -> None:
    hub.publish(vit(), max_shard_size="15KB")
    next(hub.remote.glob("model-00002-of-*.safetensors")).unlink()
    with pytest.raises(ValueError, match=r"holds neither model.*, with all shards that their index names; get the"):
        load_backbone(BackboneRequest(family="image", source=str(hub.remote), name="tiny"))


@pytest.mark.parametrize("written", ["{", "[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": 1}}'])
def test_a_damaged_index_is_none(tmp_path: Path, written: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(written)
    (tmp_path / "model-00001-of-00001.safetensors").touch()
    assert weight_files(tmp_path) == []
