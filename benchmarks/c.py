"""Figures of C files: bytes, memory, time and predictions, against a dense float loop in C and onnxruntime.

    python -m benchmarks.c TICKET:DATA_DIR [TICKET:DATA_DIR …] [--images N] [--forms FORM,…] [--whole] [--no-dense]

For each ticket, layout and arithmetic: bytes of code and constants (`size` of the object file, -Os and -O2), static
memory, the deepest stack of `slt_run` (-O2), microseconds of processor time an image at -O2 and -O3, and for how many
of the test images the class is that of torch. The dense loop is the same network with all weights stored as float32 and
plain loops over them. The programs take turns, each for the same few images, and onnxruntime on one thread takes part;
figures are medians over the turns. `--forms` picks some, such as float-rice; `--whole` adds the same with dead neurons
(`--keep-structure`); `--no-dense` leaves the dense loop out, which takes long to compile for a large network.

With arm-none-eabi-gcc, picolibc and qemu-system-arm there are also the instructions of an image (-Os) on a Cortex-M0
and a Cortex-M4, if the memory of the emulated board is large enough; qemu counts them by its virtual clock.
"""

import argparse
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

import slt_compress
from slt_compress.c_export import graph
from slt_compress.c_export.network import Layer, Network, Place
from slt_compress.data.preprocessing import as_pixels
from slt_compress.data.splits import Split
from slt_compress.onnx_export.trace import trace
from slt_compress.pipeline.images import images_for
from slt_compress.ticket.record import NetworkRecord
from slt_compress.ticket.ticket import Ticket

TURNS = 15
FLAGS = ["-std=c99", "-fno-asynchronous-unwind-tables"]
BOARDS = {  # processor -> machine, flash and memory in bytes, instructions in a tick of its clock
    "cortex-m0": ("microbit", 0x40000, 0x4000, 62.5),
    "cortex-m4": ("mps2-an386", 0x400000, 0x400000, 40.0),
}

DRIVER = """
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "net.h"

static uint8_t images[64][SLT_INPUTS];

enum { DEEP = 65536 };
static volatile uint8_t *low;

static void __attribute__((noinline)) paint(void)
{
    volatile uint8_t space[DEEP];
    for (int i = 0; i < DEEP; i++)
        space[i] = 0xa5;
    low = space;
}

static size_t stack(float *outputs)
{
    size_t unused = 0;
    paint();
    slt_run(images[0], outputs);
    while (unused < DEEP && low[unused] == 0xa5)
        unused++;
    return DEEP - unused;
}

int main(int argc, char **argv)
{
    float outputs[SLT_OUTPUTS];
    const int count = argc > 2 ? atoi(argv[2]) : 1;
    FILE *file = fopen(argv[1], "rb");
    if (!file || fread(images, sizeof images, 1, file) != 1)
        return 1;
    struct timespec begin, end;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin);
    for (int i = 0; i < count; i++)
        slt_run(images[i % 64], outputs);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
    const double spent = (double)(end.tv_sec - begin.tv_sec) * 1e6 + (double)(end.tv_nsec - begin.tv_nsec) / 1e3;
    printf("%f %zu\\n", spent / count, argc > 3 ? stack(outputs) : (size_t)0);
    return 0;
}
"""

BOARD_DRIVER = """
#include <stdio.h>
#include <stdlib.h>
#include "net.h"
#define CONTROL (*(volatile uint32_t *)0xe000e010)
#define RELOAD (*(volatile uint32_t *)0xe000e014)
#define NOW (*(volatile uint32_t *)0xe000e018)
static const uint8_t image[SLT_INPUTS] = {$image};

int main(void)
{
    float outputs[SLT_OUTPUTS];
    RELOAD = 0xffffff;
    NOW = 0;
    CONTROL = 5;
    const uint32_t before = NOW;
    slt_run(image, outputs);
    const uint32_t after = NOW;
    printf("%lu %d\\n", (unsigned long)((before - after) & 0xffffff), slt_selftest());
    exit(0);
}
"""

