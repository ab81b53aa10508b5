/* The inner loops of flows.simulator, compiled for the machine at hand by kernel.py.

   A row is 8 words of 64 bits. FUNCTIONS names a file that kernel.py writes: an evaluator, a
   settler and a waver for every Boolean function of the library, and the tables of them. */

#include <limits.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef __AVX512VPOPCNTDQ__
#include <immintrin.h>
#endif

typedef uint64_t vec __attribute__((vector_size(64)));
typedef uint32_t half __attribute__((vector_size(32)));
#define PINS 8
#ifndef NV
#define NV 2 /* rows of 8 words that waveforms have side by side; 2 measured best */
#endif
#define EACH for (int v = 0; v < NV; v++)

enum { INPUT, CLOCK, REGISTER, INVERT, GATE, ALARM }; /* as flows.simulator.schedule.Kind */
typedef struct {
    int32_t kind, function, inputs, input[PINS], output;
    int32_t state, net, trace; /* places in states, counts and traces: -1 for none */
} node;

typedef struct {
    int64_t place;                       /* first row in the arena */
    int32_t net, input[PINS], delay[PINS];
    int32_t function, pins, rise, fall, lead; /* filter, and the steps to the first output row */
} task; /* no pins: a source with its edges' steps, whose words are number input[0] */
typedef struct { const vec *row; int32_t first, rows; } wave; /* row 1 is the step `first` */
typedef struct { half toggles, settled, start, end; } tally;  /* by word of a row */

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

static inline half narrow(vec x) { return __builtin_convertvector(x, half); }

static inline int differ(vec a, vec b) {
    vec x = a ^ b;
#ifdef __AVX512F__
    return _mm512_test_epi64_mask((__m512i)x, (__m512i)x) != 0;
#else
    return (x[0] | x[1] | x[2] | x[3] | x[4] | x[5] | x[6] | x[7]) != 0;
#endif
}

typedef void evaluator(const vec *const *in, int rows, vec *restrict z);
typedef void waver(const vec *const *in, const ptrdiff_t *step, int rows, vec *z);

#define ROWS(k) const vec *p##k = in[k];
#define MOVING(k) const vec *p##k = in[k]; const ptrdiff_t s##k = step[k];
#include FUNCTIONS

/* In each word of the `size` rows, 64 / size matrices of size x size bits. */
static void transpose(vec *x, int size) {
    for (int s = size / 2; s; s /= 2) {
        uint64_t mask = ~0ull / ((1ull << s) + 1);
        for (int k = 0; k < size; k = (k + s + 1) & ~s) {
            vec t = ((x[k] >> s) ^ x[k + s]) & mask;
            x[k] ^= t << s;
            x[k + s] ^= t;
        }
    }
}

/* codes[cycle][streams] to bits, out[place[bit]][cycle][width]; bit j of word w of row v is that of
   stream order[v][8 j + w], and bits beyond the 63rd repeat it. Streams stand side by side in a
   word as far as the bits of their codes leave room. */
void pack(const int64_t *codes, int streams, const int64_t *order, int cycles, int width,
          const int32_t *place, int bits, vec *out) {
    int size = 1;
    while (size < bits && size < 64) size *= 2;
    uint64_t low = ~0ull >> (64 - size);
    for (int c = 0; c < cycles; c++, codes += streams)
        for (int v = 0; v < width; v++) {
            vec x[64] = {0};
            uint64_t *word = (uint64_t *)x;
            const int64_t *from = order + 512 * v;
            for (int shift = 0; shift < 64; shift += size)
                for (int p = 0; p < 8 * size; p++)
                    word[p] |= (codes[*from++] & low) << shift;
            transpose(x, size);
            for (int k = 0; k < bits; k++)
                out[((size_t)place[k] * cycles + c) * width + v] = x[k < 63 ? k : 62];
        }
}

/* Rows `from` to `to` of a node's value, `width` a cycle; those of a register's and a clock's first
   cycle are known. */
