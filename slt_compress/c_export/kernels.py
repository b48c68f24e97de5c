"""The C functions of an exported file, as templates. A file gets those that its network calls.

Every function walks over the kept weights of a layer in the order of its codes: `slt_begin`, then `slt_next` for as
long as `place`, the index of the weight in its tensor, is in the row that is wanted. The value of a weight is made when
it is used, from its place and the two keys of its tensor, as docs/ticket-format.md defines it. Nothing is kept of it.

A linear layer sums a row for each output. A convolution adds, for each kept weight, a plane of its input to the plane
of the sums of an output channel, moved by the weight's place in the kernel: so each weight is made once an image.
"""

from string import Template

TYPES = """
typedef struct { /* a layer with weights */
    uint32_t code;    /* where its codes begin in slt_codes */
    uint32_t rows;    /* output channels */
    uint32_t columns; /* weights of one of them */
$fields} slt_layer;
"""

WINDOW = """
typedef struct { /* how the kernel of a convolution slides, in pixels: {along the height, along the width} */
    uint16_t channels, rows; /* of the input and of the output, in a group */
    uint16_t size[2], result[2];
    uint16_t kernel[2], stride[2], before[2], dilation[2];
} slt_window;
"""

POOLING = """
typedef struct { /* how windows of a pooling slide, as in slt_window */
    uint16_t size[2], result[2];
    uint16_t kernel[2], stride[2], before[2];
    uint8_t mean;  /* else the largest value */
    uint8_t whole; /* whether a mean counts the padding */
$fields} slt_pooling;
"""

MIX = """
/* The word of this index of the generator hash32x2. */
static uint32_t slt_mix(uint32_t x)
{
    x = (x ^ x >> 16) * 0x21f0aaadU;
    x = (x ^ x >> 15) * 0x735a2d97U;
    return x ^ x >> 15;
}

static uint32_t slt_word(uint32_t index, uint32_t key0, uint32_t key1)
{
    return slt_mix(slt_mix(index + key0) ^ key1);
}
"""

WALK = """
typedef struct { /* a place in the codes of a layer */
    const uint8_t *code;
    uint32_t place; /* index of the weight */
$fields} slt_walk;
"""

NEXT = {
    "rice": """
static inline uint32_t slt_load(const uint8_t *code)
{
    return (uint32_t)code[0] | (uint32_t)code[1] << 8 | (uint32_t)code[2] << 16 | (uint32_t)code[3] << 24;
}

static inline void slt_next(slt_walk *walk)
{
    while (!walk->ones) {
        walk->passed -= 32;
        walk->ones = slt_load(walk->unary);
        walk->unary += $every;
    }
#if defined(__GNUC__) && !defined(__ARM_ARCH_6M__)
    const uint32_t bit = (uint32_t)__builtin_ctz(walk->ones);
#else
    uint32_t bit = walk->passed > 32 ? 0 : walk->passed;
    while (!(walk->ones >> bit & 1))
        bit++;
#endif
    const uint32_t low = slt_load(walk->code + (walk->bit >> 3)) >> (walk->bit & 7);
    walk->place += 1 + ((bit - walk->passed) << walk->k) + (low & ((1U << walk->k) - 1));
    walk->passed = bit + 1;
    walk->ones &= walk->ones - 1;
    walk->bit += walk->k;
$step}
""",
    "gap": """
static inline void slt_next(slt_walk *walk)
{
    uint32_t gap = $ahead;
    for (; gap == 255; gap = *walk->code++)
        walk->place += 255;
    walk->place += 1 + gap;
$step}
""",
    "signs": """
static inline void slt_next(slt_walk *walk)
{
    uint32_t gap = $ahead;
    for (; gap == 254; gap = *walk->code++)
        walk->place += 127;
    walk->place += 1 + (gap >> 1);
    walk->negative = gap & 1;
$step}
""",
}

