"""The settings of a transformers configuration that features depend on and that no tensor of the weights tells."""

import hashlib
from typing import Any, Final

from scale_video.store.canonical_json import canonical_json

FORWARD_SETTINGS: Final = (
    "apply_l2norm",
    "attention_type",
    "attn_logit_softcapping",
    "batch_norm_eps",
    "conv_kernel_size",
    "crop_size",
    "depthwise_padding",
    "downsample_in_bottleneck",
    "downsample_in_first_stage",
    "embedding_dynamic_padding",
    "first_layer_is_expansion",
    "focal_windows",
    "global_padding",
    "groups_width",
    "hidden_act",
    "image_size",
    "is_native",
    "kernel_size",
    "key_dim",
    "layer_norm_eps",
    "layer_norm_epsilon",
    "layer_type",
    "linear_attention",
    "masked_unit_attention",
    "masked_unit_size",
    "model_args",
    "norm_type",
    "normalize_modulator",
    "num_attention_heads",
    "num_frames",
    "num_groups",
    "num_heads",
    "num_query_pool",
    "output_stride",
    "padding",
    "padding_kv",
    "padding_q",
    "patch_padding",
    "patch_size",
    "patch_sizes",
    "patch_stride",
    "pool_size",
    "pooler_act",
    "pooling_type",
    "pretrained_window_sizes",
    "qkv_projection_method",
    "query_stride",
    "rms_norm_eps",
    "rope_parameters",
    "rope_theta",
    "sr_ratios",
    "stride",
    "stride_kv",
    "stride_q",
    "strides",
    "tf_padding",
    "tubelet_size",
    "use_gated_mlp",
    "use_mean_pooling",
    "use_post_layernorm",
    "use_post_layernorm_in_modulation",
    "use_qk_norm",
    "use_swiglu_ffn",
    "window_size",
)
"""Of the library's encoders of images and of video, as of its release 5.23.

Named one by one, since releases add others with their defaults: an old store and a new worker are to agree. Widths,
depths and biases show in the tensors; dropout and what is drawn at random do nothing in evaluation mode.
"""

_UNLESS: Final = {"pooler_act": "tanh"}
"""What the absence of a setting means: older releases lack it in some configurations."""


def settings_digest(config: Any, **others: Any) -> str:
    """Hash the settings of a network, those which a file leaves at the library's defaults among them.

    Args:
        config: the library's configuration object of the network that gives the features.
        others: numbers that belong to the forward pass, and are in no configuration.

    Returns:
        sha256 in hexadecimal, over the canonical JSON of the model's type and its settings.
    """
    written = config.to_dict()
    settings = {key: written[key] for key in FORWARD_SETTINGS if written.get(key) not in (None, _UNLESS.get(key))}
    settings |= {"model_type": config.model_type, **others}
    return hashlib.sha256(canonical_json(settings, what="the settings of a model").encode()).hexdigest()
