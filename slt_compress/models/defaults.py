"""torch's global state, set aside: the same network and the same numbers, whatever else the process does with torch."""

import contextlib
import warnings
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def torch_defaults() -> Iterator[None]:
    """Within it, new tensors are float32 on the CPU, gradients are recorded and nothing is cast, as in a new process.

    Afterwards all of that is as before, and so is the global random generator. Left as they are: the number of threads,
    and whether operations have to be deterministic.
    """
    with _no_warnings():
        dtype, precision = torch.get_default_dtype(), torch.get_float32_matmul_precision()
        convolutions = torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic
    kinds = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=()))
        if torch.get_default_device().type != "cpu":  # such a context slows every call of torch down
            stack.enter_context(torch.device("cpu"))
        stack.enter_context(torch.inference_mode(mode=False))
        stack.enter_context(torch.enable_grad())
        for kind in kinds:
            # Without its cache: that is emptied when the outermost autocast ends, which here is this one, after the
            # last step. Till then, an autocast inside would compute with the weights of the first.
            stack.enter_context(torch.autocast(kind, enabled=False, cache_enabled=False))
        try:
            torch.set_default_dtype(torch.float32)
            with _no_warnings():
                torch.set_float32_matmul_precision("highest")
            yield
        finally:
            torch.set_default_dtype(dtype)
            with _no_warnings():
                torch.set_float32_matmul_precision(precision)
                torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic = convolutions


@contextlib.contextmanager
def _no_warnings() -> Iterator[None]:
    """Keep to itself what torch 2.9 says about settings that it means to rename."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