# Fields of the walk and what they begin with: those of the layouts, and those of weights that the seed gives.
WALK_FIELDS = {
    "rice": (
        "    const uint8_t *unary; /* what follows of the unary parts */\n"
        "    uint32_t ones;        /* of a word of them, those that have not been read */\n"
        "    uint32_t passed;      /* bits of it that have been read; below 0 where these are of words before */\n"
        "    uint32_t bit, k;      /* place of the low bits of a gap, and how many they are */\n",
        ", slt_codes + layer->code, 0, 32, 0, layer->k",
    ),
    "gap": ("", ""),
    "signs": ("    uint32_t negative;\n", ", 0"),
}
# How a walk reads on: by the bytes of a gap, or as the layer says, where all weights of some are kept: by 0 for those.
READS = {"rice": ("", "4"), "gap": ("*walk->code++", ""), "signs": ("*walk->code++", "")}
READS_EVERY = {"rice": ("", "walk->every"), "gap": ("*walk->code;\n    walk->code += walk->every", "")}
EVERY_FIELDS = ("    uint32_t every; /* bytes from one gap to the next */\n", ", layer->every")
KEY_FIELDS = ("    uint32_t key0, key1;\n", ", layer->key0, layer->key1")

BEGIN = """
static inline slt_walk slt_begin(const slt_layer *layer)
{
    slt_walk walk = {slt_codes + layer->$code, 0xffffffffU$values};
    slt_next(&walk);
    return walk;
}
"""

STORED_NEGATIVE = """
static inline uint32_t slt_negative(const slt_walk *walk)
{
    return walk->negative;
}
"""

# What the seed gives for a weight. To keep a word, which has 32 signs, for the next pays where all weights are kept.
WORD_FIELDS = ("    uint32_t word, at; /* the last word of signs, and its index */\n", ", 0, 0xffffffffU")
VALUES = {
    "kept signs": """
static inline uint32_t slt_negative(slt_walk *walk)
{
    const uint32_t index = $index;
    if (index >> 5 != walk->at)
        walk->word = slt_word(walk->at = index >> 5, walk->key0, walk->key1);
    return walk->word >> (index & 31) & 1;
}
""",
    "signs": """
static inline uint32_t slt_negative($walk *walk)
{
    const uint32_t index = $index;
    return slt_word(index >> 5, walk->key0, walk->key1) >> (index & 31) & 1;
}
""",
    "uniform": """
static inline float slt_value($walk *walk) /* uniform in (-1, 1) */
{
    const uint32_t word = slt_word($index, walk->key0, walk->key1);
    return (float)((int32_t)(2 * (word >> 8)) + 1 - 16777216) / 16777216.0f;
}
""",
    "normal": """
static inline float slt_value($walk *walk) /* standard normal, by 2048 straight pieces */
{
    const uint32_t word = slt_word($index, walk->key0, walk->key1), piece = word >> 20 & 2047;
    const int64_t low = slt_knots[piece], high = slt_knots[piece + 1];
    const float value = (float)(low * 1048576 + (high - low) * (int64_t)(word & 1048575)) / 68719476736.0f;
    return word >> 31 ? -value : value;
}
""",
}

CLIP = """
static inline float slt_clip(float value, float low, float high)
{
    return value < low ? low : value > high ? high : value;
}
"""

FINISH = """
static inline float slt_finish(const slt_layer *layer, uint32_t row, float sum, const float *added)
{
    const float *constants = slt_constants + layer->constants + 2 * row;
    float value = sum * constants[0] + constants[1];
    if (added)
        value += *added;
$slope    return slt_clip(value, layer->low, layer->high);
}
"""

LINEAR = """
static void slt_linear(const slt_layer *layer, const float *x, const float *added, float *y)
{
    slt_walk walk = slt_begin(layer);
    uint32_t start = 0;
    for (uint32_t row = 0; row < layer->rows; row++, start += layer->columns) {
        float sum = 0;
$enter        for (; walk.place < start + layer->columns; slt_next(&walk))
            sum += $term;
        y[row] = slt_finish(layer, row, sum, added ? added + row : 0);
    }
}
"""

