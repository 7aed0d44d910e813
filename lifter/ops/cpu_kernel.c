/* deform_sample on the CPU: gather, bilinear blend, attention and the sum over K in one pass.
 *
 * The specification is lifter/ops/reference.py. A job is a whole call: all levels of a pyramid, with
 * maps [B, H, W, C], reference points [B, J, 2], offsets [B, L, J, M, K, 2], weights [B, L, J, M, K]
 * and outputs [B, J, M, C]. Threads take units (one sample of one level) from it until none is left;
 * a unit is done by one thread in a fixed order, so results do not depend on their number. Nothing
 * is allocated. Plain C without Python's headers; loaded through ctypes.
 */
#include <math.h>

#include "cpu_rows.h"

typedef struct {
    const void *map;
    int64_t dtype, height, width, channels;
    const float *scale; /* [C], multiplies the sums; NULL for none */
    float *output;      /* forward: [B, J, M, C] */
    const float *grad;  /* backward: [B, J, M, C] */
} Level;

typedef struct {
    const Level *levels;
    int64_t batch, num_levels, joints, heads, points;
    int64_t zeros, align_corners, wide, backward;
    const float *reference, *offsets, *weights;
    float *offsets_grad, *weights_grad; /* backward: shaped like offsets and weights */
    int64_t next;                       /* the next unit to take */
} Job;

/* ---- Where points lie: done for many points at once, a loop per line, for vector registers. ---- */

enum { MANY = 64 }; /* points at a time */

typedef struct {
    float share[2][MANY];  /* of the lower and the upper cell */
    float exists[2][MANY]; /* 0 for a cell outside under zeros padding */
    float slope[MANY];     /* d cell / d point, 0 where the point is held at the border */
    int32_t cell[2][MANY]; /* clamped into the map */
} Axis;

INLINE void locate(const float *points, int64_t count, int64_t size, int64_t zeros,
                   int64_t align_corners, Axis *axis)
{
    float last = (float)(size - 1), step = align_corners ? last / 2 : (float)size / 2;
    float shift = align_corners ? 0.0f : 0.5f;
    float low = zeros ? -1.0f : 0.0f, high = zeros ? (float)size : last;
    int32_t end = (int32_t)size - 1, border = !zeros;
    for (int64_t n = 0; n < count; n++) {
        float cell = (points[n] + 1) * step - shift;
        float held = cell < low ? low : cell > high ? high : cell; /* NaN stays NaN */
        float first = floorf(held);
        int32_t left = (int32_t)(first == first ? first : 0.0f), right = left + 1;
        int32_t free_inside = (cell > low) & (cell < high);
        int32_t free = border ? free_inside : (cell >= low) & (cell <= high);
        axis->slope[n] = free ? step : 0.0f;
        axis->share[1][n] = held - first;
        axis->share[0][n] = 1 - (held - first);
        axis->exists[0][n] = border | ((left >= 0) & (left <= end)) ? 1.0f : 0.0f;
        axis->exists[1][n] = border | ((right >= 0) & (right <= end)) ? 1.0f : 0.0f;
        axis->cell[0][n] = left < 0 ? 0 : left > end ? end : left;
        axis->cell[1][n] = right < 0 ? 0 : right > end ? end : right;
    }
}

/* ---- One unit: a sample of a level, MANY points at a time. ---- */