static void evaluate(const node *x, vec *const *values, int from, int to, int width) {
    const vec *in[PINS];
    vec *z = values[x->output];
    int later = from < width ? width : from;
    for (int k = 0; k < x->inputs; k++) in[k] = values[x->input[k]] + from;
    if (x->kind == GATE) {
        evaluators[x->function](in, to - from, z + from);
    } else if (x->kind == INVERT) {
        for (int i = from; i < to; i++) z[i] = ~in[0][i - from];
    } else if (x->kind == REGISTER) {
        const vec *next = values[x->input[0]] - width, *clock = values[x->input[1]];
        for (int i = later; i < to; i++) z[i] = (next[i] & clock[i]) | (z[i - width] & ~clock[i]);
    } else if (x->kind == CLOCK) {
        for (int i = later; i < to; i++) {
            vec on = {0};
            for (int k = 1; k < x->inputs; k++) on |= values[x->input[k]][i - width];
            z[i] = (x->inputs > 1 ? on : ~on) & values[x->input[0]][i];
        }
    }
}

/* Transitions from each of a net's rows to the next, and ones, where the mask is one. */
static void tally_rows(tally *to, const vec *z, int rows, int width, vec mask) {
    vec toggles = {0}, ones = {0}, before = z[0] & mask, first = popcount(before);
    for (int i = 1; i < rows; i++) {
        vec now = z[(size_t)i * width] & mask;
        toggles += popcount(now ^ before);
        ones += popcount(now);
        before = now;
    }
    to->toggles += narrow(toggles);
    to->settled += narrow(toggles);
    to->start += narrow(ones + first - popcount(before));
    to->end += narrow(ones);
}

/* 65 rows of a net to words of 64 cycles; initial is a cycle earlier. */
static void windows(const vec *z, vec *initial, vec *final) {
    memcpy(final, z + 1, 64 * sizeof(vec));
    transpose(final, 64);
    for (int j = 0; j < 64; j++) initial[j] = final[j] << 1 | (z[0] >> j & 1);
}

/* Zero-delay cycles `from` to `to`: row 0 of every value is cycle `from`, for which the registers'
   and clocks' `states` are known, as they are for cycle `to` afterwards. Inputs are
   given[input][cycles][width]. Where counts is given, row v of every cycle adds to
   counts[(v + phase) % phases] what its mask lets pass; where final is given, 64 cycles of width 1
   are traced in words. Returns whether an alarm was ever 1. */
int advance(const int32_t *parts, int n_parts, const node *x, vec **values, vec *states,
            const vec *given, int cycles, int from, int to, int width, const vec *masks, int phase,
            int phases, int nets, tally *counts, vec *initial, vec *final) {
    vec alarm = {0};
    int rows = to - from + 1;
    size_t last = (size_t)(rows - 1) * width, size = width * sizeof(vec);
    for (; n_parts--; parts++) {
        const node *first = x, *end = x + *parts;
        for (; x < end; x++) {
            if (x->kind == INPUT)
                values[x->output] = (vec *)given + ((size_t)x->input[0] * cycles + from) * width;
            if (x->state >= 0) memcpy(values[x->output], states + x->state * width, size);
        }
        for (int row = 0, next; row < rows; row = next) {
            next = *parts > 1 ? row + 1 : rows;
            for (x = first; x < end; x++) evaluate(x, values, row * width, next * width, width);
        }
        for (x = first; x < end; x++) {
            const vec *z = values[x->output];
            if (x->state >= 0) memcpy(states + x->state * width, z + last, size);
            if (x->kind == ALARM)
                for (int i = 0; i < rows * width; i++) alarm |= values[x->input[0]][i];
            if (counts && x->net >= 0)
                for (int v = 0; v < width; v++)
                    tally_rows(counts + (size_t)((v + phase) % phases) * nets + x->net, z + v, rows,
                               width, masks[v]);
            if (final && x->trace >= 0)
                windows(z, initial + 64 * (size_t)x->trace, final + 64 * (size_t)x->trace);
        }
    }
    return differ(alarm, (vec){0});
}

