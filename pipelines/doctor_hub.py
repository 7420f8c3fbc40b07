"""The Hugging Face hub: where its files lie on this machine, and, only if asked, whether it can be reached."""

import os
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Final

from scale_video.pipelines.finding import Finding

_SECONDS: Final = 5.0
_OFFLINE: Final = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
_TRUE: Final = ("1", "on", "yes", "true")


def look_at_hub(*, network: bool) -> list[Finding]:
    """Caches of weights, then the hub itself."""
    return [_cache(), _weights_folder(), _reach(network=network)]


def _cache() -> Finding:
    try:
        from huggingface_hub.constants import HF_HUB_CACHE
    except ImportError:
        return Finding("hub", "cache", "missing", "no huggingface_hub", "pip install 'scale-video[transformers]'")
    folder = Path(HF_HUB_CACHE)
    models = len(list(folder.glob("models--*")))
    return Finding("hub", "cache", "ok", f"{models} model{'s' * (models != 1)} in {folder}")


def _weights_folder() -> Finding:
    from scale_video.extract.backbones.checkpoint_file import weights_folder

    folder = weights_folder()
    files = len([path for path in folder.iterdir() if path.is_file()]) if folder.is_dir() else 0
    return Finding("hub", "other weights", "ok", f"{files} file{'s' * (files != 1)} in {folder}")


def _reach(*, network: bool) -> Finding:
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    offline = next((name for name in _OFFLINE if os.environ.get(name, "").lower() in _TRUE), None)
    if offline is not None:
        return Finding("hub", "network", "ok", f"not used: {offline} is set")
    if not network:
        return Finding("hub", "network", "ok", f"not tried; --network asks {endpoint}")
    advice = "weights that are not in the cache must be brought here: `scale-video backbones` tells which are"
    try:
        with urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=_SECONDS) as answer:
            return Finding("hub", "network", "ok", f"{endpoint} answers ({answer.status})")
    except urllib.error.HTTPError as error:
        return Finding("hub", "network", "warning", f"{endpoint} answers {error.code}", advice)
    except (OSError, ValueError, HTTPException) as error:  # URLError is an OSError
        return Finding("hub", "network", "warning", f"{endpoint} is not reached: {error}", advice)
