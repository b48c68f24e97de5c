"""Tickets without a search: real in size, format and speed, but not in accuracy. They need no images."""

from collections.abc import Container, Mapping

import numpy as np
import torch
from torch import nn

from slt_compress.data.preprocessing import Preprocessing
from slt_compress.masking.flat_network import FlatNetwork
from slt_compress.masking.parameters import statistic_names
from slt_compress.masking.topk import random_mask
from slt_compress.models.registry import architecture_digest, build_model, library_version, resolve_model
from slt_compress.prng import SeedRecipe
from slt_compress.ticket.assembly import CoatParts, LayerParts
from slt_compress.ticket.schema import Layer, Provenance, SearchRecord
from slt_compress.ticket.stored import FP16, StoredTensor
from slt_compress.ticket.ticket import Ticket

_IMAGES = 16


def sample_ticket(
    model: str,
    density: float,
    *,
    input_size: int = 32,
    channels: int = 3,
    classes: int = 10,
    origin: SeedRecipe = SeedRecipe(),
    codec: str = "auto",
    arguments: Mapping[str, int] | None = None,
) -> Ticket:
    """Return a ticket of a model by name, with a random mask that keeps `density` of each gated tensor.

    Its BatchNorm statistics are those of noise. `arguments` as in `ModelSpec`. Raises UsageError for an unknown model.
    """
    spec = resolve_model(model, classes=classes, channels=channels, input_size=input_size, arguments=arguments)
    network = FlatNetwork(
        build_model(spec), origin.seed, density, torch.device("cpu"), origin.initialiser, origin.freeze
    )
    mask = random_mask(network, density, origin.seed)
    network.set_gate(mask)
    masks = zip(network.slots, network.split(mask), strict=True)
    module = network.module
    measure_statistics(module, channels, spec.input_size)
    return Ticket.pack(
        {slot.name: part.view(slot.shape).numpy() for slot, part in masks},
        network.scales(),
        {name: module.get_buffer(name).numpy() for name in statistic_names(module)},
        Provenance(
            model=spec,
            library=library_version(spec),
            architecture=architecture_digest(module),
            dataset="imagefolder",
            classes=[f"class {index}" for index in range(classes)],
            preprocessing=Preprocessing(spec.input_size, channels, (0.5,) * channels, (0.25,) * channels),
            method=SearchRecord("random", 0, 256, {}),
            metrics={"accuracy": 0.1, "loss": 2.3026, "validation_accuracy": 0.1},
        ),
        origin=origin,
        codec=codec,
    )


def with_values(ticket: Ticket, kind: str, generated: Container[str] = ()) -> Ticket:
    """Return a sample with the same masks, and with stored numbers as if it had been trained.

    Kept weights are normal, with the scale of the layer as their standard deviation, and stored as `kind`, but for
    layers whose names are in `generated`. Biases, and the scales and shifts of normalisations, are stored as fp16.
    """
    draw = np.random.default_rng(ticket.seed)

    def parts(layer: Layer) -> LayerParts:
        mask = ticket.mask(layer.name)
        if layer.name in generated:
            return LayerParts(layer.name, layer.shape, [CoatParts(mask, scale=layer.scale)])
        values = draw.standard_normal(layer.shape, np.float32) * np.float32(layer.scale)
        return LayerParts(layer.name, layer.shape, [CoatParts(mask)], values, kind)

    layers = [parts(layer) for layer in ticket.layers]
    module = ticket.restore()
    parameters = {
        name: StoredTensor.of(
            parameter.detach().numpy() + np.float32(0.1) * draw.standard_normal(parameter.shape, np.float32), FP16
        )
        for name, parameter in module.named_parameters()
        if parameter.ndim == 1
    }
    made = Ticket.assemble(
        layers, ticket.provenance, origin=ticket.origin, statistics=ticket.statistics, parameters=parameters
    )
    preprocessing = ticket.provenance.preprocessing
    assert preprocessing  # samples are of networks for images
    module = made.restore()
    measure_statistics(module, preprocessing.channels, preprocessing.size)
    return made.with_statistics({name: module.get_buffer(name).numpy() for name in statistic_names(module)})


@torch.no_grad()
def measure_statistics(module: nn.Module, channels: int, size: int) -> None:
    """Take the BatchNorm statistics from a few images of noise, so that signals reach the logits."""
    norms = [layer for layer in module.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = None
    if norms:
        module.train()(torch.randn(_IMAGES, channels, size, size, generator=torch.Generator().manual_seed(0)))
    module.eval()
