/* deform_sample on the CPU: gather, bilinear blend, attention and the sum over K in one pass.
 *
 * The specification is lifter/ops/reference.py, whose formulas and order of operations this follows.
 * Per level: map [B, H, W, C], reference points [B, J, 2], offsets [B, J, M, K, 2] and weights
 * [B, J, M, K] with a stride between samples (they are slices of tensors over levels), outputs
 * [B, J, M, C]. Nothing is allocated; rows [first, last) of the batch are done, so that callers can
 * share a batch among threads. Plain C without Python's headers; loaded through ctypes.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

enum { F32, F16, BF16, U8, I8 };

typedef struct {
    const void *map;
    int64_t dtype, height, width, channels;
    const float *reference, *offsets, *weights;
    int64_t offsets_stride, weights_stride; /* floats between two samples */
    int64_t joints, heads, points;
    int64_t zeros, align_corners;
} Level;

typedef struct {
    int64_t cell[2];
    float share[2], exists[2], slope;
} Axis;

static inline __attribute__((always_inline)) Axis locate(float point, int64_t size, int zeros, int align_corners)
{
    Axis axis;
    float last = (float)(size - 1), step = align_corners ? last / 2 : (float)size / 2;
    float cell = (point + 1) * step - (align_corners ? 0.0f : 0.5f);
    float low = zeros ? -1.0f : 0.0f, high = zeros ? (float)size : last;
    float held = cell < low ? low : cell > high ? high : cell; /* what is not a number stays so */
    int free = zeros ? cell >= low && cell <= high : cell > low && cell < high;
    float first = floorf(held);
    int64_t left = isnan(first) ? 0 : (int64_t)first;
    axis.share[1] = held - first;
    axis.share[0] = 1 - axis.share[1];
    axis.slope = free ? step : 0.0f;
    for (int side = 0; side < 2; side++) {
        int64_t place = left + side;
        axis.exists[side] = !zeros || (place >= 0 && place < size) ? 1.0f : 0.0f;
        axis.cell[side] = place < 0 ? 0 : place >= size ? size - 1 : place;
    }
    return axis;
}

static float half_to_float(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, rest = half & 0x7fff, bits;
    float value;
    if (rest >= 0x7c00) {
        bits = sign | 0x7f800000 | (rest & 0x3ff) << 13;
    } else if (rest >= 0x400) {
        bits = sign | ((rest << 13) + 0x38000000);
    } else { /* subnormal: a multiple of 2^-24 */
        value = (float)rest * 5.9604644775390625e-8f;
        return sign ? -value : value;
    }
    memcpy(&value, &bits, 4);
    return value;
}

static float bfloat_to_float(uint16_t half)
{
    uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

#define LOAD1_f32(p) (*(p))
#define LOAD1_f16(p) half_to_float(*(p))
#define LOAD1_bf16(p) bfloat_to_float(*(p))
#define LOAD1_u8(p) ((float)*(p))
#define LOAD1_i8(p) ((float)*(p))

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define HAS_WIDE 1
#define WIDE __attribute__((target("avx2,fma,f16c")))
#define LOAD8_f32(p) _mm256_loadu_ps(p)
#define LOAD8_f16(p) _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p)))
#define LOAD8_bf16(p)                                                                              \
    _mm256_castsi256_ps(                                                                           \
        _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(p))), 16))
#define LOAD8_u8(p) _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(p))))
#define LOAD8_i8(p) _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(p))))

WIDE static float sum8(__m256 v)
{
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_shuffle_ps(half, half, 1)));
}

#define WIDE_BLEND(T, LOAD8)                                                                       \
    for (; c + 8 <= channels; c += 8) {                                                            \
        __m256 sum = _mm256_loadu_ps(out + c);                                                     \
        for (int i = 0; i < 4; i++)                                                                \
            sum = _mm256_fmadd_ps(_mm256_set1_ps(mix[i]), LOAD8(rows[i] + c), sum);                \
        _mm256_storeu_ps(out + c, sum);                                                            \
    }
