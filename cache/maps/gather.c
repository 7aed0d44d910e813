/* Copies maps from shard files into the arrays of a batch; called by cache/maps/gather.py through ctypes.
 *
 * Threads call `posecache_gather` with the same Gather; each takes blocks of rows until none is left.
 * A first pass copies what lies in the page cache and asks the kernel to fetch the rest, all of it at
 * once; a second pass waits for that rest. Files that are kept open are mapped: copying from a map
 * costs nothing but the copy, which counts for maps of a few kB. What is not in memory is always read:
 * faults would wait for the disk one after the other.
 * Plain C without Python's headers.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#ifdef __APPLE__
#define MODIFIED st_mtimespec
#else
#define MODIFIED st_mtim
#endif

enum { TODO, DONE, COLD, FAILED, UNKNOWN };
enum { SUM_BYTES = 4, MAX_BLOCK = 64 };

typedef struct {
    const unsigned char *address; /* of the mapped file, NULL if it is not kept open */
    const int64_t *offsets;       /* [num_slots] in the file, NULL if they are not known */
    int64_t inode, bytes, modified_ns;
    int64_t descriptor; /* -1 if it is not kept open */
} Shard;

typedef struct {
    const char *prefix;           /* path of the level's shard files up to their number */
    const Shard *shards;          /* [num_chunks] */
    const unsigned char *checked; /* [num_chunks, num_slots] */
    unsigned char *target;        /* [.., size], contiguous */
    int64_t size;                 /* bytes of a map */
} Level;

typedef struct {
    const Level *levels;
    int64_t num_levels, largest; /* the level with the largest maps */
    int64_t num_rows, num_slots, block;
    const char *suffix;       /* of the paths, behind the number */
    const int64_t *chunks;    /* [num_rows], equal ones side by side */
    const int64_t *slots;     /* [num_rows] */
    const int64_t *positions; /* [num_rows], rows of the targets */
    unsigned char *states;    /* [num_levels, num_rows] */
    unsigned char *sums;      /* [num_levels, num_rows, SUM_BYTES]: what follows maps not yet checked */
    int64_t next;             /* first block that no thread has taken */
    int64_t probed_rows;      /* of so many rows one is asked whether it is in memory */
    int64_t cold, failed;     /* maps that the first pass left to the second; that cannot be read */
    int64_t unchecked;        /* maps copied, not `checked` */
} Gather;

typedef struct {
    int64_t chunk;
    int descriptor;
} Opened;

static int open_same(const char *prefix, int64_t chunk, const char *suffix, const Shard *shard)
{
    char path[PATH_MAX];
    struct stat state;
    int length = snprintf(path, sizeof path, "%s%lld%s", prefix, (long long)chunk, suffix);
    if (length < 0 || length >= (int)sizeof path)
        return -1;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return -1;
    if (fstat(file, &state) == 0 && (int64_t)state.st_ino == shard->inode && (int64_t)state.st_size == shard->bytes &&
        (int64_t)state.MODIFIED.tv_sec * 1000000000 + state.MODIFIED.tv_nsec == shard->modified_ns) {
#ifdef POSIX_FADV_RANDOM
        posix_fadvise(file, 0, 0, POSIX_FADV_RANDOM); /* fetch what is asked for and no more */
#endif
        return file;
    }
    close(file); /* not the file whose index is known */
    return -1;
}

static int descriptor_of(const Gather *g, const Level *level, int64_t chunk, Opened *opened)
{
    const Shard *shard = level->shards + chunk;
    if (shard->descriptor >= 0)
        return (int)shard->descriptor;
    if (opened->chunk != chunk) {
        if (opened->descriptor >= 0)
            close(opened->descriptor);
        opened->chunk = chunk;
        opened->descriptor = open_same(level->prefix, chunk, g->suffix, shard);
    }
    return opened->descriptor;
}

static unsigned char ask_for(int file, int64_t size, int64_t offset)
{
#ifdef POSIX_FADV_WILLNEED
    posix_fadvise(file, offset, size, POSIX_FADV_WILLNEED);
#endif
    return COLD;
}

static int is_cached(int file, struct iovec *parts, int count, int64_t size, int64_t offset)
{
#ifdef RWF_NOWAIT
    return preadv2(file, parts, count, offset, RWF_NOWAIT) == size;
#else
    return 0;
#endif
}

