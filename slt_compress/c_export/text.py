"""A network as the text of a C file and of its header.

Names come from a ticket, so from anywhere: they are written as escaped strings, or in comments as plain characters that
end no comment.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from slt_compress import prng
from slt_compress.c_export.calls import Calls
from slt_compress.c_export.fixed import Grid
from slt_compress.c_export.fixed_calls import FixedCalls
from slt_compress.c_export.kernels import fill
from slt_compress.c_export.literals import number
from slt_compress.c_export.network import Network, size
from slt_compress.c_export.stored_calls import StoredCalls
from slt_compress.c_export.values import Weights, stored_type
from slt_compress.tasks.record import CLASSIFICATION
from slt_compress.ticket.record import NetworkRecord
from slt_compress.ticket.ticket import Ticket

PROBES = 2  # inputs of the self-test
_PROBE_STREAM: tuple[prng.Purpose, str] = ("noise", "self-test")
_MOST_ON_STACK = 4096  # bytes of a probe; a larger one gets memory of its own
TOLERANCE = 1e-3  # of the largest output: another machine may round otherwise in every layer


@dataclass(frozen=True)
class Content:
    """What a file is written of.

    Attributes:
        network: the steps.
        weights: the masks and keys.
        record: what comments and names say.
        layout: of the codes: "rice", "gap" or "signs".
        main: whether the file has a program that reads one input from standard input.
        name: of the file, without its suffix.
        expected: outputs for `probes`, float32 (PROBES, outputs).
        grids: what the bytes of each tensor stand for, None where values are float32.
    """

    network: Network
    weights: Weights
    record: NetworkRecord
    layout: str
    main: bool
    name: str
    expected: npt.NDArray[np.float32]
    grids: Mapping[str, Grid] | None = None

    @property
    def ticket(self) -> Ticket:
        """What the weights are of."""
        return self.weights.ticket


@dataclass(frozen=True)
class Code:
    """The two files, and what they need.

    Attributes:
        source: text of the C file.
        header: text of its header.
        arena_bytes: static memory that is written to.
        bound_bytes: the most that has to be kept at one step: no plan of places takes less.
        table_bytes: constants.
    """

    source: str
    header: str
    arena_bytes: int
    bound_bytes: int
    table_bytes: int


def probes(ticket: Ticket, record: NetworkRecord) -> npt.NDArray[Any]:
    """Return the inputs of the self-test, as the C file makes them: uint8 (PROBES, size, size, channels), or float32
    (PROBES, …) in [-1, 1) where the network takes numbers.
    """
    count = size(record.inputs[0].shape)
    words = prng.words(ticket.seed, *_PROBE_STREAM, PROBES * count)
    if record.preprocessing:
        side, channels = record.preprocessing.size, record.preprocessing.channels
        return (words >> np.uint32(24)).astype(np.uint8).reshape(PROBES, side, side, channels)
    units = (words >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-23) - np.float32(1)
    return units.reshape(PROBES, *record.inputs[0].shape)


def write(content: Content) -> Code:
    """Return the text of a network."""
    given = content.network, content.weights, content.layout, content.record.preprocessing
    plain = StoredCalls if stored_type(content.ticket) else Calls
    calls = FixedCalls(*given, content.grids) if content.grids else plain(*given)
    arena = calls.places
    code = Code("", _header(content, 4 * arena.size), 4 * arena.size, 4 * arena.bound, calls.table_bytes)
    includes = "#include <stdio.h>\n\n" if content.main else ""
    kept = f"static {'int32_t' if content.grids else 'float'} slt_arena[{arena.size}];\n" if arena.size else ""
    lines = "".join(f"    {line}\n" for line in calls.lines)
    run = f"void slt_run(const {_input(content)} *input, float *outputs)\n{{\n{lines}}}\n"
    classify = fill(_CLASSIFY, input=_input(content)) if classifies(content.record) else ""
    parts = [_comment(content, code), f'{includes}#include "{content.name}.h"\n', _names(content)]
    parts += [*calls.text(), kept, run, classify, _selftest(content)]
    parts.append(_program(content) if content.main else "")
    source = "\n".join(part.strip("\n") + "\n" for part in parts if part)
    return Code(source, code.header, code.arena_bytes, code.bound_bytes, code.table_bytes)


def classifies(record: NetworkRecord) -> bool:
    """Return whether the largest output is the class."""
    return record.task.name == CLASSIFICATION


def string(text: str) -> str:
    """Return a text as a C string, in UTF-8, with everything escaped that could end it or stand for something else."""
    plain = "".join(
        chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\?' else f"\\{byte:03o}" for byte in text.encode()
    )
    return f'"{plain}"'


def _plain(text: str) -> str:
    """Return a text for a comment."""
    return "".join(character if " " <= character <= "~" and character not in "*/\\?" else "_" for character in text)


def _input(content: Content) -> str:
    return "uint8_t" if content.record.preprocessing else "float"


def _comment(content: Content, code: Code) -> str:
    record, stored = content.record, stored_type(content.ticket)
    values = f"their values as {stored}" if stored else "signs and values come from the seed"
    how = {
        "rice": f"the gaps between kept weights in a Rice code; {values}",
        "gap": f"a byte for each gap between kept weights; {values}",
        "signs": "a byte for each kept weight, with the gap before it and its sign",
    }
    return "\n".join(
        [
            f"/* {_plain(record.model)} for {_plain(record.dataset) or 'data of its own'}: a "
            f"{'sparse network' if stored else 'strong lottery ticket'}.",
            " *",
            f" * {content.ticket.kept} of {content.ticket.weight_count} weights are kept, "
            f"{'all trained and stored' if stored else 'none is stored'}. Seed {record.seed}, ticket "
            f"{_plain(record.ticket)}.",
            f" * Written by {_plain(content.ticket.tool)}. Any C99 compiler: cc -O2 -c {_plain(content.name)}.c",
            " *",
            f" * {code.arena_bytes} bytes of static memory are written to; {code.bound_bytes} have to be kept at once.",
            f" * {code.table_bytes} bytes of tables: {how[content.layout]}.",
            f" * Values are {'bytes, sums are whole numbers' if content.grids else 'single-precision numbers'}.",
            " * No heap, no library. One call at a time: the memory is shared by all of them.",
            " */",
        ]
    )


def _header(content: Content, arena_bytes: int) -> str:
    record, pixels = content.record, content.record.preprocessing
    guard = (
        "SLT_" + "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in content.name).upper()
    )
    lines = [f"#ifndef {guard}_H", f"#define {guard}_H", "", "#include <stdint.h>", ""]
    if pixels:
        lines += [f"#define SLT_HEIGHT {pixels.size}", f"#define SLT_WIDTH {pixels.size}"]
        lines += [f"#define SLT_CHANNELS {pixels.channels}"]
    lines += [f"#define SLT_INPUTS {size(record.inputs[0].shape)}", f"#define SLT_OUTPUTS {content.network.outputs}"]
    lines += [f"#define SLT_ARENA_BYTES {arena_bytes} /* static memory that is written to */", ""]
    lines += ["#ifdef __cplusplus", 'extern "C" {', "#endif", ""]
    if record.classes:
        lines += ["/* Names of the outputs, in UTF-8. */", "extern const char *const slt_class_names[SLT_OUTPUTS];", ""]
    if pixels:
        order = ", as bytes of red, green and blue" if pixels.channels == 3 else ""
        lines += [f"/* Computes the outputs for the pixels of an image, row by row from the top{order}. */"]
    else:
        lines += ["/* Computes the outputs for one input, in the order in which torch stores it. */"]
    lines += [f"void slt_run(const {_input(content)} *input, float *outputs);", ""]
    if classifies(record):
        lines += ["/* Does the same and returns the class: the index of the largest output. */"]
        lines += [f"int slt_classify(const {_input(content)} *input, float *outputs);", ""]
    lines += ["/* Returns for how many of a few inputs the outputs are not what they should be: 0 is right. */"]
    lines += ["int slt_selftest(void);", "", "#ifdef __cplusplus", "}", "#endif", "", "#endif", ""]
    return "\n".join(lines)


def _names(content: Content) -> str:
    if not content.record.classes:
        return ""
    names = "".join(f"    {string(name)},\n" for name in content.record.classes)
    return f"const char *const slt_class_names[SLT_OUTPUTS] = {{\n{names}}};\n"


_CLASSIFY = """
int slt_classify(const $input *input, float *outputs)
{
    int best = 0;
    slt_run(input, outputs);
    for (int i = 1; i < SLT_OUTPUTS; i++)
        if (outputs[i] > outputs[best])
            best = i;
    return best;
}
"""

_SELFTEST = """
int slt_selftest(void) /* on noise from the seed */
{
    $static$input probe[SLT_INPUTS];
    float outputs[SLT_OUTPUTS];
    int wrong = 0;
    for (uint32_t i = 0; i < $probes; i++) {
        for (uint32_t j = 0; j < SLT_INPUTS; j++) {
            const uint32_t word = slt_word(i * SLT_INPUTS + j, ${key0}U, ${key1}U);
            probe[j] = $value;
        }
        slt_run(probe, outputs);
        int right = 1;
        for (uint32_t j = 0; j < SLT_OUTPUTS; j++) {
            const float off = outputs[j] - slt_expected[i][j];
            if (!(off < $tolerance && off > -$tolerance))
                right = 0;
        }
        wrong += !right;
    }
    return wrong;
}
"""


def _selftest(content: Content) -> str:
    rows = "".join(f"    {{{', '.join(number(value) for value in row)}}},\n" for row in content.expected)
    table = f"static const float slt_expected[{PROBES}][SLT_OUTPUTS] = {{\n{rows}}};\n"
    largest = max(1.0, float(np.abs(content.expected).max(initial=0.0)))
    pixels = content.record.preprocessing
    key0, key1 = prng.stream_key(content.ticket.seed, *_PROBE_STREAM)
    bytes_of_probe = size(content.record.inputs[0].shape) * (1 if pixels else 4)
    return table + fill(
        _SELFTEST,
        static="static " if bytes_of_probe > _MOST_ON_STACK else "",
        input=_input(content),
        probes=str(PROBES),
        key0=f"{key0:#x}",
        key1=f"{key1:#x}",
        value="(uint8_t)(word >> 24)" if pixels else "(float)(word >> 8) / 8388608.0f - 1",
        tolerance=number(TOLERANCE * largest),
    )


_READ_IMAGE = """
static int slt_number(void) /* the next one of the header of a PGM or PPM file; -1 if there is none */
{
    int value = 0, digits = 0, c = getchar();
    for (; c == ' ' || c == '\\t' || c == '\\n' || c == '\\r' || c == '#'; c = getchar())
        if (c == '#')
            while (c != '\\n' && c != EOF)
                c = getchar();
    for (; c >= '0' && c <= '9' && value < 100000; c = getchar(), digits = 1)
        value = 10 * value + c - '0';
    return digits ? value : -1;
}

