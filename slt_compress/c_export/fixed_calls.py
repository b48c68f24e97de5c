"""The steps of a network as calls of the C functions of `fixed_kernels`: in whole numbers, on the grids of `fixed`."""

from collections.abc import Mapping

from slt_compress.c_export import arena, fixed, fixed_kernels, kernels
from slt_compress.c_export.arena import PLANE
from slt_compress.c_export.calls import Calls, normalisation
from slt_compress.c_export.fixed import FRACTION, Grid
from slt_compress.c_export.kernels import fill
from slt_compress.c_export.literals import Wording, array, braces, number
from slt_compress.c_export.network import (
    Affine,
    Layer,
    Network,
    Place,
    Pool,
    Step,
    Sum,
    size,
)
from slt_compress.c_export.reference import POOLED
from slt_compress.c_export.values import Weights
from slt_compress.data.preprocessing import Preprocessing


class FixedCalls(Calls):
    """As `Calls`, for a network whose first step is `Prepare`."""

    def __init__(
        self,
        network: Network,
        weights: Weights,
        layout: str,
        pixels: Preprocessing | None,
        grids: Mapping[str, Grid],
    ) -> None:
        self.grids = grids
        self.multipliers: list[int] = []
        self.scales: list[tuple[float, float]] = []
        target = network.root(network.target)
        last = network.steps[-1]
        self.direct = (  # whether the sums of the last layer become the outputs, and not bytes first
            isinstance(last, Layer)
            and (last.output == target and last.linear and last.activation.idle and len(last.inputs) == 1)
            and target not in network.last_reader()
        )
        super().__init__(network, weights, layout, pixels)
        if not self.direct:
            self.used.add("restore")
            grid = grids[target]
            x = f"(uint8_t *)(slt_arena + {self.places.offsets[target]})"
            self.lines.append(f"slt_restore({network.outputs}, {grid.zero}, {number(grid.step)}, {x}, outputs);")
        self.table_bytes += 4 * len(self.multipliers) + 8 * len(self.scales)

    def grid(self, name: str) -> Grid:
        """Return the grid of a tensor."""
        return self.grids[self.network.root(name)]

    # Tables

    def _places(self) -> arena.Plan:
        return arena.plan(*arena.lives(self.network, in_bytes=True, outside=self.direct))

    def _width(self, table: str) -> int:
        widths = {"layer": 4 * len(self._fields([])), "output": 20 if self.sloped else 16, "pooling": 28}
        return widths.get(table) or super()._width(table)

    def _types(self) -> list[str]:
        slope = "    int32_t slope;      /* of values below 0, in 65536ths */\n" if self.sloped else ""
        parts = {"window": kernels.WINDOW, "pooling": fill(kernels.POOLING, fields=fixed_kernels.POOLING_FIELDS)}
        parts |= {"grid": kernels.GRID, "output": fill(fixed_kernels.OUTPUT, fields=slope)}
        return [text for name, text in parts.items() if self.tables.get(name)]

    def _constants(self) -> list[str]:
        parts = []
        if self.multipliers:
            parts.append(array("int32_t", "slt_constants", [str(value) for value in self.multipliers]))
        if self.scales:
            rows = [f"{{{number(factor)}, {number(offset)}}}" for factor, offset in self.scales]
            parts.append(array("float", "slt_scales", rows, "[2]"))
        if self.pixels:
            grid = self.grid(self.network.steps[0].output)
            scale, shift = normalisation(self.pixels)
            scales = [str(round(value / grid.step * 2**FRACTION)) for value in scale]
            shifts = [str(round((value / grid.step + grid.zero) * 2**FRACTION)) for value in shift]
            parts += [array("int32_t", "slt_pixel_scale", scales), array("int32_t", "slt_pixel_shift", shifts)]
        return parts

    def _finish_fields(self) -> list[str]:
        return []

    def _finish_values(self, layer: Layer) -> list[str]:  # noqa: ARG002
        return []

    def _pooling_values(self, step: Layer | Pool) -> list[str]:
        before = self.grids[POOLED + step.output] if isinstance(step, Layer) else self.grid(step.inputs[0])
        after = self.grid(step.output)
        return [str(before.zero), str(after.zero), str(fixed.ratio(before, after))]

    def _output(self, step: Layer | Affine | Sum, result: Grid) -> str:
        """Add how a step's result becomes bytes to the table, and return its address."""
        source, activation = self.grid(step.inputs[0]), step.activation
        begins, shift = len(self.multipliers), 0
        if not isinstance(step, Sum):
            pairs, shift = fixed.multipliers(step, source, result)
            self.multipliers += pairs.ravel().tolist()
        added = self.grid(step.inputs[1]) if len(step.inputs) > 1 else None
        limits = [result.byte(activation.low), result.byte(activation.high)]
        values = [begins, fixed.ratio(added, result) if added else 0]
        values += [source.zero, added.zero if added else 0, result.zero, *limits, shift]
        values += [round(float(step.activation.slope) * 2**FRACTION)] if self.sloped else []
        self.tables.setdefault("output", [])
        return self.row("output", braces(values))

    # Calls

    def _is_sloped(self) -> bool:
        steps = (step for step in self.network.steps if isinstance(step, Layer | Affine | Sum))
        return any(step.activation.slope != 1 for step in steps)

    def pointer(self, name: str) -> str:
        found = super().pointer(name)
        if found == "outputs" and not self.direct:
            found = f"slt_arena + {self.places.offsets[self.network.root(name)]}"
        return f"(uint8_t *)({found})" if found.startswith("slt_arena") else found

    def _call(self, step: Step) -> str:
        x, y = (self.pointer(name) for name in (step.inputs[0], step.output))
        match step:
            case Affine():
                self.used.add("affine")
                output = self._output(step, self.grid(step.output))
                return f"slt_affine({output}, {step.result[0]}, {size(step.result[1:])}, {x}, {y})"
            case Sum():
                self.used.add("sum")
                output, other = self._output(step, self.grid(step.output)), self.pointer(step.inputs[1])
                ratio = fixed.ratio(self.grid(step.inputs[0]), self.grid(step.output))
                return f"slt_sum({output}, {size(step.result)}, {ratio}, {x}, {other}, {y})"
            case Place():
                return f"{super()._call(step).removesuffix(')')}, {self.grid(step.output).zero})"
        return super()._call(step)

    def _layer_call(self, layer: Layer, x: str, y: str) -> str:
        row, source = self.layer(layer), self.grid(layer.inputs[0])
        if self.direct and layer is self.network.steps[-1]:
            self.used.add("linear_outputs")
            self.scales += list(zip((layer.factor * source.step).tolist(), layer.offset.tolist(), strict=True))
            return f"slt_linear_outputs({row}, {source.zero}, slt_scales, {x}, {y})"
        added = self.pointer(layer.inputs[1]) if len(layer.inputs) > 1 else "0"
        if layer.linear:
            self.used.add("linear")
            return f"slt_linear({row}, {self._output(layer, self.grid(layer.output))}, {x}, {added}, {y})"
        self.used.add("convolution")
        result = self.grids[POOLED + layer.output] if layer.pooling else self.grid(layer.output)
        plane = f"slt_arena + {self.places.offsets[PLANE + layer.output]}"
        pooling = f", {self._pooling(layer)}" if layer.pooling else ", 0" if self.pooled else ""
        output = self._output(layer, result)
        return f"slt_convolution({row}, {output}, {self.window(layer)}, {x}, {added}, {plane}, {y}{pooling})"

    # Functions

    def _kernels(self) -> list[str]:
        slope = "    if (value < 0)\n        value = (value * output->slope) >> 16;\n" if self.sloped else ""
        of_pixels = fixed_kernels.PREPARE_PIXELS
        grid = self.grid(self.network.steps[0].output)
        of_numbers = fill(fixed_kernels.PREPARE_NUMBERS, scale=number(1 / grid.step), shift=number(grid.zero + 0.5))
        stores = {"linear", "convolution", "affine", "sum"} & self.used
        finishes = {"linear", "convolution", "affine"} & self.used
        parts = [fill(fixed_kernels.STORE, slope=slope)] if stores else []
        parts += [fixed_kernels.FINISH] if finishes else []
        pooled = {"pool_sums": ("_sums", "int32_t"), "pool": ("", "uint8_t")}
        pools = {name: fill(fixed_kernels.POOL, of=of, input=kind) for name, (of, kind) in pooled.items()}
        texts = {"prepare": of_pixels if self.pixels else of_numbers, "affine": fixed_kernels.AFFINE}
        texts |= {"linear": fill(fixed_kernels.LINEAR, enter=self.enter)}
        texts |= {"linear_outputs": fill(fixed_kernels.LINEAR_OUTPUTS, enter=self.enter)}
        texts |= {"sum": fixed_kernels.SUM, "restore": fixed_kernels.RESTORE, **pools}
        texts |= {"pools": fill(kernels.POOLS, value="uint8_t")}
        texts |= {"place": fill(kernels.PLACE, value="uint8_t", argument=", uint8_t zero", zero="zero")}
        used = (self.used - {"pool"}) | ({"pool_sums"} if self.pooled else set())
        used |= {"pool"} if "pools" in used else set()
        parts += [text for name, text in texts.items() if name in used]
        return parts + (self._convolution("") if "convolution" in self.used else [])

    def _wording(self, of: str) -> Wording:
        assert not of
        y = fill(fixed_kernels.FINISH_PLANE, target="y[row * area + i]")
        pool = "        slt_pool_sums(pooling, plane, y + row * pooling->result[0] * pooling->result[1]);\n"
        first = "        if (!pooling) {\n" + y.replace("\n    ", "\n        ").replace(
            "        for", "            for", 1
        )
        pooled = (
            f"{first}            continue;\n        }}\n{fill(fixed_kernels.FINISH_PLANE, target='plane[i]')}{pool}"
        )
        return Wording(
            value="uint8_t",
            sum="int32_t",
            sums="plane",
            input="uint8_t",
            load="(x[{}] - zero)",
            arguments=", int32_t zero",
            passed=", output->from",
            output_argument="const slt_output *output, ",
            finish=pooled if self.pooled else y,
        )
