"""One self-contained page about an experiment: what was run, what it is worth, what was learned, how it went."""
