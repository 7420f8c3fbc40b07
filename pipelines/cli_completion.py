"""``scale-video completion``: the script by which a shell completes commands, options and their values."""

import click
from click.shell_completion import get_completion_class

PROGRAM = "scale-video"
VARIABLE = "_SCALE_VIDEO_COMPLETE"
"""By which the script asks the program; click's name for it."""


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a shell's script for completion.

    Once, and then in each new shell, Tab completes commands, options, presets, backbones, protocols and more:

    \b
    bash  mkdir -p ~/.local/share/bash-completion/completions
          scale-video completion bash \\
            > ~/.local/share/bash-completion/completions/scale-video
    zsh   echo 'source <(scale-video completion zsh)' >> ~/.zshrc
    fish  scale-video completion fish \\
            > ~/.config/fish/completions/scale-video.fish

    bash needs 4.4 or newer, and its package bash-completion; without that, add `source <(scale-video completion bash)`
    to ~/.bashrc.
    """  # noqa: D301 - click's own mark against re-wrapping
    script = get_completion_class(shell)
    assert script is not None  # of the three that are allowed
    click.echo(script(ctx.find_root().command, {}, PROGRAM, VARIABLE).source())
