"""Stage 1: from video files to a feature store. Data sets, clip plans, decoding, backbones, the Dask job."""
