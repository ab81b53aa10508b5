/* The inner loops of flows.waveform, compiled for the machine at hand by flows.kernel.

   A row is one time step of one net: NV vectors of 8 words of 64 bits. FUNCTIONS names a file that
   flows.kernel writes: one evaluator per Boolean function and the table `evaluators` of them. */

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef __AVX512VPOPCNTDQ__
#include <immintrin.h>
#endif

typedef uint64_t vec __attribute__((vector_size(64)));
#define PINS 8

typedef struct {
    int64_t output, input[PINS];             /* first rows in the arena */
    int32_t offset[PINS], last[PINS];        /* row of an input at output row 0; its last row */
    int32_t function, net, rows, rise, fall, pad;
} task;

typedef struct {
    int64_t output;
    int32_t net, index, rise, fall;          /* index of its words among the sources */
} source;

static inline size_t clip(int row, int last) {
    return row < 0 ? 0 : row > last ? (size_t)last : (size_t)row;
}

typedef void evaluator(const vec *const *in, const int32_t *offset, const int32_t *last, int rows,
                       vec *z);

#include FUNCTIONS

static inline vec popcount(vec x) {
#ifdef __AVX512VPOPCNTDQ__
    return (vec)_mm512_popcnt_epi64((__m512i)x);
#else
    x -= (x >> 1) & 0x5555555555555555u;
    x = (x & 0x3333333333333333u) + ((x >> 2) & 0x3333333333333333u);
    x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fu;
    x += x >> 8;
    x += x >> 16;
    x += x >> 32;
    return x & 0xff;
#endif
}

static void store(uint32_t *to, vec x) {
    for (int i = 0; i < 8; i++) to[i] = (uint32_t)x[i];
}

/* counts[0..3][net][word]: transitions, settled transitions, ones at start and end */
static void count(const vec *out, int rows, uint32_t *counts, size_t plane) {
    for (int v = 0; v < NV; v++) {
        vec total = {0}, before = out[v];
        for (int j = 1; j < rows; j++) {
            vec now = out[(size_t)j * NV + v];
            total += popcount(now ^ before);
            before = now;
        }
        store(counts + 8 * v, total);
        store(counts + plane + 8 * v, popcount(before ^ out[v]));
        store(counts + 2 * plane + 8 * v, popcount(out[v]));
        store(counts + 3 * plane + 8 * v, popcount(before));
    }
}

/* z has `rows` + min(rise, fall) rows, and at least max(rise, fall) copies of row 0 before it. */
static void filter(const vec *z, int rows, int rise, int fall, vec *out) {
    const vec *at = z + (size_t)(rise < fall ? rise : fall) * NV;
    memcpy(out, z, NV * sizeof(vec));
    for (int j = 1; j < rows; j++) {
        at += NV;
        out += NV;
        for (int v = 0; v < NV; v++) {
            vec now = at[v], up = now, down = now, before = out[v - NV];
            const vec *past = at + v;
            int both = rise < fall ? rise : fall;
            if (both) {
                up = down = past[-NV];
                for (int k = 2; k <= both; k++) up &= past[-k * NV], down |= past[-k * NV];
                for (int k = both + 1; k <= rise; k++) up &= past[-k * NV];
                for (int k = both + 1; k <= fall; k++) down |= past[-k * NV];
                out[v] = up | (before & down);
            } else {
                for (int k = 1; k <= rise; k++) up &= past[-k * NV];
                for (int k = 1; k <= fall; k++) down |= past[-k * NV];
                out[v] = rise ? (up | before) & now : now | (before & down);
            }
        }
    }
}

static void drive(const source *s, const uint64_t *initial, const uint64_t *final, size_t words,
                  vec *out) {
    vec a[NV], b[NV];
    memcpy(a, initial + s->index * words, sizeof a);
    memcpy(b, final + s->index * words, sizeof b);
    int between = s->rise < s->fall ? s->fall - s->rise : s->rise - s->fall;
    for (int v = 0; v < NV; v++) {
        out[v] = a[v];
        for (int j = 1; j <= between; j++)
            out[(size_t)j * NV + v] = s->rise < s->fall ? a[v] | b[v] : a[v] & b[v];
        out[(size_t)(between + 1) * NV + v] = b[v];
    }
}

/* One block of 8 NV words; initial, final and counts point at its first word in rows of `words`
   words. Row 0 of the arena is all zeros, row 1 all ones; scratch has room for the longest z. */
void simulate(const source *sources, int n_sources, const task *tasks, int n_tasks,
              const uint64_t *initial, const uint64_t *final, size_t words, int nets, vec *arena,
              vec *scratch, uint32_t *counts) {
    size_t plane = (size_t)nets * words;
    for (int i = 0; i < n_sources; i++) {
        const source *s = sources + i;
        vec *out = arena + s->output * NV;
        drive(s, initial, final, words, out);
        int between = s->rise < s->fall ? s->fall - s->rise : s->rise - s->fall;
        count(out, between + 2, counts + s->net * words, plane);
    }
    for (int i = 0; i < n_tasks; i++) {
        const task *t = tasks + i;
        const vec *in[PINS];
        for (int k = 0; k < PINS; k++) in[k] = arena + t->input[k] * NV;
        vec *out = arena + t->output * NV;
        if (t->rise == 0 && t->fall == 0) {
            evaluators[t->function](in, t->offset, t->last, t->rows, out);
        } else {
            int most = t->rise > t->fall ? t->rise : t->fall, least = t->rise + t->fall - most;
            vec *z = scratch + (size_t)most * NV;
            evaluators[t->function](in, t->offset, t->last, t->rows + least, z);
            for (int k = 1; k <= most; k++) memcpy(z - k * NV, z, NV * sizeof(vec));
            filter(z, t->rows, t->rise, t->fall, out);
        }
        count(out, t->rows, counts + t->net * words, plane);
    }
}