static unsigned char read_waiting(int file, struct iovec *parts, int64_t offset)
{
    for (int part = 0; part < 2;) {
        ssize_t got = preadv(file, parts + part, 2 - part, offset);
        if (got <= 0)
            return FAILED;
        offset += got;
        for (; part < 2 && got >= (ssize_t)parts[part].iov_len; part++)
            got -= parts[part].iov_len;
        if (part < 2) {
            parts[part].iov_base = (unsigned char *)parts[part].iov_base + got;
            parts[part].iov_len -= got;
        }
    }
    return DONE;
}

/* Which rows are in memory, by a byte in the middle of their largest map (the first and last pages are
 * shared with its neighbours): a row's maps come and go together.
 * Asking costs as much as copying 10 kB, so that where all was in memory some rows speak for the others. */
static void find_warm(const Gather *g, int64_t first, int64_t last, unsigned char *warm)
{
    const Level *level = g->levels + g->largest;
    int64_t step = g->probed_rows;
    for (int64_t row = first; row < last; row++) {
        const Shard *shard = level->shards + g->chunks[row];
        const int64_t *offsets = shard->offsets;
        unsigned char byte;
        struct iovec part = {&byte, 1};
        warm[row - first] = offsets != NULL && shard->address != NULL;
        if (!warm[row - first] || (row - first) % step)
            continue;
        if (!is_cached((int)shard->descriptor, &part, 1, 1, offsets[g->slots[row]] + level->size / 2)) {
            warm[row - first] = 0;
            step = 1;
        }
    }
}

static void read_level(Gather *g, int64_t number, int64_t first, int64_t last, const unsigned char *warm, int pass)
{
    const Level *level = g->levels + number;
    Opened opened = {-1, -1};
    int64_t cold = 0, failed = 0, unchecked = 0;
    for (int64_t row = first; row < last; row++) {
        int64_t place = number * g->num_rows + row, chunk = g->chunks[row], slot = g->slots[row];
        unsigned char *state = g->states + place, *sum = g->sums + place * SUM_BYTES;
        unsigned char *target = level->target + g->positions[row] * level->size;
        const Shard *shard = level->shards + chunk;
        const int64_t *offsets = shard->offsets;
        if (*state != pass)
            continue;
        int checked = level->checked[chunk * g->num_slots + slot];
        if (offsets == NULL) {
            *state = UNKNOWN;
        } else if (pass == TODO && shard->address != NULL && warm[row - first]) {
            const unsigned char *source = shard->address + offsets[slot];
            memcpy(target, source, (size_t)level->size);
            if (!checked)
                memcpy(sum, source + level->size, SUM_BYTES);
            *state = DONE;
        } else {
            int64_t size = level->size + SUM_BYTES;
            struct iovec parts[2] = {{target, (size_t)level->size}, {sum, SUM_BYTES}};
            int file = descriptor_of(g, level, chunk, &opened);
            if (file < 0)
                *state = FAILED;
            else if (pass == COLD)
                *state = read_waiting(file, parts, offsets[slot]);
            else if (shard->address == NULL && is_cached(file, parts, 2, size, offsets[slot]))
                *state = DONE;
            else
                *state = ask_for(file, size, offsets[slot]);
        }
        cold += *state == COLD;
        failed += *state == FAILED || *state == UNKNOWN;
        unchecked += *state == DONE && !checked;
    }
    if (opened.descriptor >= 0)
        close(opened.descriptor);
    __atomic_fetch_add(&g->cold, cold, __ATOMIC_RELAXED);
    __atomic_fetch_add(&g->failed, failed, __ATOMIC_RELAXED);
    __atomic_fetch_add(&g->unchecked, unchecked, __ATOMIC_RELAXED);
}

/* Takes part in a pass: every map that is TODO, or in the second COLD, becomes one of the others. */
void posecache_gather(Gather *g, int pass)
{
    unsigned char warm[MAX_BLOCK] = {0};
    for (;;) {
        int64_t first = __atomic_fetch_add(&g->next, 1, __ATOMIC_RELAXED) * g->block;
        int64_t last = first + g->block < g->num_rows ? first + g->block : g->num_rows;
        if (first >= last)
            return;
        if (pass == TODO)
            find_warm(g, first, last, warm);
        for (int64_t number = 0; number < g->num_levels; number++)
            read_level(g, number, first, last, warm, pass);
    }
}

/* Address of a mapped file, NULL if it cannot be mapped; unlike Python's maps it holds no descriptor. */
const void *posecache_map(int64_t descriptor, int64_t bytes)
{
    void *address = mmap(NULL, (size_t)bytes, PROT_READ, MAP_SHARED, (int)descriptor, 0);
    return address == MAP_FAILED ? NULL : address;
}

void posecache_unmap(void *address, int64_t bytes)
{
    munmap(address, (size_t)bytes);
}