INLINE void do_unit(const Job *job, int64_t unit, Blend *const *blends, Dots *const *dot_products)
{
    int64_t b = unit / job->num_levels, l = unit % job->num_levels;
    const Level *level = job->levels + l;
    int64_t channels = level->channels, width = level->width;
    int64_t per_joint = job->heads * job->points, all = job->joints * per_joint;
    int64_t start = (b * job->num_levels + l) * all;
    const float *weights = job->weights + start, *offsets = job->offsets + 2 * start;
    const float *reference = job->reference + b * job->joints * 2;
    int64_t sums = b * job->joints * job->heads; /* the sample's first */
    int64_t row_bytes = channels * size_of[level->dtype];
    const char *map = (const char *)level->map + b * level->height * width * row_bytes;
    float x_points[MANY], y_points[MANY], mix[4 * MANY], dots[4 * MANY];
    int32_t rows[4 * MANY];
    Axis x, y;
    for (int64_t done = 0; done < all; done += MANY) {
        int64_t count = all - done < MANY ? all - done : MANY;
        for (int64_t n = 0; n < count; n++) {
            int64_t p = done + n, j = p / per_joint;
            x_points[n] = reference[2 * j] + offsets[2 * p];
            y_points[n] = reference[2 * j + 1] + offsets[2 * p + 1];
        }
        locate(x_points, count, width, job->zeros, job->align_corners, &x);
        locate(y_points, count, level->height, job->zeros, job->align_corners, &y);
        for (int64_t n = 0; n < count; n++)
            for (int i = 0; i < 4; i++) {
                rows[4 * n + i] = y.cell[i >> 1][n] * (int32_t)width + x.cell[i & 1][n];
                mix[4 * n + i] = y.share[i >> 1][n] * x.share[i & 1][n] * y.exists[i >> 1][n] *
                                 x.exists[i & 1][n] * weights[done + n];
            }
        for (int64_t i = 0; i < 4 * count; i++)
            __builtin_prefetch(map + rows[i] * row_bytes);
        for (int64_t n = 0, here; n < count; n += here) { /* the points of one sum, or some of them */
            int64_t p = done + n, k = p % job->points;
            int64_t place = (sums + p / job->points) * channels;
            here = job->points - k < count - n ? job->points - k : count - n;
            if (job->backward)
                dot_products[level->dtype](map, channels, rows + 4 * n, 4 * here,
                                           level->grad + place, level->scale, dots + 4 * n);
            else
                blends[level->dtype](map, channels, rows + 4 * n, mix + 4 * n, 4 * here, k == 0,
                                     k + here == job->points ? level->scale : 0,
                                     level->output + place);
        }
        if (!job->backward)
            continue;
        float *weights_grad = job->weights_grad + start + done;
        float *offsets_grad = job->offsets_grad + 2 * (start + done);
        for (int64_t n = 0; n < count; n++) {
            float *d = dots + 4 * n;
            for (int i = 0; i < 4; i++)
                d[i] *= y.exists[i >> 1][n] * x.exists[i & 1][n];
            float top = d[0] * x.share[0][n] + d[1] * x.share[1][n];
            float bottom = d[2] * x.share[0][n] + d[3] * x.share[1][n];
            float left = d[0] * y.share[0][n] + d[2] * y.share[1][n];
            float right = d[1] * y.share[0][n] + d[3] * y.share[1][n];
            weights_grad[n] = top * y.share[0][n] + bottom * y.share[1][n];
            offsets_grad[2 * n] = (right - left) * x.slope[n] * weights[done + n];
            offsets_grad[2 * n + 1] = (bottom - top) * y.slope[n] * weights[done + n];
        }
    }
}

static void do_plain(const Job *job, int64_t unit)
{
    static Blend *const blends[] = NAMED(blend_);
    static Dots *const dot_products[] = NAMED(dots_);
    do_unit(job, unit, blends, dot_products);
}

#if HAS_WIDE
WIDE static void do_wide(const Job *job, int64_t unit)
{
    static Blend *const blends[] = NAMED(blend_wide_);
    static Dots *const dot_products[] = NAMED(dots_wide_);
    do_unit(job, unit, blends, dot_products);
}
#endif

/* Whether this processor has the 8-wide instructions. */
int posecache_has_wide(void)
{
#if HAS_WIDE
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("f16c");
#else
    return 0;
#endif
}

/* Does units of the job until none is left; for any number of threads at once. */
void posecache_work(void *argument)
{
    Job *job = argument;
    int64_t unit, count = job->batch * job->num_levels;
    while ((unit = __atomic_fetch_add(&job->next, 1, __ATOMIC_RELAXED)) < count) {
#if HAS_WIDE
        if (job->wide) {
            do_wide(job, unit);
            continue;
        }
#endif
        do_plain(job, unit);
    }
}
