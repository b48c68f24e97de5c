"""The steps of a network as calls of the C functions of `kernels`, with the tables that these read.

Equal windows, poolings and grids share a row of their table. The place of a tensor is a constant offset in the arena.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from slt_compress import prng
from slt_compress.c_export import arena, codes, kernels, places
from slt_compress.c_export.arena import PLANE
from slt_compress.c_export.kernels import fill
from slt_compress.c_export.literals import Wording, array, braces, number
from slt_compress.c_export.network import Activation, Affine, Layer, Network, Place, Pool, Prepare, Step, Sum, size
from slt_compress.c_export.places import Places
from slt_compress.c_export.values import Weights
from slt_compress.data.preprocessing import Preprocessing
from slt_compress.errors import UnreachableError

_LONGEST = 65_535  # of a side, and channels of a group: they are uint16_t
_PADDING = 4  # bytes behind the codes: a reader of the layout rice takes four from wherever low bits would be


class Calls:
    """What `slt_run` does, and all that it needs.

    Attributes:
        lines: the calls, in order.
        places: of the tensors in the arena, in floats.
        table_bytes: of codes, factors and offsets, and tables.
    """

    def __init__(self, network: Network, weights: Weights, layout: str, pixels: Preprocessing | None) -> None:
        self.network, self.weights, self.layout, self.pixels = network, weights, layout, pixels
        self.drawn = self._drawn()
        self.signed = self.drawn == "signs"
        self.keyed = self._is_keyed()
        self.cut = self.keyed and any(weights.kept.get(layer.weight) for layer in network.layers)
        self.whole = layout != "signs" and any(weights.mask(layer.weight).all() for layer in network.layers)
        self.sloped = self._is_sloped()
        self.pooled = any(layer.pooling for layer in network.layers)
        self.places = self._places()
        self.codes: list[codes.Bytes] = []
        self.left = Places()
        self.constants: list[float] = []
        self.tables: dict[str, list[str]] = {"layer": [], "window": [], "pooling": [], "grid": []}
        self.used: set[str] = set()
        self.lines = [f"{self._call(step)};" for step in network.steps]
        rows = sum(self._width(name) * len(rows) for name, rows in self.tables.items())
        coded = sum(code.size for code in self.codes) + _PADDING
        knots = 4 * len(prng.normal_knots()) if self.drawn == "normal" else 0
        self.table_bytes = rows + coded + 4 * len(self.constants) + knots + self.left.bytes

    def text(self) -> list[str]:
        """Return the types, tables and functions, in the order of a file."""
        fields = "".join(f"    {declaration};\n" for declaration, _ in self._fields([])[3:])
        parts = [fill(kernels.TYPES, fields=fields), *self._types(), self._data()]
        parts += self._walking()
        parts += self._kernels()
        return parts

    def _drawn(self) -> str:
        """Return what the seed gives: "signs", or values that are "uniform" or "normal"."""
        return {"signed-constant": "signs", "kaiming-normal": "normal"}.get(self.weights.ticket.initialiser, "uniform")

    def _is_keyed(self) -> bool:
        """Return whether the seed gives something of each weight while it is used."""
        return self.layout != "signs"

    def _is_sloped(self) -> bool:
        """Return whether a table needs slopes."""
        return any(layer.activation.slope != 1 for layer in self.network.layers)

    # Tables

    def _places(self) -> arena.Plan:
        return arena.plan(*arena.lives(self.network))

    def _width(self, table: str) -> int:
        """Return the bytes of a row."""
        return {"layer": 4 * len(self._fields([])), "window": 20, "pooling": 22, "grid": 36}[table]

    def _types(self) -> list[str]:
        parts = {"window": kernels.WINDOW, "pooling": fill(kernels.POOLING, fields=""), "grid": kernels.GRID}
        return [text for name, text in parts.items() if self.tables[name]]

    def _data(self) -> str:
        everything = np.concatenate([*self.codes, np.zeros(_PADDING, np.uint8)])
        parts = [array("uint8_t", "slt_codes", [str(byte) for byte in everything])]
        parts += self._constants()
        if self.cut:
            parts.append(self.left.text())
        if self.drawn == "normal":
            parts.append(array("int32_t", "slt_knots", [str(knot) for knot in prng.normal_knots()]))
        for name, rows in self.tables.items():
            if rows:
                lines = "".join(f"    {row},\n" for row in rows)
                parts.append(f"static const slt_{name} slt_{name}s[] = {{\n{lines}}};\n")
        return "\n".join(parts)

    def _constants(self) -> list[str]:
        """Return the arrays of factors and offsets: those of each channel, and those of pixels."""
        parts = []
        if self.constants:
            parts.append(array("float", "slt_constants", [number(value) for value in self.constants]))
        if self.pixels:
            scale, shift = normalisation(self.pixels)
            parts.append(array("float", "slt_pixel_scale", [number(value) for value in scale]))
            if self.used & {"convolution_pixels", "prepare"}:
                parts.append(array("float", "slt_pixel_shift", [number(value) for value in shift]))
        return parts

    def _fields(self, values: Sequence[str]) -> list[tuple[str, str]]:
        """Return the declarations of the members of `slt_layer`, each with its value."""
        names = ["uint32_t code", "uint32_t rows", "uint32_t columns", *self._finish_fields()]
        names += self._value_fields()
        names += places.FIELDS if self.cut else ()
        names += ["uint32_t every"] if self.whole else []
        names += ["uint32_t rest", "uint32_t k"] if self.layout == "rice" else []
        return list(zip(names, values or names, strict=True))

    def layer(self, layer: Layer) -> str:
        """Add a layer to the table and return its address."""
        name, mask = layer.weight, self.weights.mask(layer.weight).ravel()
        code, rice = self._coded(name, mask)
        begins = sum(code.size for code in self.codes)
        values = [str(begins), str(layer.sums[0]), str(layer.columns), *self._finish_values(layer)]
        values += self._value_places(layer)
        values += self.left.values(self.weights.shape(name), self.weights.kept.get(name, {})) if self.cut else []
        values += [str(0 if mask.all() else codes.STEP[self.layout])] if self.whole else []
        values += [str(begins + rice[1]), str(rice[0])] if rice else []
        self.codes.append(code)
        return self.row("layer", "{" + ", ".join(value for _, value in self._fields(values)) + "}")

    def _value_fields(self) -> list[str]:
        """Return the members of `slt_layer` for the values of weights."""
        return ["uint32_t key0", "uint32_t key1"] if self.keyed else []

    def _value_places(self, layer: Layer) -> list[str]:
        purpose: prng.Purpose = "signs" if self.signed else "values"
        keys = prng.stream_key(self.weights.ticket.seed, purpose, layer.weight)
        return [f"{key:#x}" for key in keys] if self.keyed else []

    def _finish_fields(self) -> list[str]:
        """Return the members of `slt_layer` for what follows the sums."""
        return ["uint32_t constants", "float low", "float high", *(["float slope"] if self.sloped else [])]

    def _finish_values(self, layer: Layer) -> list[str]:
        activation, begins = layer.activation, len(self.constants)
        self._add_constants(layer)
        slope = [number(activation.slope)] if self.sloped else []
        return [str(begins), number(activation.low), number(activation.high), *slope]

    def _coded(self, name: str, mask: codes.Mask) -> tuple[codes.Bytes, tuple[int, int] | None]:
        """Return the code of a mask; of a Rice code, also its k and where its low bits begin."""
        if self.layout == "rice":
            code, k, low = codes.rice(mask)
            return code, (k, low)
        if self.layout == "gap":
            return codes.gap_bytes(mask), None
        return codes.signed_bytes(mask, self.weights.negative(name).ravel()), None

    def _add_constants(self, step: Layer | Affine) -> None:
        pairs = np.stack([step.factor, step.offset], axis=1)
        self.constants += pairs.ravel().tolist()

    def row(self, table: str, row: str) -> str:
        """Return the address of a row in a table, to which it is added if it is not there."""
        rows = self.tables[table]
        if row not in rows:
            rows.append(row)
        return f"&slt_{table}s[{rows.index(row)}]"

    # Calls

    def pointer(self, name: str) -> str:
        """Return where a tensor lies."""
        root = self.network.root(name)
        if root == self.network.source:
            return "input"
        if root == self.network.root(self.network.target):
            return "outputs"
        return f"slt_arena + {self.places.offsets[root]}"

    def _call(self, step: Step) -> str:
        x, y = (self.pointer(name) for name in (step.inputs[0], step.output))
        match step:
            case Layer():
                return self._layer_call(step, x, y)
            case Affine():
                begins = len(self.constants)
                self._add_constants(step)
                self.used.add("affine")
                area = size(step.result[1:])
                return f"slt_affine({begins}, {step.result[0]}, {area}, {_limits(step.activation)}, {x}, {y})"
            case Sum():
                self.used.add("sum")
                other = self.pointer(step.inputs[1])
                return f"slt_sum({size(step.result)}, {_limits(step.activation)}, {x}, {other}, {y})"
            case Pool():
                self.used.add("pools")
                return f"slt_pools({self._pooling(step)}, {step.result[0]}, {x}, {y})"
            case Place():
                self.used.add("place")
                parts = (step.source, step.start, step.every, step.grid, step.before, step.result)
                row = "{" + ", ".join(braces(part) for part in parts) + "}"
                return f"slt_place({self.row('grid', row)}, {x}, {y})"
            case Prepare():
                self.used.add("prepare")
                return f"slt_prepare({x}, {y})"
        raise AssertionError(step)

    def _layer_call(self, layer: Layer, x: str, y: str) -> str:
        added = self.pointer(layer.inputs[1]) if len(layer.inputs) > 1 else "0"
        of = "_pixels" if self.pixels and x == "input" else ""
        if of and layer.linear:
            layer = self._with_shift(layer)
        row = self.layer(layer)
        if layer.linear:
            self.used.add(f"linear{of}")
            return f"slt_linear{of}({row}, {x}{'' if of else f', {added}'}, {y})"
        self.used.add(f"convolution{of}")
        plane = f"slt_arena + {self.places.offsets[PLANE + layer.output]}" if self._has_plane(layer) else "0"
        pooling = f", {self._pooling(layer)}" if layer.pooling else ", 0" if self.pooled else ""
        return f"slt_convolution{of}({row}, {self.window(layer)}, {x}, {added}, {plane}, {y}{pooling})"

    def _with_shift(self, layer: Layer) -> Layer:
        """Return a linear layer with what the shifts of its pixels, (p - mean·255)/(std·255), add to its sums."""
        assert self.pixels
        shift = -np.array(self.pixels.mean) / np.array(self.pixels.std)
        weights = self.weights.values(layer.weight).astype(np.float64)
        by_channel = weights.reshape(layer.sums[0], self.pixels.channels, -1).sum(2)
        added = layer.factor / self.weights.units[layer.weight] * (by_channel @ shift)
        return replace(layer, offset=(layer.offset + added).astype(np.float32))

    def _has_plane(self, layer: Layer) -> bool:
        return PLANE + layer.output in self.places.offsets

    def window(self, layer: Layer) -> str:
        window, size_in, result = layer.window, layer.source[1:], layer.sums[1:]
        single = window.kernel == window.stride == (1, 1) and window.before == (0, 0) and size_in == result
        if single and size(result) <= _LONGEST:  # the plane as one long row
            size_in = result = (1, size(result))
        channels, rows = layer.source[0] // layer.groups, layer.sums[0] // layer.groups
        if max(channels, rows, *size_in, *result, *window.kernel) > _LONGEST:
            raise UnreachableError(f"C code counts to {_LONGEST:,}, {layer.weight} is larger; use `format=onnx`")
        parts = (size_in, result, window.kernel, window.stride, window.before, window.dilation)
        return self.row("window", f"{{{channels}, {rows}, {', '.join(braces(part) for part in parts)}}}")

    def _pooling(self, step: Layer | Pool) -> str:
        """Return the address of a pooling."""
        pooling = step.pooling
        assert pooling
        window = pooling.window
        parts = (pooling.source[1:], pooling.result[1:], window.kernel, window.stride, window.before)
        self.used.add("pool")
        flags = ", ".join([str(int(pooling.kind == "mean")), str(int(pooling.whole)), *self._pooling_values(step)])
        return self.row("pooling", f"{{{', '.join(braces(part) for part in parts)}, {flags}}}")

    def _pooling_values(self, step: Layer | Pool) -> list[str]:  # noqa: ARG002, as one with grids needs the step
        """Return further members of the row of a pooling."""
        return []

    # Functions

    def _walking(self) -> list[str]:
        """Return the functions that walk over weights and make their values."""
        declared, begins = kernels.WALK_FIELDS[self.layout]
        more, given, step = self._walk_fields()
        ahead, every = (kernels.READS_EVERY if self.whole else kernels.READS)[self.layout]
        further = [kernels.EVERY_FIELDS] if self.whole else []
        further += [kernels.WORD_FIELDS] if self.whole and self.signed else []
        further += [places.WALK_FIELDS] if self.cut else []
        fields = declared + more + "".join(field for field, _ in further)
        values = begins + given + "".join(value for _, value in further)
        return [
            kernels.MIX,
            fill(kernels.WALK, fields=fields),
            fill(kernels.NEXT[self.layout], step=step, every=every, ahead=ahead),
            fill(kernels.BEGIN, code="rest" if self.layout == "rice" else "code", values=values),
            *([places.INDEX] if self.cut else []),
            self._value_text(),
        ]

    def _walk_fields(self) -> tuple[str, str, str]:
        """Return further fields of a walk, what they begin with, and what a step adds to them."""
        return (*kernels.KEY_FIELDS, "") if self.keyed else ("", "", "")

    def _value_text(self) -> str:
        """Return the function that makes the sign or the value of a weight."""
        if self.signed and not self.keyed:
            return kernels.STORED_NEGATIVE
        walk, index = ("slt_walk", "slt_index(walk)") if self.cut else ("const slt_walk", "walk->place")
        kept = "kept " if self.whole and self.signed else ""
        return fill(kernels.VALUES[kept + self.drawn], walk=walk, index=index)

    @property
    def enter(self) -> str:
        """What begins a row."""
        return "        slt_enter(&walk, layer, row);\n" if self.cut else ""

    def _kernels(self) -> list[str]:
        slope = "    if (value < 0)\n        value *= layer->slope;\n" if self.sloped else ""
        parts = [kernels.CLIP, fill(kernels.FINISH, slope=slope)]
        if "linear" in self.used:
            negative = "slt_negative(&walk) ? -x[walk.place - start] : x[walk.place - start]"
            term = negative if self.signed else "slt_value(&walk) * x[walk.place - start]"
            parts.append(fill(kernels.LINEAR, term=term, enter=self.enter))
        if "linear_pixels" in self.used:
            term = "slt_negative(&walk) ? -pixel : pixel" if self.signed else "slt_value(&walk) * pixel"
            kind = "int32_t" if self.signed else "float"
            parts.append(fill(kernels.LINEAR_PIXELS, term=term, sum=kind, enter=self.enter))
        pools = fill(kernels.POOLS, value="float")
        simple = {"pool": kernels.POOL, "pools": pools, "affine": kernels.AFFINE, "sum": kernels.SUM}
        place = fill(kernels.PLACE, value="float", argument="", zero="0")
        simple |= {"place": place, "prepare": kernels.PREPARE}
        parts += [text for name, text in simple.items() if name in self.used]
        for of in ("", "_pixels"):
            if f"convolution{of}" in self.used:
                parts += self._convolution(of)
        return parts

    def _convolution(self, of: str) -> list[str]:
        """Return the function for convolutions and what it calls; `of` is "_pixels" for one that reads pixels."""
        words = self._wording(of)
        step = "window->stride[1] * SLT_CHANNELS" if of else "window->stride[1]"
        arguments, passed, load = words.arguments, words.passed, words.load
        if not self.signed:
            arguments, passed, load = f"{arguments}, float weight", f"{passed}, weight", f"weight * {load}"
        common = {"of": of, "input": words.input, "sum": words.sum}
        verbs = {"plus": "+=", "minus": "-="} if self.signed else {"plus": "+="}
        units = {"unit": load.format("i"), "strided": load.format("i * step"), "arguments": arguments}
        rows = [fill(kernels.ADD_ROW, **common, verb=verb, operator=sign, **units) for verb, sign in verbs.items()]
        indent, given = " " * 16, f"(to, from, count, {step}{passed});\n"
        call = f"{indent}slt_plus{of}{given}"
        if self.signed:
            call = f"{indent}if (negative)\n{indent}    slt_minus{of}{given}{indent}else\n    {call}"
        planar = "(channel * window->size[0] + (uint32_t)above) * window->size[1] + (uint32_t)left"
        woven = "((uint32_t)above * window->size[1] + (uint32_t)left) * SLT_CHANNELS + channel"
        value = "uint32_t negative = slt_negative(&walk)" if self.signed else "float weight = slt_value(&walk)"
        rest = {"from": woven if of else planar, "call": call, "finish": words.finish, "value": words.value}
        text = fill(
            kernels.CONVOLUTION,
            **common,
            output_argument=words.output_argument,
            pooling_argument=", const slt_pooling *pooling" if self.pooled else "",
            sums=words.sums,
            enter=self.enter,
            weight=f"            const {value};\n",
            **rest,
        )
        return [*rows, text]

    def _wording(self, of: str) -> Wording:
        return Wording(
            value="float",
            sum="float",
            sums="plane ? plane : y + row * area",
            input="uint8_t" if of else "float",
            load="(scale * (float)x[{}] + shift)" if of else "x[{}]",
            arguments=", float scale, float shift" if of else "",
            passed=", slt_pixel_scale[channel], slt_pixel_shift[channel]" if of else "",
            output_argument="",
            finish=kernels.FINISH_POOLED if self.pooled else kernels.FINISH_UNPOOLED,
        )


def _limits(activation: Activation) -> str:
    return f"{number(activation.low)}, {number(activation.high)}, {number(activation.slope)}"


def normalisation(pixels: Preprocessing) -> tuple[list[float], list[float]]:
    """Return the scale and the shift of each channel: what the network takes is pixel·scale + shift."""
    scale = [1 / (255 * std) for std in pixels.std]
    return scale, [-mean / std for mean, std in zip(pixels.mean, pixels.std, strict=True)]