DENSE = """
#include "net.h"
static void layer(const float *w, const float *scale, int n, int in, int groups, int h, int wd, int kh, int kw, int s,
                  int p, int oh, int ow, float low, const float *x, const float *added, float *y)
{
    for (int o = 0; o < n; o++)
        for (int i = 0; i < oh; i++)
            for (int j = 0; j < ow; j++) {
                float sum = 0;
                for (int c = 0; c < in; c++)
                    for (int a = 0; a < kh; a++)
                        for (int b = 0; b < kw; b++) {
                            const int r = i * s - p + a, t = j * s - p + b;
                            if (r >= 0 && r < h && t >= 0 && t < wd)
                                sum += w[((o * in + c) * kh + a) * kw + b] *
                                       x[((o / (n / groups) * in + c) * h + r) * wd + t];
                        }
                const float v = sum * scale[2 * o] + scale[2 * o + 1] + (added ? added[(o * oh + i) * ow + j] : 0);
                y[(o * oh + i) * ow + j] = v < low ? low : v;
            }
}
static void linear(const float *w, const float *scale, int n, int in, float low, const float *x, float *y)
{
    for (int o = 0; o < n; o++) {
        float sum = 0;
        for (int c = 0; c < in; c++)
            sum += w[o * in + c] * x[c];
        const float v = sum * scale[2 * o] + scale[2 * o + 1];
        y[o] = v < low ? low : v;
    }
}
static void pool(int mean, int n, int h, int w, int k, int s, const float *x, float *y)
{
    for (int c = 0; c < n; c++)
        for (int i = 0; i + k <= h; i += s)
            for (int j = 0; j + k <= w; j += s) {
                float sum = 0, largest = x[(c * h + i) * w + j];
                for (int a = 0; a < k; a++)
                    for (int b = 0; b < k; b++) {
                        const float v = x[(c * h + i + a) * w + j + b];
                        sum += v;
                        if (v > largest)
                            largest = v;
                    }
                *y++ = mean ? sum / (float)(k * k) : largest;
            }
}
"""


def dense_source(network: Network, module: torch.nn.Module, record: NetworkRecord, scales: dict[str, float]) -> str:
    """Return the network as plain loops over stored weights. For layers with ReLU or nothing behind them."""
    pixels = record.preprocessing
    assert pixels
    arrays, calls = [], []
    places = {network.source: "x0"}
    largest = max(np.prod(step.sums) for step in network.layers)
    buffers = [f"static float x0[{np.prod(network.shape)}], sums[{largest}];"]
    for index, step in enumerate(network.steps):
        x = places[network.root(step.inputs[0])]
        y = "outputs" if step.output == network.root(network.target) else f"y{index}"
        places[step.output] = y
        if y != "outputs":
            buffers.append(f"static float {y}[{np.prod(step.result)}];")
        if isinstance(step, Place):
            _, rows, columns = step.source
            calls.append(
                f"for (int c = 0; c < {step.grid[0]}; c++) for (int i = 0; i < {step.grid[1]}; i++) "
                f"for (int j = 0; j < {step.grid[2]}; j++) {y}[(c * {step.result[1]} + i) * {step.result[2]} + j] = "
                f"{x}[(c * {rows} + i * {step.every[1]}) * {columns} + j * {step.every[2]}];"
            )
            continue
        assert isinstance(step, Layer)
        weight = module.get_parameter(step.weight).detach().numpy().ravel()
        factor = step.factor / np.float32(scales[step.weight])
        arrays.append(f"static const float w{index}[] = {{{','.join(f'{v!s}f' for v in weight)}}};")
        pairs = np.stack([factor, step.offset], 1).ravel()
        arrays.append(f"static const float s{index}[] = {{{','.join(f'{v!s}f' for v in pairs)}}};")
        low = "0" if step.activation.low == 0 else "-1e38f"
        if step.linear:
            calls.append(f"linear(w{index}, s{index}, {step.sums[0]}, {step.columns}, {low}, {x}, {y});")
            continue
        added = places[network.root(step.inputs[1])] if len(step.inputs) > 1 else "0"
        window, (channels, height, width) = step.window, step.source
        shape = f"{step.sums[0]}, {channels // step.groups}, {step.groups}, {height}, {width}, {window.kernel[0]}, "
        shape += f"{window.kernel[1]}, {window.stride[0]}, {window.before[0]}, {step.sums[1]}, {step.sums[2]}"
        calls.append(f"layer(w{index}, s{index}, {shape}, {low}, {x}, {added}, {'sums' if step.pooling else y});")
        if step.pooling:
            mean = step.pooling.kind == "mean"
            kernel = step.pooling.window.kernel[0]
            stride = kernel if mean else step.pooling.window.stride[0]
            sums = ", ".join(map(str, step.sums))
            calls.append(f"pool({int(mean)}, {sums}, {kernel}, {stride}, sums, {y});")
    prepare = "".join(
        f"for (int i = 0; i < {pixels.size**2}; i++) "
        f"x0[{c * pixels.size**2} + i] = ((float)input[i * {pixels.channels} + {c}] / 255.0f - {mean}f) / {std}f;"
        for c, (mean, std) in enumerate(zip(pixels.mean, pixels.std, strict=True))
    )
    body = "\n".join([prepare, *calls])
    return "\n".join(
        [DENSE, *arrays, *buffers, f"void slt_run(const uint8_t *input, float *outputs)\n{{\n{body}\n}}\n"]
    )


