// Images resampled, blurred and measured in one pass each. Compiled once for the machine at hand; see
// compiled.py.
//
// Images are float32 with their channels last: (H, W, C). Each value of a result is computed by one
// thread in one order, so that any number of threads gives equal bytes.

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef float Four __attribute__((vector_size(16), aligned(4), may_alias));
typedef float Eight __attribute__((vector_size(32), aligned(4), may_alias));

static inline int64_t within(int64_t at, int64_t count) {
    return at < 0 ? 0 : at < count ? at : count - 1;
}

// The 16 places around a point, edges repeated: those of a row, and the rows' first places; and their
// weights, a row each. `inner` tells that each row's places lie side by side.
typedef struct {
    int64_t columns[4], rows[4];
    Four weights[4];
    int inner;
} Around;

// The weights of the cubic filter (a = -0.75) for a point that lies `t` past the second of four places.
static inline Four cubic(float t) {
    const float a = -0.75f;
    const Four away = {1 + t, t, 1 - t, 2 - t}, third = {a, a + 2, a + 2, a};
    const Four second = {-5 * a, -(a + 3), -(a + 3), -5 * a}, first = {8 * a, 0, 0, 8 * a};
    const Four constant = {-4 * a, 1, 1, -4 * a};
    return ((third * away + second) * away + first) * away + constant;
}

// What is around the point (x, y), in pixels; weighed by two parts of the cubic filter and one of the
// linear.
static inline Around around(float x, float y, int64_t height, int64_t width) {
    x = x > -4 ? (x < width + 3 ? x : width + 3) : -4; // NaN becomes -4
    y = y > -4 ? (y < height + 3 ? y : height + 3) : -4;
    const float left = floorf(x), top = floorf(y), tx = x - left, ty = y - top;
    const int64_t column = (int64_t)left - 1, row = (int64_t)top - 1;
    const Four across = cubic(tx), down = cubic(ty), near = {0, 1 - tx, tx, 0};
    const Four near_down = {0, 1 - ty, ty, 0};
    Around found;
    found.inner = column >= 0 && column + 3 < width;
    for (int i = 0; i < 4; i++) {
        found.columns[i] = within(column + i, width);
        found.rows[i] = within(row + i, height) * width;
        found.weights[i] = (2.0f / 3 * down[i]) * across + (1.0f / 3 * near_down[i]) * near;
    }
    return found;
}

// SAMPLES(name, T, LANES): the weighed sum of the places `a` of an `image` of at most LANES channels.
// The last value from which LANES may be read is `last`.
#define SAMPLES(name, T, LANES)                                                                     \
    static inline T sum_##name(const float *image, const float *last, int64_t channels,            \
                               const Around *restrict a) {                                          \
        T sum = {0};                                                                                \
        for (int i = 0; i < 4; i++)                                                                 \
            for (int j = 0; j < 4; j++) {                                                           \
                const float *from = image + (a->rows[i] + a->columns[j]) * channels;                \
                T values = {0};                                                                     \
                if (from <= last) values = *(const T *)from;                                        \
                else memcpy(&values, from, channels * sizeof(float));                               \
                sum += a->weights[i][j] * values;                                                   \
            }                                                                                       \
        return sum;                                                                                 \
    }                                                                                               \
                                                                                                    \
    static void sample_##name(const float *image, int64_t channels, int64_t height, int64_t width,  \
                              const float *restrict grid, float *restrict into, int64_t rows,       \
                              int64_t columns, int threads) {                                       \
        const float *last = image + height * width * channels - LANES;                              \
        _Pragma("omp parallel for num_threads(threads) schedule(static)")                           \
        for (int64_t row = 0; row < rows; row++)                                                    \
            for (int64_t column = 0; column < columns; column++) {                                  \
                const float *point = grid + 2 * (row * columns + column);                           \
                const Around a = around(((point[0] + 1) * width - 1) / 2,                           \
                                        ((point[1] + 1) * height - 1) / 2, height, width);          \
                const T sum = sum_##name(image, last, channels, &a);                                \
                float *to = into + (row * columns + column) * channels;                             \
                if ((column + 1) * channels + LANES <= columns * channels) *(T *)to = sum;          \
                else memcpy(to, &sum, channels * sizeof(float));                                    \
            }                                                                                       \
    }

SAMPLES(four, Four, 4)
SAMPLES(eight, Eight, 8)

