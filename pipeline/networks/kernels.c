// Pooling, ReLU and normalisation of channels-last maps, and their ways back. Compiled once for the
// machine at hand; see compiled.py.
//
// Values are compared as signed integers, which order floats as floats do once those below zero have
// their other bits turned. NaN counts as the largest. The way forward keeps, for each value, which
// place of its window it came from, in 8 bits; the way back gathers, so that each thread writes its
// own rows, adds in float32 and rounds once: equal bytes on any number of threads.

#include <math.h>
#include <stdint.h>
#include <string.h>

// Channels at a time, whose sums and places stay in the first cache. At 64, poolings take 1.1 to 1.25
// times as long.
#define BLOCK 256
#define NOWHERE 255 // the place of a value that passes no gradient on

typedef struct {
    int64_t images, channels, height, width;   // of the map that is pooled
    int64_t pooled_height, pooled_width;
    int64_t kernel_y, kernel_x, stride_y, stride_x, padding_y, padding_x;
} Shape;

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

static inline float from_float32(int32_t bits) {
    float value;
    memcpy(&value, &bits, 4);
    return value;
}
static inline int32_t to_float32(float value) {
    int32_t bits;
    memcpy(&bits, &value, 4);
    return bits;
}
static inline float from_bfloat16(int16_t bits) { return from_float32((int32_t)((uint32_t)(uint16_t)bits << 16)); }
static inline int16_t to_bfloat16(float value) {
    uint32_t bits = (uint32_t)to_float32(value);
    uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16; // to nearest, ties to even
    return (int16_t)(uint16_t)((bits & 0x7fffffff) > 0x7f800000 ? 0x7fc0 : rounded);
}

// POOLS(name, T, LARGEST, INFINITE): both ways for maps of the float type `name` in the bits of T.
#define POOLS(name, T, LARGEST, INFINITE)                                                           \
    static inline T order_##name(T bits) {                                                          \
        T turned = bits ^ ((T)(bits >> (8 * sizeof(T) - 1)) & LARGEST);                             \
        return (T)(bits & LARGEST) > INFINITE ? LARGEST : turned;                                   \
    }                                                                                               \
                                                                                                    \
    /* `x` (N, H, W, C) pooled into `y` (N, h, w, C), with the place in each window in `where`. If  \
       `rectified`, a value of 0 or less passes no gradient on: the way back goes through the ReLU  \
       of which `x` is the output. */                                                               \
    void pool_##name(const T *restrict x, T *restrict y, uint8_t *restrict where,                   \
                     const Shape *restrict s, int rectified, int threads) {                         \
        const int64_t rows = s->images * s->pooled_height, channels = s->channels;                  \
        _Pragma("omp parallel for num_threads(threads) schedule(static)")                           \
        for (int64_t row = 0; row < rows; row++) {                                                  \
            const int64_t image = row / s->pooled_height, oy = row % s->pooled_height;              \
            const int64_t top = oy * s->stride_y - s->padding_y;                                    \
            const int64_t y0 = most(top, 0), y1 = least(top + s->kernel_y, s->height);              \
            for (int64_t ox = 0; ox < s->pooled_width; ox++) {                                      \
                const int64_t left = ox * s->stride_x - s->padding_x;                               \
                const int64_t x0 = most(left, 0), x1 = least(left + s->kernel_x, s->width);         \
                const int64_t out = (row * s->pooled_width + ox) * channels;                        \
                for (int64_t c = 0; c < channels; c += BLOCK) {                                     \
                    const int64_t count = least(BLOCK, channels - c);                               \
                    T best[BLOCK], at[BLOCK];                                                       \
                    const T lowest = (T)(-LARGEST - 1);                                             \
                    const T first = (T)((y0 - top) * s->kernel_x + x0 - left);                      \
                    for (int64_t i = 0; i < count; i++) best[i] = lowest, at[i] = first;            \
                    for (int64_t iy = y0; iy < y1; iy++)                                            \
                        for (int64_t ix = x0; ix < x1; ix++) {                                      \
                            const T place = (T)((iy - top) * s->kernel_x + ix - left);              \
                            const T *from = x + ((image * s->height + iy) * s->width + ix)          \
                                                    * channels + c;                                 \
                            for (int64_t i = 0; i < count; i++) {                                   \
                                const T value = order_##name(from[i]);                              \
                                at[i] = value > best[i] ? place : at[i];                            \
                                best[i] = value > best[i] ? value : best[i];                        \
                            }                                                                       \
                        }                                                                           \
                    for (int64_t i = 0; i < count; i++) {                                           \
                        y[out + c + i] = order_##name(best[i]);                                     \
                        where[out + c + i] = (uint8_t)(rectified && best[i] <= 0 ? NOWHERE : at[i]);\
                    }                                                                               \
                }                                                                                   \
            }                                                                                       \
        }                                                                                           \
    }                                                                                               \
                                                                                                    \
    /* The gradient `into` (N, H, W, C) of the gradient `g` (N, h, w, C) of the pooled map, with    \
       `beside` (N, H, W, C) added unless it is NULL; it may be `into` itself. */                   \
    void unpool_##name(const T *g, const uint8_t *restrict where, const T *beside, T *into,         \
                       const Shape *restrict s, int threads) {                                      \
        const int64_t rows = s->images * s->height, channels = s->channels;                         \
        _Pragma("omp parallel for num_threads(threads) schedule(static)")                           \
        for (int64_t row = 0; row < rows; row++) {                                                  \
            const int64_t image = row / s->height, iy = row % s->height + s->padding_y;             \
            const int64_t y0 = iy < s->kernel_y ? 0 : (iy - s->kernel_y) / s->stride_y + 1;         \
            const int64_t y1 = least(iy / s->stride_y + 1, s->pooled_height);                       \
            for (int64_t column = 0; column < s->width; column++) {                                 \
                const int64_t ix = column + s->padding_x;                                           \
                const int64_t x0 = ix < s->kernel_x ? 0 : (ix - s->kernel_x) / s->stride_x + 1;     \
                const int64_t x1 = least(ix / s->stride_x + 1, s->pooled_width);                    \
                const int64_t out = (row * s->width + column) * channels;                           \
                for (int64_t c = 0; c < channels; c += BLOCK) {                                     \
                    const int64_t count = least(BLOCK, channels - c);                               \
                    float sums[BLOCK];                                                              \
                    for (int64_t i = 0; i < count; i++) sums[i] = 0;                                \
                    if (beside)                                                                     \
                        for (int64_t i = 0; i < count; i++)                                         \
                            sums[i] = from_##name(beside[out + c + i]);                             \
                    for (int64_t oy = y0; oy < y1; oy++)                                            \
                        for (int64_t ox = x0; ox < x1; ox++) {                                      \
                            const uint8_t place = (uint8_t)((iy - oy * s->stride_y) * s->kernel_x   \
                                                            + ix - ox * s->stride_x);               \
                            const int64_t at = ((image * s->pooled_height + oy) * s->pooled_width   \
                                                + ox) * channels + c;                               \
                            const uint8_t *came = where + at;                                       \
                            const T *from = g + at;                                                 \
                            for (int64_t i = 0; i < count; i++)                                     \
                                sums[i] += came[i] == place ? from_##name(from[i]) : 0.0f;          \
                        }                                                                           \
                    for (int64_t i = 0; i < count; i++)                                             \
                        into[out + c + i] = to_##name(sums[i]);                                     \
                }                                                                                   \
            }                                                                                       \
        }                                                                                           \
    }