class Built:
    """A C file in a folder of its own, compiled."""

    def __init__(self, folder: Path, source: str, header: str, images: Path) -> None:
        self.folder, self.images = folder, images
        folder.mkdir()
        (folder / "net.c").write_text(source)
        (folder / "net.h").write_text(header)
        (folder / "driver.c").write_text(DRIVER)
        self.count = 1
        for level in ("-O2", "-O3"):
            command = ["gcc", *FLAGS, level, "net.c", "-c", "-o", f"net{level}.o"]
            subprocess.run(command, cwd=folder, check=True)
            command = ["gcc", *FLAGS, level, "driver.c", f"net{level}.o", "-o", f"run{level}"]
            subprocess.run(command, cwd=folder, check=True)

    def size(self, level: str, compiler: str = "gcc", *more: str) -> tuple[int, int]:
        """Return bytes of code and constants, and of static memory."""
        subprocess.run([compiler, *FLAGS, *more, level, "-c", "net.c", "-o", "size.o"], cwd=self.folder, check=True)
        tool = compiler.replace("gcc", "size")
        printed = subprocess.run([tool, "size.o"], cwd=self.folder, check=True, capture_output=True, text=True).stdout
        text, data, bss = map(int, printed.splitlines()[1].split()[:3])
        return text + data, bss

    def microseconds(self, level: str) -> float:
        return self._run(level, str(self.count))[0]

    def stack(self) -> int:
        return int(self._run("-O2", "1", "stack")[1])

    def _run(self, level: str, *arguments: str) -> list[float]:
        command = [str(self.folder / f"run{level}"), str(self.images), *arguments]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        return [float(value) for value in printed.split()]

    def instructions(self, processor: str, image: np.ndarray[Any, Any]) -> str:
        """Return the instructions of an image on an emulated processor, in millions; "-" if it does not fit there."""
        machine, flash, memory, in_a_tick = BOARDS[processor]
        if not (shutil.which("arm-none-eabi-gcc") and shutil.which("qemu-system-arm")):
            return "-"
        (self.folder / "board.c").write_text(BOARD_DRIVER.replace("$image", ",".join(map(str, image.ravel()))))
        places = {"flash": 0, "flash_size": flash, "ram": 0x20000000, "ram_size": memory, "stack_size": 0x800}
        layout = ",".join(f"--defsym=__{name}={value:#x}" for name, value in places.items())
        command = ["arm-none-eabi-gcc", f"-mcpu={processor}", "-mthumb", "-std=c99", "-Os", "--specs=picolibc.specs"]
        command += ["--oslib=semihost", f"-Wl,{layout}", "net.c", "board.c", "-o", "board.elf"]
        if subprocess.run(command, cwd=self.folder, check=False, capture_output=True).returncode:
            return "-"
        command = ["qemu-system-arm", "-M", machine, "-icount", "shift=0", "-nographic", "-monitor", "none"]
        command += ["-serial", "none", "-semihosting-config", "enable=on,target=native", "-kernel", "board.elf"]
        done = subprocess.run(command, cwd=self.folder, check=True, capture_output=True, text=True, timeout=300)
        ticks, wrong = re.findall(r"\d+", done.stdout + done.stderr)[:2]
        assert wrong == "0"
        return f"{int(ticks) * in_a_tick / 1e6:.2f}"


def predictions(folder: Path, name: str, test: Split) -> list[int]:
    """Return the class of every test image by the C file."""
    from slt_compress.c_export import proof
    from slt_compress.c_export.text import Code

    source, header = (folder / f"{name}{suffix}" for suffix in (".c", ".h"))
    work = folder / f"{name}-proof"
    work.mkdir()
    outputs = int(header.read_text().partition("#define SLT_OUTPUTS ")[2].split()[0])
    code = Code(source.read_text(), header.read_text(), 0, 0, 0)
    program = proof.compiled(code, name, "uint8_t", outputs, work)
    found: list[int] = []
    for images, _ in test.batches(500):
        found += program.run(as_pixels(images).numpy()).argmax(1).tolist()
    return found


