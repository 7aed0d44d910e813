/* The two sums over rows of a map, per dtype, with and without 8-wide instructions.
 *
 * `rows` are numbers of rows of C channels from `map`. Included once, by cpu_kernel.c.
 */
#include <stdint.h>
#include <string.h>

enum { F32, F16, BF16, U8, I8, NUM_DTYPES };

#define INLINE static inline __attribute__((always_inline))
#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define HAS_WIDE 1
#define WIDE __attribute__((target("avx2,fma,f16c")))
#else
#define HAS_WIDE 0
#endif

/* out[c] = scale[c] * (old + sum_i mix[i] * row_i[c]); `old` is 0 in the `first` part of a sum. */
typedef void Blend(const void *map, int64_t channels, const int32_t *rows, const float *mix,
                   int64_t count, int first, const float *scale, float *out);
/* dots[i] = sum_c grad[c] * scale[c] * row_i[c], for `count` rows, a multiple of four. */
typedef void Dots(const void *map, int64_t channels, const int32_t *rows, int64_t count,
                  const float *grad, const float *scale, float *dots);

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

#define BLEND_REST(T, LOAD1)                                                                       \
    for (; c < channels; c++) {                                                                    \
        float sum = first ? 0 : out[c];                                                            \
        for (int64_t i = 0; i < count; i++)                                                        \
            sum += mix[i] * LOAD1((const T *)map + rows[i] * channels + c);                        \
        out[c] = scale ? sum * scale[c] : sum;                                                     \
    }
#define DOTS_REST(T, LOAD1)                                                                        \
    for (; c < channels; c++) {                                                                    \
        float g = scale ? grad[c] * scale[c] : grad[c];                                            \
        for (int64_t i = 0; i < count; i++)                                                        \
            dots[i] += g * LOAD1((const T *)map + rows[i] * channels + c);                         \
    }

#define DEFINE_PLAIN(NAME, T)                                                                      \
    static void blend_##NAME(const void *map, int64_t channels, const int32_t *rows,               \
                             const float *mix, int64_t count, int first, const float *scale,       \
                             float *out)                                                           \
    {                                                                                              \
        int64_t c = 0;                                                                             \
        BLEND_REST(T, LOAD1_##NAME)                                                                \
    }                                                                                              \
    static void dots_##NAME(const void *map, int64_t channels, const int32_t *rows, int64_t count, \
                            const float *grad, const float *scale, float *dots)                    \
    {                                                                                              \
        int64_t c = 0;                                                                             \
        for (int64_t i = 0; i < count; i++)                                                        \
            dots[i] = 0;                                                                           \
        DOTS_REST(T, LOAD1_##NAME)                                                                 \
    }

#define FOR_EACH_DTYPE(DO)                                                                         \
    DO(f32, float) DO(f16, uint16_t) DO(bf16, uint16_t) DO(u8, uint8_t) DO(i8, int8_t)
FOR_EACH_DTYPE(DEFINE_PLAIN)

#if HAS_WIDE
#define LOAD8_f32(p) _mm256_loadu_ps(p)
#define LOAD8_f16(p) _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p)))
#define LOAD8_bf16(p)                                                                              \
    _mm256_castsi256_ps(                                                                           \
        _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(p))), 16))
#define LOAD8_u8(p) _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(p))))
#define LOAD8_i8(p) _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(p))))

/* N registers of 8 channels stay in the processor through all rows of a sum. */
#define WIDE_BLEND(T, LOAD8, N)                                                                    \
    for (; c + 8 * N <= channels; c += 8 * N) {                                                    \
        __m256 sums[N];                                                                            \
        for (int v = 0; v < N; v++)                                                                \
            sums[v] = first ? _mm256_setzero_ps() : _mm256_loadu_ps(out + c + 8 * v);              \
        for (int64_t i = 0; i < count; i++) {                                                      \
            const T *row = (const T *)map + rows[i] * channels + c;                                \
            __m256 share = _mm256_set1_ps(mix[i]);                                                 \
            for (int v = 0; v < N; v++)                                                            \
                sums[v] = _mm256_fmadd_ps(share, LOAD8(row + 8 * v), sums[v]);                     \
        }                                                                                          \
        for (int v = 0; v < N; v++) {                                                              \
            if (scale)                                                                             \
                sums[v] = _mm256_mul_ps(sums[v], _mm256_loadu_ps(scale + c + 8 * v));              \
            _mm256_storeu_ps(out + c + 8 * v, sums[v]);                                            \
        }                                                                                          \
    }

/* The sums of four registers, in order. */
WIDE INLINE __m128 sums_of(const __m256 *v)
{
    __m256 pairs = _mm256_hadd_ps(_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3]));
    return _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps(pairs, 1));
}

/* N rows at a time share what is read of the gradient, and hide each other's waiting. */
#define WIDE_DOTS(T, LOAD8, N)                                                                     \
    for (; done + N <= count; done += N) {                                                         \
        const T *row[N];                                                                           \
        __m256 sums[N];                                                                            \
        for (int i = 0; i < N; i++) {                                                              \
            row[i] = (const T *)map + rows[done + i] * channels;                                   \
            sums[i] = _mm256_setzero_ps();                                                         \
        }                                                                                          \
        for (c = 0; c + 8 <= channels; c += 8) {                                                   \
            __m256 g = _mm256_loadu_ps(grad + c);                                                  \
            if (scale)                                                                             \
                g = _mm256_mul_ps(g, _mm256_loadu_ps(scale + c));                                  \
            for (int i = 0; i < N; i++)                                                            \
                sums[i] = _mm256_fmadd_ps(g, LOAD8(row[i] + c), sums[i]);                          \
        }                                                                                          \
        for (int i = 0; i < N; i += 4)                                                             \
            _mm_storeu_ps(dots + done + i, sums_of(sums + i));                                     \
    }

#define DEFINE_WIDE(NAME, T)                                                                       \
    WIDE static void blend_wide_##NAME(const void *map, int64_t channels, const int32_t *rows,     \
                                       const float *mix, int64_t count, int first,                 \
                                       const float *scale, float *out)                             \
    {                                                                                              \
        int64_t c = 0;                                                                             \
        WIDE_BLEND(T, LOAD8_##NAME, 4)                                                             \
        WIDE_BLEND(T, LOAD8_##NAME, 1)                                                             \
        BLEND_REST(T, LOAD1_##NAME)                                                                \
    }                                                                                              \
    WIDE static void dots_wide_##NAME(const void *map, int64_t channels, const int32_t *rows,      \
                                      int64_t count, const float *grad, const float *scale,        \
                                      float *dots)                                                 \
    {                                                                                              \
        int64_t c = 0, done = 0;                                                                   \
        WIDE_DOTS(T, LOAD8_##NAME, 8)                                                              \
        WIDE_DOTS(T, LOAD8_##NAME, 4)                                                              \
        c = channels & ~(int64_t)7;                                                                \
        DOTS_REST(T, LOAD1_##NAME)                                                                 \
    }
FOR_EACH_DTYPE(DEFINE_WIDE)
#endif

#define NAMED(PREFIX) {PREFIX##f32, PREFIX##f16, PREFIX##bf16, PREFIX##u8, PREFIX##i8}
static const int64_t size_of[NUM_DTYPES] = {4, 2, 2, 1, 1};