// `image`, of at most 8 channels, at the points of `grid` (rows, columns, 2), which are in the
// coordinates of PyTorch's grid_sample.
void sample(const float *image, int64_t channels, int64_t height, int64_t width, const float *grid,
            float *into, int64_t rows, int64_t columns, int threads) {
    (channels <= 4 ? sample_four : sample_eight)(image, channels, height, width, grid, into, rows,
                                                 columns, threads);
}

// Three images, of 3, 3 and 1 channels, pulled along a flow, times a share: `maps` (3, H, W) holds the
// flow, x and y, in pixels, and the share.
void carry(const float *detail, const float *direction, const float *level, const float *restrict maps,
           float *restrict detail_into, float *restrict direction_into, float *restrict level_into,
           int64_t height, int64_t width, int threads) {
    const int64_t places = height * width;
    const float *last_detail = detail + 3 * places - 4, *last_direction = direction + 3 * places - 4;
    _Pragma("omp parallel for num_threads(threads) schedule(static)")
    for (int64_t y = 0; y < height; y++)
        for (int64_t x = 0; x < width; x++) {
            const int64_t place = y * width + x;
            const Around a = around(x + maps[place], y + maps[places + place], height, width);
            const float share = maps[2 * places + place];
            const Four one = share * sum_four(detail, last_detail, 3, &a);
            const Four two = share * sum_four(direction, last_direction, 3, &a);
            Four sums = {0};
            for (int i = 0; i < 4; i++) {
                const float *row = level + a.rows[i];
                const int64_t *c = a.columns;
                const Four some = {row[c[0]], row[c[1]], row[c[2]], row[c[3]]};
                sums += a.weights[i] * (a.inner ? *(const Four *)(row + c[0]) : some);
            }
            const float sum = share * (sums[0] + sums[1] + sums[2] + sums[3]);
            if (x + 2 < width) {
                *(Four *)(detail_into + 3 * place) = one;
                *(Four *)(direction_into + 3 * place) = two;
            } else {
                memcpy(detail_into + 3 * place, &one, 3 * sizeof(float));
                memcpy(direction_into + 3 * place, &two, 3 * sizeof(float));
            }
            level_into[place] = sum < 0 ? 0 : sum > 1 ? 1 : sum; // NaN stays
        }
}

// `image`, of whose rows one has `width` places of so many `channels`, convolved with the `kernel` of
// 2 `radius` + 1 places across and down, edges reflected. `radius` is less than either side.
void blur(const float *restrict image, float *restrict into, int64_t height, int64_t width,
          int64_t channels, const float *restrict kernel, int64_t radius, int threads) {
    const int64_t length = width * channels, beside = radius * channels;
    _Pragma("omp parallel num_threads(threads)")
    {
        float *buffer = malloc((length + 2 * beside) * sizeof(float));
        float *row = buffer + beside;
        _Pragma("omp for schedule(static)")
        for (int64_t y = 0; y < height; y++) {
            if (!buffer) continue; // told after the loop
            for (int64_t i = -radius; i <= radius; i++) {
                int64_t at = y + i < 0 ? -(y + i) : y + i;
                at = at < height ? at : 2 * (height - 1) - at;
                const float *from = image + at * length, w = kernel[i + radius];
                if (i == -radius)
                    for (int64_t x = 0; x < length; x++) row[x] = w * from[x];
                else
                    for (int64_t x = 0; x < length; x++) row[x] += w * from[x];
            }
            for (int64_t i = 1; i <= radius; i++)
                for (int64_t c = 0; c < channels; c++) {
                    row[c - i * channels] = row[i * channels + c];
                    row[length + (i - 1) * channels + c] = row[length - (i + 1) * channels + c];
                }
            float *to = into + y * length;
            for (int64_t x = 0; x < length; x++) to[x] = kernel[0] * buffer[x];
            for (int64_t i = 1; i <= 2 * radius; i++) {
                const float *from = buffer + i * channels, w = kernel[i];
                for (int64_t x = 0; x < length; x++) to[x] += w * from[x];
            }
        }
        if (!buffer) abort();
        free(buffer);
    }
}

// The luma `into` (places) of an `image` of three channels, by its three `weights`.
void light(const float *restrict image, float *restrict into, const float *restrict weights,
           int64_t places, int threads) {
    const float red = weights[0], green = weights[1], blue = weights[2];
    _Pragma("omp parallel for num_threads(threads) schedule(static)")
    for (int64_t i = 0; i < places; i++)
        into[i] = red * image[3 * i] + green * image[3 * i + 1] + blue * image[3 * i + 2];
}

