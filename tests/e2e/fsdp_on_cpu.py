"""`train` under FSDP2 on two CPU ranks. accelerate switches FSDP on for GPUs alone; here that one switch is put by hand.

What follows it is what runs on GPUs: accelerate's own preparation, torch's `fully_shard`, our steps, checkpoints and products.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from accelerate import Accelerator, DistributedType
from accelerate.state import PartialState
from accelerate.utils import FullyShardedDataParallelPlugin
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from self_instruct import commandline
from self_instruct.train import cli, modeling

usual = modeling.accelerator


class Sharding(Accelerator):
    """Checks that what it prepared is spread over the ranks: the layers one by one, and every parameter."""

    def prepare(self, *objects: Any, **options: Any) -> Any:
        model, optimizer = super().prepare(*objects, **options)
        assert sum(isinstance(part, FSDPModule) for part in model.modules()) > 2
        assert all(isinstance(parameter, DTensor) for parameter in model.parameters())
        return model, optimizer


def sharding(mixed_precision: str = "no") -> Any:
    del os.environ["ACCELERATE_USE_FSDP"]  # with it the usual one would refuse
    made: Any = usual(mixed_precision)
    os.environ["ACCELERATE_USE_FSDP"] = "true"
    plugin = FullyShardedDataParallelPlugin()  # reads what the launcher made of its config file
    assert plugin.fsdp_version == 2 and made.num_processes == 2
    made.__class__ = Sharding
    made.state.fsdp_plugin = plugin
    made.state.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP
    return made


if __name__ == "__main__":
    modeling.accelerator = sharding
    sys.exit(commandline.run(cli.main))