/* Rows of z from step `from` on (row 1), the inputs delayed; each input stands still, moves along
   its rows, and stands still again. */
static void combine(const task *t, const wave *waves, int from, int rows, vec *z) {
    const vec *in[PINS];
    ptrdiff_t step[PINS];
    int begin[PINS];
    for (int k = 0; k < t->pins; k++) {
        const wave *w = waves + t->input[k];
        begin[k] = w->rows > 1 ? w->first + t->delay[k] - from : -1;
    }
    for (int j = 0, next; j < rows; z += (next - j) * NV, j = next) {
        next = rows;
        for (int k = 0; k < t->pins; k++) {
            const wave *w = waves + t->input[k];
            int at = j - begin[k], last = w->rows - 1;
            in[k] = w->row + (at < 0 ? 0 : at > last ? last : at) * NV;
            step[k] = at >= 0 && at < last ? NV : 0;
            int change = at < 0 ? begin[k] : begin[k] + last;
            if (change > j && change < next) next = change;
        }
        wavers[t->function](in, step, next - j, z);
    }
}

/* changed[j] for j < length: whether z changes in rows i + j + 1 .. i + length, the end of a block
   of `length` changes; it stands still after the row `last`. */
static inline void suffixes(const vec *z, int i, int length, int last, vec *changed) {
    int j = length - 1;
    for (; j >= 0 && i + j >= last; j--) EACH changed[j * NV + v] = (vec){0};
    vec any[NV] = {0}, now[NV];
    EACH now[v] = z[(i + j + 1) * NV + v];
    for (; j >= 0; j--) EACH {
        vec before = z[(i + j) * NV + v];
        changed[j * NV + v] = any[v] |= now[v] ^ before;
        now[v] = before;
    }
}

/* Rise after `rise` rows of z at 1, fall after `fall` rows at 0 (1 at least); z[0] also stands
   before the first row, and the last of the `rows` after it. Returns the transitions.

   Whether z stood still for the shorter time comes from blocks of that length: every window is the
   end of one and the start of the next. The longer time is some rows more. */
static void filter(vec *z, int rows, int rise, int fall, vec *changed, vec *out, vec *total) {
    int low = rise < fall ? rise : fall, more = rise + fall - 2 * low, n = rows - 1 + more;
    int length = low > 1 ? low - 1 : n;
    vec before[NV], now[NV], sum[NV] = {0};
    const vec *last = z + (rows - 1) * NV;
    EACH before[v] = out[v] = z[v], now[v] = z[(low < rows ? low : rows - 1) * NV + v];
    for (int k = 1; k < more; k++) EACH z[v - k * NV] = z[v], z[(rows - 1 + k) * NV + v] = last[v];
    for (int block = 0; block < n; block += length) {
        int size = block + length < n ? length : n - block;
        if (low > 1)
            suffixes(z, block + 1, length, rows - 1, changed);
        else
            memset(changed, 0, n * NV * sizeof(vec));
        vec any[NV] = {0};
        for (int k = 0; k < size; k++) {
            const vec *past = z + (block + k) * NV, *next = past + (low + 1) * NV;
            vec up[NV], stay[NV];
            if (next > last) next = last;
            EACH {
                vec moved = changed[k * NV + v] | any[v];
                up[v] = now[v] & ~moved, stay[v] = now[v] | moved;
            }
            if (rise > fall)
                for (int i = 0; i < more; i++) EACH up[v] &= past[v - i * NV];
            else
                for (int i = 0; i < more; i++) EACH stay[v] |= past[v - i * NV];
            EACH {
                vec after = up[v] | (before[v] & stay[v]);
                sum[v] += popcount(after ^ before[v]);
                out[(block + k + 1) * NV + v] = before[v] = after;
                any[v] |= next[v] ^ now[v];
                now[v] = next[v];
                if (low == 1) any[v] = (vec){0};
            }
        }
    }
    EACH total[v] = sum[v];
}

static inline int same(const vec *a, const vec *b) {
    vec x = {0};
    EACH x |= a[v] ^ b[v];
    return !differ(x, (vec){0});
}

