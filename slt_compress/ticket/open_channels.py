"""Statistics of which a file has those of open channels alone.

Where neurons have gates, whatever a normalisation reads of a closed one is 0, and so are the mean and the variance that
training has observed of it. Nothing but the mask is needed to know where: the values come back as they were, bit for
bit, whatever the network does with them.

Left out: a normalisation over the channels of several masks, as behind a concatenation. All of its values are stored.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from slt_compress.ticket.masks import open_gates
from slt_compress.ticket.schema import CodedMask, Layer, unique
from slt_compress.ticket.stored import FP16, FP32, Floats, StoredTensor

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class OpenStatistic(StoredTensor):
    """A value for each channel, of which `data` has those of open ones. Those of the others are 0.

    Attributes:
        mask: a gate for each channel, or for so many neighbouring ones that it has one for all.
    """

    mask: CodedMask

    @property
    def stored(self) -> StoredTensor:
        """What the file has."""
        return StoredTensor(self.type, (self.mask.open * (self.shape[0] // self.mask.gates),), self.data)

    def values(self) -> Floats:
        """Return float32 (channels,). Raises TicketError as `StoredTensor.values`, and if the mask does not decode."""
        found = np.zeros(self.shape, np.float32)
        found[_open(self.mask, self.shape[0])] = self.stored.values()
        return found


def without_closed(statistics: Mapping[str, StoredTensor], layers: Iterable[Layer]) -> dict[str, StoredTensor]:
    """Return fp32 and fp16 vectors without the zeros of channels that a mask closes, and the others as they are.

    Of the masks along axes of the layers, each gets the one that closes most.
    """
    masks = unique(use for layer in layers for use in layer.uses if use.axis is not None and not use.fixed)
    return {name: _shortest(stored, masks) for name, stored in statistics.items()}


def _shortest(stored: StoredTensor, masks: list[CodedMask]) -> StoredTensor:
    if len(stored.shape) != 1 or stored.type not in (FP32, FP16):
        return stored
    values = stored.values()
    closed = (values == 0) & ~np.signbit(values)
    found, most = None, 0
    for mask in masks:
        if 0 < mask.gates <= values.size and values.size % mask.gates == 0:
            gone = values.size - mask.open * (values.size // mask.gates)
            if gone > most and closed[~_open(mask, values.size)].all():
                found, most = mask, gone
    if found is None:
        return StoredTensor.of(values, stored.type)
    data = StoredTensor.of(values[_open(found, values.size)], stored.type).data
    return OpenStatistic(stored.type, stored.shape, data, found)


def _open(mask: CodedMask, channels: int) -> Mask:
    """Return which of the channels a mask leaves open."""
    return np.repeat(open_gates(mask, mask.gates), channels // mask.gates)