#define WIDE_DOTS(T, LOAD8)                                                                        \
    __m256 sums[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(),               \
                      _mm256_setzero_ps()};                                                        \
    for (; c + 8 <= channels; c += 8) {                                                            \
        __m256 g = _mm256_loadu_ps(grad + c);                                                      \
        for (int i = 0; i < 4; i++)                                                                \
            sums[i] = _mm256_fmadd_ps(g, LOAD8(rows[i] + c), sums[i]);                             \
    }                                                                                              \
    for (int i = 0; i < 4; i++)                                                                    \
        dots[i] = sum8(sums[i]);
#else
#define HAS_WIDE 0
#endif
#define PLAIN_BLEND(T, LOAD8)
#define PLAIN_DOTS(T, LOAD8)                                                                       \
    for (int i = 0; i < 4; i++)                                                                    \
        dots[i] = 0;

/* The two passes for one dtype T of the map, with or without 8-wide instructions. */
#define DEFINE_PASSES(NAME, ATTRIBUTE, T, LOAD1, LOAD8, BLEND, DOTS)                               \
    ATTRIBUTE static void forward_##NAME(const Level *l, int64_t first, int64_t last, float *out)  \
    {                                                                                              \
        int64_t channels = l->channels;                                                            \
        for (int64_t b = first; b < last; b++)                                                     \
            for (int64_t j = 0; j < l->joints; j++)                                                \
                for (int64_t m = 0; m < l->heads; m++) {                                           \
                    int64_t head = (b * l->joints + j) * l->heads + m;                             \
                    float *to = out + head * channels;                                             \
                    memset(to, 0, (size_t)channels * sizeof(float));                               \
                    for (int64_t k = 0; k < l->points; k++) {                                      \
                        int64_t n = (j * l->heads + m) * l->points + k;                            \
                        const T *rows[4];                                                          \
                        float mix[4], *out = to;                                                   \
                        float weight = l->weights[b * l->weights_stride + n];                      \
                        const float *offset = l->offsets + b * l->offsets_stride + 2 * n;          \
                        const float *at = l->reference + 2 * (b * l->joints + j);                  \
                        Axis x = locate(at[0] + offset[0], l->width, (int)l->zeros,                \
                                        (int)l->align_corners);                                    \
                        Axis y = locate(at[1] + offset[1], l->height, (int)l->zeros,               \
                                        (int)l->align_corners);                                    \
                        for (int i = 0; i < 4; i++) {                                              \
                            int v = i >> 1, h = i & 1;                                             \
                            rows[i] = (const T *)l->map +                                          \
                                      ((b * l->height + y.cell[v]) * l->width + x.cell[h]) *       \
                                          channels;                                                \
                            mix[i] = y.share[v] * x.share[h] * y.exists[v] * x.exists[h] * weight; \
                        }                                                                          \
                        int64_t c = 0;                                                             \
                        BLEND(T, LOAD8)                                                            \
                        for (; c < channels; c++)                                                  \
                            out[c] += mix[0] * LOAD1(rows[0] + c) + mix[1] * LOAD1(rows[1] + c) +  \
                                      mix[2] * LOAD1(rows[2] + c) + mix[3] * LOAD1(rows[3] + c);   \
                    }                                                                              \
                }                                                                                  \
    }                                                                                              \
    ATTRIBUTE static void backward_##NAME(const Level *l, int64_t first, int64_t last,             \
                                          const float *grads, float *offsets_grad,                 \
                                          float *weights_grad)                                     \
    {                                                                                              \
        int64_t channels = l->channels;                                                            \
        for (int64_t b = first; b < last; b++)                                                     \
            for (int64_t j = 0; j < l->joints; j++)                                                \
                for (int64_t m = 0; m < l->heads; m++) {                                           \
                    const float *grad = grads + ((b * l->joints + j) * l->heads + m) * channels;   \
                    for (int64_t k = 0; k < l->points; k++) {                                      \
                        int64_t n = (j * l->heads + m) * l->points + k;                            \
                        const T *rows[4];                                                          \
                        float dots[4];                                                             \
                        float weight = l->weights[b * l->weights_stride + n];                      \
                        int64_t place = b * l->offsets_stride + 2 * n;                             \
                        const float *at = l->reference + 2 * (b * l->joints + j);                  \
                        Axis x = locate(at[0] + l->offsets[place], l->width, (int)l->zeros,        \
                                        (int)l->align_corners);                                    \
                        Axis y = locate(at[1] + l->offsets[place + 1], l->height, (int)l->zeros,   \
                                        (int)l->align_corners);                                    \
                        for (int i = 0; i < 4; i++)                                                \
                            rows[i] = (const T *)l->map + ((b * l->height + y.cell[i >> 1]) *      \
                                                               l->width +                          \
                                                           x.cell[i & 1]) *                        \
                                                              channels;                            \
                        int64_t c = 0;                                                             \
                        DOTS(T, LOAD8)                                                             \
                        for (; c < channels; c++)                                                  \
                            for (int i = 0; i < 4; i++)                                            \
                                dots[i] += grad[c] * LOAD1(rows[i] + c);                           \
                        for (int i = 0; i < 4; i++)                                                \
                            dots[i] *= y.exists[i >> 1] * x.exists[i & 1];                         \
                        float top = dots[0] * x.share[0] + dots[1] * x.share[1];                   \
                        float bottom = dots[2] * x.share[0] + dots[3] * x.share[1];                \
                        float left = dots[0] * y.share[0] + dots[2] * y.share[1];                  \
                        float right = dots[1] * y.share[0] + dots[3] * y.share[1];                 \
                        weights_grad[b * l->weights_stride + n] =                                  \
                            top * y.share[0] + bottom * y.share[1];                                \
                        offsets_grad[place] = (right - left) * x.slope * weight;                   \
                        offsets_grad[place + 1] = (bottom - top) * y.slope * weight;               \
                    }                                                                              \
                }                                                                                  \
    }