def measure(file: str, data: Path, given: argparse.Namespace) -> None:
    most = given.images
    ticket = Ticket.load(file)
    module, record = ticket.restore(), NetworkRecord.of(ticket)
    preprocessing = record.preprocessing
    assert preprocessing
    test = images_for(record, None, data, most=most)
    truth: list[int] = []
    with torch.no_grad():
        for images, _ in test.batches(128):
            truth += module(preprocessing(images)).argmax(1).tolist()
    scales = {layer.name: layer.scale for layer in ticket.layers}
    network = graph.read(trace(module, record, 20), scales)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        some = as_pixels(next(iter(test.batches(64)))[0]).numpy()
        (folder / "images").write_bytes(some.tobytes())
        built: dict[str, Built] = {}
        equal: dict[str, int] = {}
        for form in given.forms.split(","):
            arithmetic, layout = form.split("-")
            for whole in (False, True)[: 1 + given.whole]:
                name = f"{form}-whole" if whole else form
                limit = {"max_accuracy_drop": 1.0} if arithmetic == "fixed" else {}
                options: dict[str, Any] = {"layout": layout, "arithmetic": arithmetic, "data_dir": data, **limit}
                slt_compress.export(ticket, folder / f"{name}.c", format="c", keep_structure=whole, **options)
                source = (folder / f"{name}.c").read_text().replace(f'"{name}.h"', '"net.h"')
                header = (folder / f"{name}.h").read_text()
                built[name] = Built(folder / name, source, header, folder / "images")
                if layout == "rice":  # the others add the same numbers in the same order
                    equal[name] = sum(a == b for a, b in zip(predictions(folder, name, test), truth, strict=True))
        if not given.no_dense:
            source = dense_source(network, module, record, scales)
            built["dense"] = Built(folder / "dense", source, header, folder / "images")
        slt_compress.export(ticket, folder / "dense.onnx", format="onnx", weights="dense", include_preprocessing=True)
        options_ = onnxruntime.SessionOptions()
        options_.intra_op_num_threads = options_.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(folder / "dense.onnx", options_, providers=["CPUExecutionProvider"])
        times: dict[str, list[float]] = {}
        for one in built.values():
            one.count = max(1, min(200, int(20_000 / one.microseconds("-O2"))))
        for _ in range(TURNS):
            for name, one in built.items():
                for level in ("-O2", "-O3"):
                    times.setdefault(name + level, []).append(one.microseconds(level))
            begin = time.process_time()
            for index in range(20):
                session.run(None, {"images": some[index : index + 1]})
            times.setdefault("onnxruntime", []).append((time.process_time() - begin) / 20 * 1e6)
        median = {name: statistics.median(values) for name, values in times.items()}
        print(f"\n{record.model}, {file}: {len(truth)} test images")
        print("| | -Os | -O2 | M0 -Os | static memory | stack | µs -O2 | µs -O3 | equal | M0, M insn | M4, M insn |")
        print("|---|---|---|---|---|---|---|---|---|---|---|")
        for name, one in built.items():
            small, memory = one.size("-Os")
            arm = "-"
            if shutil.which("arm-none-eabi-gcc"):
                arm = f"{one.size('-Os', 'arm-none-eabi-gcc', '-mcpu=cortex-m0', '-mthumb')[0]:,}"
            boards = [one.instructions(board, some[0]) if name != "dense" else "-" for board in BOARDS]
            print(
                f"| {name} | {small:,} | {one.size('-O2')[0]:,} | {arm} | {memory:,} | {one.stack():,} "
                f"| {median[name + '-O2']:.1f} | {median[name + '-O3']:.1f} | {equal.get(name, '-')} | {boards[0]} "
                f"| {boards[1]} |",
                flush=True,
            )
        print(f"| onnxruntime {onnxruntime.__version__} | | | | | | {median['onnxruntime']:.1f} | | | | |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tickets", nargs="+", metavar="TICKET:DATA_DIR")
    parser.add_argument("--images", type=int, help="test images to compare classes on, all by default")
    forms = ",".join(f"{one}-{layout}" for one in ("float", "fixed") for layout in ("rice", "gap", "signs"))
    parser.add_argument("--forms", default=forms, help="arithmetic and layout of each, by commas; all by default")
    parser.add_argument("--whole", action="store_true", help="measure the network with its dead neurons, too")
    parser.add_argument("--no-dense", action="store_true", help="leave the dense loop out")
    given = parser.parse_args()
    for one in given.tickets:
        file, _, data = one.rpartition(":")
        measure(file, Path(data), given)


if __name__ == "__main__":
    main()