# Sums of pixels as they are: their scale is multiplied once a row and channel, and their shift is in the offset of the
# row. With weights of one magnitude, the sums are whole numbers.
LINEAR_PIXELS = """
static void slt_linear_pixels(const slt_layer *layer, const uint8_t *image, float *y)
{
    slt_walk walk = slt_begin(layer);
    uint32_t start = 0;
    for (uint32_t row = 0; row < layer->rows; row++) {
        float sum = 0;
$enter        for (uint32_t channel = 0; channel < SLT_CHANNELS; channel++, start += SLT_HEIGHT * SLT_WIDTH) {
            $sum pixels = 0;
            for (; walk.place < start + SLT_HEIGHT * SLT_WIDTH; slt_next(&walk)) {
                const $sum pixel = image[(walk.place - start) * SLT_CHANNELS + channel];
                pixels += $term;
            }
            sum += slt_pixel_scale[channel] * (float)pixels;
        }
        y[row] = slt_finish(layer, row, sum, 0);
    }
}
"""

# A row of the input, added to a row of the sums.
ADD_ROW = """
static void slt_$verb$of($sum *restrict sums, const $input *restrict x, int32_t count, int32_t step$arguments)
{
    if (step == 1)
        for (int32_t i = 0; i < count; i++)
            sums[i] $operator $unit;
    else
        for (int32_t i = 0; i < count; i++)
            sums[i] $operator $strided;
}
"""

CONVOLUTION = """
static void slt_convolution$of(const slt_layer *layer, ${output_argument}const slt_window *window, const $input *x,
                            const $value *added, $sum *plane, $value *y$pooling_argument)
{
    slt_walk walk = slt_begin(layer);
    const uint32_t taps = (uint32_t)window->kernel[0] * window->kernel[1];
    const uint32_t area = (uint32_t)window->result[0] * window->result[1];
    uint32_t start = 0;
    for (uint32_t row = 0; row < layer->rows; row++, start += layer->columns) {
        $sum *sums = $sums;
        for (uint32_t i = 0; i < area; i++)
            sums[i] = 0;
$enter        for (; walk.place < start + layer->columns; slt_next(&walk)) {
            const uint32_t tap = walk.place - start;
            const uint32_t channel = tap / taps + row / window->rows * window->channels;
            const int32_t at[2] = {(int32_t)(tap % taps / window->kernel[1]), (int32_t)(tap % window->kernel[1])};
            int32_t move[2], first[2], end[2]; /* rows and columns of the sums that the weight reaches */
            for (int axis = 0; axis < 2; axis++) {
                const int32_t stride = window->stride[axis];
                move[axis] = at[axis] * window->dilation[axis] - window->before[axis];
                first[axis] = move[axis] < 0 ? (stride - 1 - move[axis]) / stride : 0;
                end[axis] = window->size[axis] > move[axis] ? (window->size[axis] - 1 - move[axis]) / stride + 1 : 0;
                if (end[axis] > window->result[axis])
                    end[axis] = window->result[axis];
            }
            const int32_t count = end[1] - first[1], left = first[1] * window->stride[1] + move[1];
            if (count < 1)
                continue;
$weight            for (int32_t i = first[0]; i < end[0]; i++) {
                const int32_t above = i * window->stride[0] + move[0];
                $sum *to = sums + i * window->result[1] + first[1];
                const $input *from = x + $from;
$call            }
        }
$finish    }
}
"""
FINISH_POOLED = """        if (!pooling) {
            for (uint32_t i = 0; i < area; i++)
                y[row * area + i] = slt_finish(layer, row, sums[i], added ? added + row * area + i : 0);
            continue;
        }
        for (uint32_t i = 0; i < area; i++)
            sums[i] = slt_finish(layer, row, sums[i], added ? added + row * area + i : 0);
        slt_pool(pooling, sums, y + row * pooling->result[0] * pooling->result[1]);
"""
FINISH_UNPOOLED = """        for (uint32_t i = 0; i < area; i++)
            y[row * area + i] = slt_finish(layer, row, sums[i], added ? added + row * area + i : 0);
"""