POOLS(bfloat16, int16_t, 0x7fff, 0x7f80)
POOLS(float32, int32_t, 0x7fffffff, 0x7f800000)

// GATE(name, T): `g` where `y` is above 0, and 0 elsewhere, in the bits of T: the way back through a
// ReLU whose output was `y`. Each place's channels lie together; the places, so many values apart.
#define GATE(name, T)                                                                               \
    void gate_##name(const T *g, int64_t g_apart, const T *y, int64_t y_apart, T *into,             \
                     int64_t into_apart, int64_t places, int64_t channels, int threads) {           \
        _Pragma("omp parallel for num_threads(threads) schedule(static)")                           \
        for (int64_t place = 0; place < places; place++) {                                          \
            const T *restrict from = g + place * g_apart, *restrict at = y + place * y_apart;       \
            T *restrict to = into + place * into_apart;                                             \
            for (int64_t c = 0; c < channels; c++) to[c] = at[c] > 0 ? from[c] : 0;                 \
        }                                                                                           \
    }

GATE(bfloat16, int16_t)
GATE(float32, int32_t)

// AVERAGES(name, T): the gradient `into` (N, H, W, C) of the gradient `g` (N, h, w, C) of an average
// pooling without padding, whose windows end with the map.
#define AVERAGES(name, T)                                                                           \
    void unaverage_##name(const T *restrict g, T *restrict into, const Shape *restrict s,           \
                          int threads) {                                                            \
        const int64_t rows = s->images * s->height, channels = s->channels;                         \
        _Pragma("omp parallel for num_threads(threads) schedule(static)")                           \
        for (int64_t row = 0; row < rows; row++) {                                                  \
            const int64_t image = row / s->height, iy = row % s->height;                            \
            const int64_t y0 = iy < s->kernel_y ? 0 : (iy - s->kernel_y) / s->stride_y + 1;         \
            const int64_t y1 = least(iy / s->stride_y + 1, s->pooled_height);                       \
            for (int64_t ix = 0; ix < s->width; ix++) {                                             \
                const int64_t x0 = ix < s->kernel_x ? 0 : (ix - s->kernel_x) / s->stride_x + 1;     \
                const int64_t x1 = least(ix / s->stride_x + 1, s->pooled_width);                    \
                for (int64_t c = 0; c < channels; c += BLOCK) {                                     \
                    const int64_t count = least(BLOCK, channels - c);                               \
                    float sums[BLOCK];                                                              \
                    for (int64_t i = 0; i < count; i++) sums[i] = 0;                                \
                    for (int64_t oy = y0; oy < y1; oy++)                                            \
                        for (int64_t ox = x0; ox < x1; ox++) {                                      \
                            const int64_t down = least(s->kernel_y, s->height - oy * s->stride_y);  \
                            const int64_t across = least(s->kernel_x, s->width - ox * s->stride_x); \
                            const float share = 1.0f / (float)(down * across);                      \
                            const T *from = g + ((image * s->pooled_height + oy) * s->pooled_width  \
                                                 + ox) * channels + c;                              \
                            for (int64_t i = 0; i < count; i++)                                     \
                                sums[i] += share * from_##name(from[i]);                            \
                        }                                                                           \
                    for (int64_t i = 0; i < count; i++)                                             \
                        into[(row * s->width + ix) * channels + c + i] = to_##name(sums[i]);        \
                }                                                                                   \
            }                                                                                       \
        }                                                                                           \
    }