static int slt_read(uint8_t *image) /* 1 if standard input is an image of the right size */
{
    if (getchar() != 'P' || getchar() != '$kind')
        return 0;
    if (slt_number() != SLT_WIDTH || slt_number() != SLT_HEIGHT || slt_number() != 255)
        return 0;
    return fread(image, 1, SLT_INPUTS, stdin) == SLT_INPUTS;
}
"""

_READ_NUMBERS = """
static int slt_read(float *input) /* 1 if standard input has as many numbers as the network takes */
{
    for (uint32_t i = 0; i < SLT_INPUTS; i++)
        if (scanf("%f", &input[i]) != 1)
            return 0;
    return 1;
}
"""

_MAIN = """
int main(void) /* $what on standard input -> $answer on standard output */
{
    static $input input[SLT_INPUTS];
    float outputs[SLT_OUTPUTS];
    if (!slt_read(input)) {
        fprintf(stderr, "expected %s on standard input\\n", $expected);
        return 2;
    }
$print    for (int i = 0; i < SLT_OUTPUTS; i++)
        printf("%s%.6g", i ? " " : "", outputs[i]);
    printf("\\n");
    return 0;
}
"""


def _program(content: Content) -> str:
    record, pixels = content.record, content.record.preprocessing
    if pixels:
        kind, format_name = ("5", "PGM") if pixels.channels == 1 else ("6", "PPM")
        read = fill(_READ_IMAGE, kind=kind)
        what = f"a binary {format_name} image of {pixels.size} x {pixels.size} pixels with 255 levels"
    else:
        read, what = _READ_NUMBERS, f"{size(record.inputs[0].shape)} numbers"
    if classifies(record):
        name = "slt_class_names[found]" if record.classes else '""'
        show = f'    const int found = slt_classify(input, outputs);\n    printf("%d %s\\n", found, {name});\n'
    else:
        show = "    slt_run(input, outputs);\n"
    answer = "the class and the outputs" if classifies(record) else "the outputs"
    main = fill(_MAIN, what=what, answer=answer, input=_input(content), expected=string(what), print=show)
    return f"{read}{main}"