#define FOR_EACH_DTYPE(DO)                                                                         \
    DO(f32, float) DO(f16, uint16_t) DO(bf16, uint16_t) DO(u8, uint8_t) DO(i8, int8_t)

#define DEFINE_PLAIN(NAME, T)                                                                      \
    DEFINE_PASSES(NAME##_plain, , T, LOAD1_##NAME, none, PLAIN_BLEND, PLAIN_DOTS)
FOR_EACH_DTYPE(DEFINE_PLAIN)

#if HAS_WIDE
#define DEFINE_WIDE(NAME, T)                                                                       \
    DEFINE_PASSES(NAME##_wide, WIDE, T, LOAD1_##NAME, LOAD8_##NAME, WIDE_BLEND, WIDE_DOTS)
FOR_EACH_DTYPE(DEFINE_WIDE)
#endif

int posecache_has_wide(void)
{
#if HAS_WIDE
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("f16c");
#else
    return 0;
#endif
}

#define PICK(PASS, SUFFIX, ...)                                                                    \
    switch (level->dtype) {                                                                        \
    case F32: PASS##_f32_##SUFFIX(__VA_ARGS__); break;                                             \
    case F16: PASS##_f16_##SUFFIX(__VA_ARGS__); break;                                             \
    case BF16: PASS##_bf16_##SUFFIX(__VA_ARGS__); break;                                           \
    case U8: PASS##_u8_##SUFFIX(__VA_ARGS__); break;                                               \
    default: PASS##_i8_##SUFFIX(__VA_ARGS__); break;                                               \
    }

void posecache_forward(const Level *level, int64_t first, int64_t last, int64_t wide, float *out)
{
#if HAS_WIDE
    if (wide) {
        PICK(forward, wide, level, first, last, out)
        return;
    }
#endif
    PICK(forward, plain, level, first, last, out)
}

void posecache_backward(const Level *level, int64_t first, int64_t last, int64_t wide,
                        const float *grads, float *offsets_grad, float *weights_grad)
{
#if HAS_WIDE
    if (wide) {
        PICK(backward, wide, level, first, last, grads, offsets_grad, weights_grad)
        return;
    }
#endif
    PICK(backward, plain, level, first, last, grads, offsets_grad, weights_grad)
}