AVERAGES(bfloat16, int16_t)
AVERAGES(float32, int32_t)

// RESPONSES(name, T): local response normalisation across `channels`, at most MOST_CHANNELS, with
// `reach` neighbours on each side, and its way back from the gradient `g`, which reads `x` again.
#define MOST_CHANNELS 1024
#define RESPONSES(name, T)                                                                          \
    static void scales_##name(const T *restrict x, float *restrict values, float *restrict sums,    \
                              int64_t channels, int64_t reach, float share) {                       \
        float squares[MOST_CHANNELS + 32];                                                          \
        for (int64_t c = 0; c < reach; c++) squares[c] = squares[channels + reach + c] = 0;         \
        for (int64_t c = 0; c < channels; c++) {                                                    \
            values[c] = from_##name(x[c]);                                                          \
            squares[c + reach] = values[c] * values[c];                                             \
        }                                                                                           \
        for (int64_t c = 0; c < channels; c++) sums[c] = 0;                                         \
        for (int64_t n = 0; n <= 2 * reach; n++)                                                    \
            for (int64_t c = 0; c < channels; c++) sums[c] += squares[c + n];                       \
        for (int64_t c = 0; c < channels; c++) sums[c] = 1.0f + share * sums[c];                    \
    }                                                                                               \
                                                                                                    \
    void respond_##name(const T *restrict x, T *restrict y, int64_t places, int64_t channels,       \
                        int64_t reach, float share, int threads) {                                  \
        _Pragma("omp parallel for num_threads(threads) schedule(static)")                           \
        for (int64_t place = 0; place < places; place++) {                                          \
            float values[MOST_CHANNELS], sums[MOST_CHANNELS];                                       \
            scales_##name(x + place * channels, values, sums, channels, reach, share);              \
            for (int64_t c = 0; c < channels; c++) {                                                \
                const float root = sqrtf(sums[c]);                                                  \
                y[place * channels + c] = to_##name(values[c] / (root * sqrtf(root)));              \
            }                                                                                       \
        }                                                                                           \
    }                                                                                               \
                                                                                                    \
    void unrespond_##name(const T *restrict g, const T *restrict x, T *restrict into,               \
                          int64_t places, int64_t channels, int64_t reach, float share,             \
                          int threads) {                                                            \
        _Pragma("omp parallel for num_threads(threads) schedule(static)")                           \
        for (int64_t place = 0; place < places; place++) {                                          \
            float values[MOST_CHANNELS], sums[MOST_CHANNELS], straight[MOST_CHANNELS];              \
            float pulls[MOST_CHANNELS + 32], around[MOST_CHANNELS];                                 \
            scales_##name(x + place * channels, values, sums, channels, reach, share);              \
            for (int64_t c = 0; c < reach; c++) pulls[c] = pulls[channels + reach + c] = 0;         \
            for (int64_t c = 0; c < channels; c++) {                                                \
                const float root = sqrtf(sums[c]);                                                  \
                straight[c] = from_##name(g[place * channels + c]) / (root * sqrtf(root));          \
                pulls[c + reach] = straight[c] * values[c] / sums[c];                               \
                around[c] = 0;                                                                      \
            }                                                                                       \
            for (int64_t n = 0; n <= 2 * reach; n++)                                                \
                for (int64_t c = 0; c < channels; c++) around[c] += pulls[c + n];                   \
            for (int64_t c = 0; c < channels; c++)                                                  \
                into[place * channels + c] =                                                        \
                    to_##name(straight[c] - 1.5f * share * values[c] * around[c]);                  \
        }                                                                                           \
    }

RESPONSES(bfloat16, int16_t)
RESPONSES(float32, int32_t)
