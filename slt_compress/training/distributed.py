"""Several processes that make one search together, on one machine or on many, started by torchrun.

Every process holds the whole network and the method's whole state, and draws the same gates: the noise comes from the
common seed. Of each batch it sees its share of the images. The gradients of all shares, one flat tensor, are added up
once a step, and since every process gets the same sum, all of them take the same step and need no other exchange.
BatchNorm sees a process's own images while the search lasts; its statistics are measured at the end, in each process
on the same images. Evaluations are shared out again. The main process alone writes files and prints.
"""

import contextlib
import hashlib
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
import torch.distributed.nn  # its default arguments would keep a group, and its threads, beyond the group's end
from torch.distributed import PrefixStore, Store  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous
from torch.utils._pytree import tree_map

from slt_compress.data.batches import Tensors
from slt_compress.data.sampler import Shard
from slt_compress.data.splits import IndexedSplit, Split
from slt_compress.errors import LostProcessError, UsageError, VerificationError, first_line

_MEETING = timedelta(minutes=10)
"""How long processes wait for each other at the start; each has only to import torch."""


@dataclass(frozen=True)
class DistributedContext:
    """The processes of a search, `size` of them, and which one this is; a single one unless torchrun started more.

    `local_rank` counts the processes of this machine. A method that exchanges anything is to be called by all.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def is_main_process(self) -> bool:
        return self.rank == 0

    @property
    def shard(self) -> Shard:
        """Which images of a batch are this process's."""
        return self.rank, self.size

    def local_device(self, device: torch.device) -> torch.device:
        """Return this process's device: of several GPUs, each process of a machine has its own.

        Raises UsageError if there are more processes than GPUs, or if gloo cannot send what is on the device.
        """
        if device.type == "mps" and self.size > 1:
            raise UsageError("several processes cannot share a search on Apple's GPUs; use `device=cpu`")
        if device.type != "cuda" or self.size == 1:
            return device
        if self.local_rank >= torch.cuda.device_count():
            raise UsageError(
                f"process {self.local_rank} of this machine has no GPU of its own, torch finds "
                f"{torch.cuda.device_count()}; start fewer processes on it"
            )
        return torch.device("cuda", self.local_rank)

    def shard_of(self, split: Split) -> Split:
        """Return this process's examples of a split: every `size`-th.

        Raises UsageError if several processes would share a split that can only be read from end to end.
        """
        if self.size == 1:
            return split
        if not isinstance(split, IndexedSplit):
            raise UsageError("several processes can share only data that can be read in any order")
        return split.take(torch.arange(self.rank, len(split), self.size))

    def interleave(self, tensors: Tensors, count: int) -> Tensors:
        """Return what belongs to all `count` examples of a split, given what belongs to this process's, on the CPU."""
        if self.size == 1:
            return tensors

        def whole(part: torch.Tensor) -> torch.Tensor:
            dtype = torch.uint8 if part.dtype == torch.bool else part.dtype
            found = torch.zeros((count, *part.shape[1:]), dtype=dtype)
            found[self.rank :: self.size] = part.to(dtype)
            return self.all_reduce_sum(found).to(part.dtype)

        return tree_map(whole, tensors)

    def all_reduce_sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """Replace a tensor by the sum over all processes, the same bits in each; return it.

        Raises LostProcessError if one has ended.
        """
        if self.size > 1:
            with _losses():
                dist.all_reduce(tensor)
        return tensor

    def broadcast(self, value: int) -> int:
        """Return the main process's value in all processes."""
        return int(self.all_reduce_sum(torch.tensor(value if self.is_main_process else 0)))

    def check_equal(self, values: torch.Tensor, what: str) -> None:
        """Raise VerificationError in all processes unless all have the same bits in a tensor."""
        if self.size == 1:
            return
        content = values.detach().cpu().reshape(-1).view(torch.uint8).numpy().data
        digest = int.from_bytes(hashlib.sha256(content).digest()[:7])
        differs = torch.tensor(int(self.broadcast(digest) != digest))
        if self.all_reduce_sum(differs):
            raise VerificationError(f"the {self.size} processes of this search do not agree about {what}")

    @contextlib.contextmanager
    def one_of_each_machine_first(self) -> Iterator[None]:
        """Let one process of each machine go through this block before the others, as what it downloads is theirs."""
        if self.local_rank:
            self.all_reduce_sum(torch.zeros(()))
        yield
        if not self.local_rank:
            self.all_reduce_sum(torch.zeros(()))


SINGLE_PROCESS = DistributedContext()


def started_by_torchrun() -> bool:
    """Return whether torchrun has started this process beside others; schedulers set WORLD_SIZE too."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ["WORLD_SIZE"]) > 1


@contextlib.contextmanager
def join() -> Iterator[DistributedContext]:
    """Meet the other processes that torchrun's environment speaks of, by gloo between CPUs and nccl between GPUs."""
    if not started_by_torchrun():
        yield SINGLE_PROCESS
        return
    with _losses():
        store, rank, size = next(rendezvous("env://", timeout=_MEETING))
        backends = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backends, store=meet(store, rank, size), rank=rank, world_size=size)
    yield DistributedContext(dist.get_rank(), dist.get_world_size(), int(os.environ.get("LOCAL_RANK", "0")))
    dist.destroy_process_group()  # not after an error: it would wait for a process that is gone


def meet(store: Store, rank: int, size: int, patience: timedelta = _MEETING) -> Store:
    """Return a part of the store that only the processes that meet now have written to.

    torchrun keeps its store when it replaces the processes, and with it the addresses of those that have ended, for
    which new ones would wait forever. Its count of restarts is no help, as each machine counts its own. So the main
    process writes a name that was never used; every other process signs under it, and trusts it once the main process
    has confirmed that very signature. Raises RuntimeError if one of them does not come.
    """
    store.set_timeout(patience)
    own = uuid.uuid4().hex
    if rank == 0:
        store.set("main", own)
        signatures = [store.get(f"{own}/{other}").decode() for other in range(1, size)]
        store.set(f"{own}/confirmed", " ".join(signatures))
        return PrefixStore(own, store)
    end = time.monotonic() + patience.total_seconds()
    while time.monotonic() < end:
        main = store.get("main").decode()
        store.set(f"{main}/{rank}", own)
        if store.check([f"{main}/confirmed"]) and own in store.get(f"{main}/confirmed").decode():
            return PrefixStore(main, store)
        time.sleep(0.05)
    raise RuntimeError(f"process {rank} waited {patience} for the main process")


@contextlib.contextmanager
def _losses() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        first = first_line(error)
        raise LostProcessError(f"the processes of this search have lost touch, one may have ended: {first}") from error
