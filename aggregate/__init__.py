"""Stage 2: a set transformer trained without labels on sets of clip features (SCALE, ICCV 2023)."""