static inline float shown(float value) { return value < 0 ? 0 : value > 1 ? 1 : value; } // NaN stays

// What is carried on after an ascent, in images of three channels. `dreamed`, which came of `start`,
// becomes the direction of ascent for a climb of one level, blended with the one `before`, which
// weighs `momentum` times `level`. `start` becomes what a climb of `way` levels along it adds to the
// `source`. `way` and `level` have one channel.
void climb(float *restrict dreamed, float *restrict start, const float *restrict before,
           const float *restrict source, const float *restrict way, const float *restrict level,
           float momentum, float least, int64_t places, int threads) {
    _Pragma("omp parallel for num_threads(threads) schedule(static)")
    for (int64_t i = 0; i < places; i++) {
        const float far = way[i], by = far > least ? far : least, kept = momentum * level[i];
        for (int64_t at = 3 * i; at < 3 * i + 3; at++) {
            const float found = (dreamed[at] - start[at]) / by;
            const float along = found + kept * (before[at] - found);
            dreamed[at] = along;
            start[at] = shown(start[at] + far * along) - source[at];
        }
    }
}

// `detail`, what is added to the `source`, less `share` of its `broad` light, within what a screen
// shows; and with what a screen cannot show of `carry` times the detail that `arrived`.
void settle(float *restrict detail, const float *restrict source, const float *restrict broad,
            const float *restrict arrived, float share, float carry, int64_t values, int threads) {
    _Pragma("omp parallel for num_threads(threads) schedule(static)")
    for (int64_t at = 0; at < values; at++) {
        const float whole = source[at] + carry * arrived[at];
        const float held = shown(source[at] + detail[at] - share * broad[at]);
        detail[at] = held - source[at] + (whole - shown(whole));
    }
}

// `source` with `carry` times the detail that `arrived`, within what a screen shows.
void begin(const float *restrict source, const float *restrict arrived, float *restrict into,
           float carry, int64_t values, int threads) {
    _Pragma("omp parallel for num_threads(threads) schedule(static)")
    for (int64_t at = 0; at < values; at++) into[at] = shown(source[at] + carry * arrived[at]);
}

// The sum of the squared Laplacian of `plane` (H, W) in each of its rows but the first and the last:
// `sums` (H - 2).
void roughness(const float *restrict plane, double *restrict sums, int64_t height, int64_t width,
               int threads) {
    _Pragma("omp parallel for num_threads(threads) schedule(static)")
    for (int64_t y = 1; y < height - 1; y++) {
        const float *row = plane + y * width, *above = row - width, *below = row + width;
        float parts[16] = {0};
        int64_t x = 1;
        for (; x + 16 < width; x += 16)
            for (int i = 0; i < 16; i++) {
                const float beside = above[x + i] + below[x + i] + row[x + i - 1] + row[x + i + 1];
                const float slope = beside - 4 * row[x + i];
                parts[i] += slope * slope;
            }
        double sum = 0;
        for (; x < width - 1; x++) {
            const float slope = above[x] + below[x] + row[x - 1] + row[x + 1] - 4 * row[x];
            sum += (double)slope * slope;
        }
        for (int i = 0; i < 16; i++) sum += parts[i];
        sums[y - 1] = sum;
    }
}

// `image` (places, 3), red first, as the nearest levels of 255, blue first. Returns whether it is
// finite throughout.
int levels(const float *restrict image, uint8_t *restrict into, int64_t places, int threads) {
    int finite = 1;
    _Pragma("omp parallel for num_threads(threads) schedule(static) reduction(&& : finite)")
    for (int64_t i = 0; i < places; i++) {
        const float red = image[3 * i], green = image[3 * i + 1], blue = image[3 * i + 2];
        finite = finite && isfinite(red) && isfinite(green) && isfinite(blue);
        const float of[3] = {blue, green, red};
        for (int c = 0; c < 3; c++) {
            const float level = rintf(of[c] * 255); // to even, as PyTorch's round
            into[3 * i + c] = (uint8_t)(level > 0 ? (level < 255 ? level : 255) : 0);
        }
    }
    return finite;
}

// `frame` (places, 3), blue first, in levels of 255, as shares, red first.
void shares(const uint8_t *restrict frame, float *restrict into, int64_t places, int threads) {
    _Pragma("omp parallel for num_threads(threads) schedule(static)")
    for (int64_t i = 0; i < places; i++)
        for (int c = 0; c < 3; c++) into[3 * i + c] = frame[3 * i + 2 - c] / 255.0f;
}