POOL_WINDOW = """    for (int32_t row = 0; row < pooling->result[0]; row++)
        for (int32_t column = 0; column < pooling->result[1]; column++) {
            const int32_t at[2] = {row, column};
            int32_t first[2], end[2];
            for (int axis = 0; axis < 2; axis++) {
                first[axis] = at[axis] * pooling->stride[axis] - pooling->before[axis];
                end[axis] = first[axis] + pooling->kernel[axis];
                if (first[axis] < 0)
                    first[axis] = 0;
                if (end[axis] > pooling->size[axis])
                    end[axis] = pooling->size[axis];
            }
"""  # what a pooling sees at each place: rows and columns from `first` to before `end`

POOL = (
    """
static void slt_pool(const slt_pooling *pooling, const float *x, float *y) /* one plane; y may be x */
{
"""
    + POOL_WINDOW
    + """            float largest = x[first[0] * pooling->size[1] + first[1]], sum = 0;
            for (int32_t i = first[0]; i < end[0]; i++)
                for (int32_t j = first[1]; j < end[1]; j++) {
                    const float value = x[i * pooling->size[1] + j];
                    sum += value;
                    if (value > largest)
                        largest = value;
                }
            const int32_t count = pooling->whole ? pooling->kernel[0] * pooling->kernel[1]
                                                 : (end[0] - first[0]) * (end[1] - first[1]);
            *y++ = pooling->mean ? sum / (float)count : largest;
        }
}
"""
)

POOLS = """
static void slt_pools(const slt_pooling *pooling, uint32_t channels, const $value *x, $value *y)
{
    for (uint32_t channel = 0; channel < channels; channel++) {
        slt_pool(pooling, x, y);
        x += pooling->size[0] * pooling->size[1];
        y += pooling->result[0] * pooling->result[1];
    }
}
"""

AFFINE = """
static void slt_affine(uint32_t constants, uint32_t channels, uint32_t area, float low, float high, float slope,
                       const float *x, float *y)
{
    for (uint32_t channel = 0; channel < channels; channel++, constants += 2)
        for (uint32_t i = 0; i < area; i++) {
            const float value = *x++ * slt_constants[constants] + slt_constants[constants + 1];
            *y++ = slt_clip(value < 0 ? value * slope : value, low, high);
        }
}
"""

SUM = """
static void slt_sum(uint32_t count, float low, float high, float slope, const float *a, const float *b, float *y)
{
    for (uint32_t i = 0; i < count; i++) {
        const float value = a[i] + b[i];
        y[i] = slt_clip(value < 0 ? value * slope : value, low, high);
    }
}
"""

GRID = """
typedef struct { /* {channels, rows, columns} */
    uint16_t size[3], start[3], every[3], grid[3], before[3], result[3];
} slt_grid;
"""

PLACE = """
static void slt_place(const slt_grid *grid, const $value *x, $value *y$argument) /* every n-th value, within zeros */
{
    for (uint32_t i = 0; i < (uint32_t)grid->result[0] * grid->result[1] * grid->result[2]; i++)
        y[i] = $zero;
    for (uint32_t c = 0; c < grid->grid[0]; c++)
        for (uint32_t i = 0; i < grid->grid[1]; i++)
            for (uint32_t j = 0; j < grid->grid[2]; j++) {
                const uint32_t from[3] = {grid->start[0] + c * grid->every[0], grid->start[1] + i * grid->every[1],
                                          grid->start[2] + j * grid->every[2]};
                y[((grid->before[0] + c) * grid->result[1] + grid->before[1] + i) * grid->result[2] +
                  grid->before[2] + j] = x[(from[0] * grid->size[1] + from[1]) * grid->size[2] + from[2]];
            }
}
"""

PREPARE = """
static void slt_prepare(const uint8_t *image, float *y) /* pixels -> normalised planes */
{
    for (uint32_t channel = 0; channel < SLT_CHANNELS; channel++)
        for (uint32_t i = 0; i < SLT_HEIGHT * SLT_WIDTH; i++)
            *y++ = (float)image[i * SLT_CHANNELS + channel] * slt_pixel_scale[channel] + slt_pixel_shift[channel];
}
"""


def fill(template: str, **values: str) -> str:
    """Return a template with its placeholders filled. Raises KeyError for one without a value."""
    return Template(template).substitute(values)
