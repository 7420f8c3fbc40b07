"""``scale-video explore``: a store's videos, clips and neighbours, as pages on this machine."""
