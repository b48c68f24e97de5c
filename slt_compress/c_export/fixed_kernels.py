"""The C functions of files that compute in whole numbers, as templates, in place of those of `kernels` that differ.

`fixed` says what the bytes stand for. Right shifts of negative numbers are meant to round down, as every compiler for
processors of today has it; `slt_selftest` would notice one that does not.
"""

from slt_compress.c_export.kernels import POOL_WINDOW

OUTPUT = """
typedef struct { /* how the result of a step becomes bytes */
    uint32_t constants; /* where its multipliers and offsets begin */
    int32_t ratio;      /* of the second input's bytes to those of the result, in 65536ths */
    uint8_t from, added, to; /* which bytes stand for 0: in the input, in the second input, in the result */
    uint8_t low, high;  /* what the result is clipped to */
    uint8_t shift;
$fields} slt_output;
"""

STORE = """
static inline uint8_t slt_stored(const slt_output *output, int64_t value, const uint8_t *added)
{
    if (added)
        value += (int64_t)(*added - output->added) * output->ratio;
$slope    const int64_t stored = ((value + 32768) >> 16) + output->to;
    return (uint8_t)(stored < output->low ? output->low : stored > output->high ? output->high : stored);
}
"""

FINISH = """
static inline uint8_t slt_finish(const slt_output *output, uint32_t row, int32_t sum, const uint8_t *added)
{
    const int32_t *constants = slt_constants + output->constants + 2 * row;
    return slt_stored(output, (((int64_t)sum * constants[0]) >> output->shift) + constants[1], added);
}
"""

LINEAR = """
static void slt_linear(const slt_layer *layer, const slt_output *output, const uint8_t *x, const uint8_t *added,
                       uint8_t *y)
{
    slt_walk walk = slt_begin(layer);
    uint32_t start = 0;
    for (uint32_t row = 0; row < layer->rows; row++, start += layer->columns) {
        int32_t sum = 0;
$enter        for (; walk.place < start + layer->columns; slt_next(&walk)) {
            const int32_t value = x[walk.place - start] - output->from;
            sum += slt_negative(&walk) ? -value : value;
        }
        y[row] = slt_finish(output, row, sum, added ? added + row : 0);
    }
}
"""

LINEAR_OUTPUTS = """
static void slt_linear_outputs(const slt_layer *layer, uint8_t zero, const float (*scales)[2], const uint8_t *x,
                               float *y) /* the last layer: sums become numbers */
{
    slt_walk walk = slt_begin(layer);
    uint32_t start = 0;
    for (uint32_t row = 0; row < layer->rows; row++, start += layer->columns) {
        int32_t sum = 0;
$enter        for (; walk.place < start + layer->columns; slt_next(&walk)) {
            const int32_t value = x[walk.place - start] - zero;
            sum += slt_negative(&walk) ? -value : value;
        }
        y[row] = (float)sum * scales[row][0] + scales[row][1];
    }
}
"""

FINISH_PLANE = """        for (uint32_t i = 0; i < area; i++)
            $target = slt_finish(output, row, plane[i], added ? added + row * area + i : 0);
"""

POOL = (
    """
static void slt_pool$of(const slt_pooling *pooling, const $input *x, uint8_t *y) /* one plane; y may be x */
{
"""
    + POOL_WINDOW
    + """            int32_t largest = 0, sum = 0;
            for (int32_t i = first[0]; i < end[0]; i++)
                for (int32_t j = first[1]; j < end[1]; j++) {
                    const int32_t value = x[i * pooling->size[1] + j];
                    sum += value - pooling->from;
                    if (value > largest)
                        largest = value;
                }
            const int32_t count = pooling->whole ? pooling->kernel[0] * pooling->kernel[1]
                                                 : (end[0] - first[0]) * (end[1] - first[1]);
            if (pooling->mean) {
                const int64_t mean = (((int64_t)sum * pooling->ratio / count + 32768) >> 16) + pooling->to;
                largest = mean < 0 ? 0 : mean > 255 ? 255 : (int32_t)mean;
            }
            *y++ = (uint8_t)largest;
        }
}
"""
)

POOLING_FIELDS = """    uint8_t from, to; /* which bytes stand for 0: before and after */
    int32_t ratio;    /* of the bytes before to those after, in 65536ths */
"""

AFFINE = """
static void slt_affine(const slt_output *output, uint32_t channels, uint32_t area, const uint8_t *x, uint8_t *y)
{
    for (uint32_t channel = 0; channel < channels; channel++)
        for (uint32_t i = 0; i < area; i++, x++)
            *y++ = slt_finish(output, channel, *x - output->from, 0);
}
"""

SUM = """
static void slt_sum(const slt_output *output, uint32_t count, int32_t ratio, const uint8_t *a, const uint8_t *b,
                    uint8_t *y)
{
    for (uint32_t i = 0; i < count; i++)
        y[i] = slt_stored(output, (int64_t)(a[i] - output->from) * ratio, b + i);
}
"""

PREPARE_PIXELS = """
static void slt_prepare(const uint8_t *image, uint8_t *y) /* pixels -> bytes of planes */
{
    for (uint32_t channel = 0; channel < SLT_CHANNELS; channel++)
        for (uint32_t i = 0; i < SLT_HEIGHT * SLT_WIDTH; i++) {
            const int32_t value = (image[i * SLT_CHANNELS + channel] * slt_pixel_scale[channel] +
                                   slt_pixel_shift[channel] + 32768) >> 16;
            *y++ = (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
        }
}
"""

PREPARE_NUMBERS = """
static void slt_prepare(const float *numbers, uint8_t *y) /* numbers -> bytes */
{
    for (uint32_t i = 0; i < SLT_INPUTS; i++) {
        const float value = numbers[i] * $scale + $shift;
        y[i] = (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
    }
}
"""

RESTORE = """
static void slt_restore(uint32_t count, uint8_t zero, float step, const uint8_t *x, float *y) /* bytes -> numbers */
{
    for (uint32_t i = 0; i < count; i++)
        y[i] = (float)(x[i] - zero) * step;
}
"""