/* The wave without rows in which nothing changes at either end. */
static wave trimmed(const vec *out, int first, int rows) {
    while (rows > 1 && same(out + (rows - 1) * NV, out + (rows - 2) * NV)) rows--;
    if (rows == 1) return (wave){out, 0, 1};
    while (same(out, out + NV)) out += NV, first++, rows--;
    return (wave){out, first, rows};
}

/* A source's rows; what is not counted stands still. */
static void drive(const task *t, const vec *initial, const vec *final, const vec *mask, wave *waves,
                  vec *arena, vec *total) {
    int steps = t->rise < t->fall ? t->fall - t->rise : t->rise - t->fall;
    vec *out = arena + t->place * NV;
    EACH {
        vec a = initial[v], b = (final[v] & mask[v]) | (a & ~mask[v]);
        out[v] = a;
        for (int j = 1; j <= steps; j++) out[j * NV + v] = t->rise < t->fall ? a | b : a & b;
        out[(steps + 1) * NV + v] = b;
        total[v] = popcount(a ^ b);
    }
    waves[t->net] = trimmed(out, t->rise < t->fall ? t->rise : t->fall, steps + 2);
}

static void propagate(const task *t, wave *waves, vec *arena, vec *scratch, int room, vec *total) {
    int from = INT_MAX, to = INT_MIN;
    for (int k = 0; k < t->pins; k++) {
        const wave *w = waves + t->input[k];
        int begin = w->first + t->delay[k], end = begin + w->rows - 2;
        if (w->rows > 1 && begin < from) from = begin;
        if (w->rows > 1 && end > to) to = end;
    }
    vec *out = arena + t->place * NV, *z = scratch + (t->rise + t->fall) * NV;
    if (from > to) {
        combine(t, waves, 0, 1, out);
        waves[t->net] = (wave){out, 0, 1};
        EACH total[v] = (vec){0};
        return;
    }
    int rows = to - from + 2, spread = t->rise < t->fall ? t->fall - t->rise : t->rise - t->fall;
    combine(t, waves, from, rows, z);
    filter(z, rows, t->rise, t->fall, scratch + (size_t)room * NV, out, total);
    waves[t->net] = trimmed(out, from + t->lead, rows + spread);
}

/* Counts of waveforms, NV blocks of words at once: source i's are initial and final[i][stride].
   Block b, as far as it is in masks[b], adds to counts[(b + phase) % phases][net].
   scratch has twice `room` rows. */
void simulate(const task *tasks, int n_tasks, const vec *initial, const vec *final, int blocks,
              int stride, const vec *masks, int phase, int phases, int nets, vec *arena,
              vec *scratch, int room, wave *waves, tally *counts) {
    EACH arena[v] = (vec){0}, arena[NV + v] = ~(vec){0};
    waves[0] = (wave){arena, 0, 1}, waves[1] = (wave){arena + NV, 0, 1};
    for (int b = 0; b < blocks; b += NV) {
        tally *count[NV];
        vec mask[NV], total[NV], a[NV], z[NV];
        EACH {
            count[v] = counts + (size_t)((b + v + phase) % phases) * nets;
            mask[v] = b + v < blocks ? masks[b + v] : (vec){0};
        }
        for (const task *t = tasks; t < tasks + n_tasks; t++) {
            const wave *w = waves + t->net;
            if (t->pins) {
                propagate(t, waves, arena, scratch, room, total);
            } else {
                EACH {
                    size_t at = (size_t)t->input[0] * stride + (b + v < stride ? b + v : b);
                    a[v] = initial[at], z[v] = final[at];
                }
                drive(t, a, z, mask, waves, arena, total);
            }
            EACH {
                vec start = w->row[v], end = w->row[(w->rows - 1) * NV + v];
                tally *c = count[v] + t->net;
                c->toggles += narrow(total[v]);
                c->settled += narrow(popcount(start ^ end));
                c->start += narrow(popcount(start & mask[v]));
                c->end += narrow(popcount(end & mask[v]));
            }
        }
    }
}
