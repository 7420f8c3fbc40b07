"""``scale-video`` in a process of its own, whose steps of training are counted in a file and take their time.

Run by ``runpy`` in a process that a test has forked off a server, with ``given`` among its globals.
"""

import os
import time
from pathlib import Path
from typing import Any

import torch

from scale_video.aggregate.lightning_module import SetPretraining
from scale_video.pipelines.cli import main

given: dict[str, Any] = globals()["given"]
training_step = SetPretraining.training_step


def slow_step(module: SetPretraining, *arguments: Any) -> torch.Tensor:
    with Path(given["steps"]).open("a") as file:
        file.write(f"{module.global_step}\n")
    time.sleep(given["seconds"])
    return training_step(module, *arguments)


SetPretraining.training_step = slow_step  # type: ignore[method-assign]
torch.set_num_threads(1)
said = os.open(given["said"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
os.dup2(said, 1)
os.dup2(said, 2)
main(given["arguments"])
