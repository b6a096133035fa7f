/* Strings <-> numbers, in three flat pieces:
 *
 *   bytes    the names one after the other, each as: length (1..5 bytes, 7 bits each, low first),
 *            text, NUL. Offsets are 32 bits, so a table holds less than 4 GiB of names and refuses
 *            more with U2I_ENOMEM.
 *   offsets  number -> where its name starts; INTERN_NONE in a hole.
 *   slots    open addressing with linear probing, at most 3/4 full. A slot holds the number in its
 *            low `number_bits`; the bits above it are free, so they hold hash bits, and a probe over
 *            the wrong slots almost never reads a name. The table is rebuilt when the numbers need
 *            one more bit. INTERN_NONE marks a free slot: no number is all ones in number_bits.
 *
 * Slots are any number, not a power of two (position = high hash bits * slots_n >> 32), so that the
 * pieces can grow by half and little is left unused: 4 / 0.61 for the slot on average, 4.5 for the
 * offset, 2 for length and NUL. Removal shifts later entries of the run back: no tombstones. The
 * text of removed names is garbage until it is most of `bytes`, then the next put compacts it. */
#include "base/intern.h"

#include "base/alloc.h"
#include "base/hash.h"
#include "u2i.h"
#include <assert.h>
#include <stdbool.h>

#define INTERN_SLOTS_MIN    16u
#define INTERN_COMPACT_MIN  4096u
#define INTERN_LENGTH_BYTES 5u /* of the longest length prefix */

struct intern {
    unsigned char *bytes;
    size_t bytes_n, bytes_cap, bytes_dead;
    uint32_t *offsets;
    size_t offsets_cap;
    uint32_t end, count;
    uint32_t *slots;
    uint32_t slots_n;
    uint32_t number_bits;
};

struct intern *intern_new(void) {
    return mem_zalloc(sizeof(struct intern));
}

void intern_free(struct intern *t) {
    if (t != NULL) {
        mem_free(t->bytes);
        mem_free(t->offsets);
        mem_free(t->slots);
        mem_free(t);
    }
}

static uint64_t intern_hash(const char *name, size_t n) {
    return hash_bytes(name, n, 0);
}

static uint32_t intern_home(uint64_t hash, uint32_t slots_n) {
    return (uint32_t)(((hash >> 32) * slots_n) >> 32);
}

static uint32_t intern_next(const struct intern *t, uint32_t slot) {
    return slot + 1 == t->slots_n ? 0 : slot + 1;
}

static uint32_t intern_number_mask(const struct intern *t) {
    return UINT32_MAX >> (32 - t->number_bits);
}

/* The hash bits that go above the number: bits 0..31 of the hash, which do not decide the home. */
static uint32_t intern_tag(const struct intern *t, uint64_t hash) {
    return (uint32_t)hash & ~intern_number_mask(t);
}

static size_t intern_put_length(unsigned char *p, size_t n) {
    size_t used = 0;
    for (; n >= 0x80; n >>= 7) {
        p[used++] = (unsigned char)(n | 0x80);
    }
    p[used++] = (unsigned char)n;
    return used;
}

/* The text of the name stored at p; *n gets its length. */
static const char *intern_text(const unsigned char *p, size_t *n) {
    size_t length = *p & 0x7F;
    for (unsigned shift = 7; *p++ & 0x80; shift += 7) {
        length |= (size_t)(*p & 0x7F) << shift;
    }
    *n = length;
    return (const char *)p;
}

const char *intern_name(const struct intern *t, uint32_t number, size_t *n) {
    if (number >= t->end || t->offsets[number] == INTERN_NONE) {
        return NULL;
    }
    size_t length = 0;
    const char *const text = intern_text(t->bytes + t->offsets[number], &length);
    if (n != NULL) {
        *n = length;
    }
    return text;
}

static bool intern_is(const struct intern *t, uint32_t number, const char *name, size_t n) {
    size_t length = 0;
    const char *const text = intern_text(t->bytes + t->offsets[number], &length);
    return length == n && (n == 0 || memcmp(text, name, n) == 0);
}

/* The slot that holds the name, or the free slot where its run ends. The table is never full. */
static uint32_t intern_probe(const struct intern *t, const char *name, size_t n, uint64_t hash) {
    const uint32_t mask = intern_number_mask(t);
    const uint32_t tag = intern_tag(t, hash);
    uint32_t i = intern_home(hash, t->slots_n);
    for (; t->slots[i] != INTERN_NONE; i = intern_next(t, i)) {
        if ((t->slots[i] & ~mask) == tag && intern_is(t, t->slots[i] & mask, name, n)) {
            break;
        }
    }
    return i;
}

uint32_t intern_find(const struct intern *t, const char *name, size_t n) {
    if (t->count == 0) {
        return INTERN_NONE;
    }
    const uint32_t slot = t->slots[intern_probe(t, name, n, intern_hash(name, n))];
    return slot == INTERN_NONE ? INTERN_NONE : slot & intern_number_mask(t);
}

/* Enters a number whose name is known to be absent. */
static void intern_enter(struct intern *t, uint32_t number, uint64_t hash) {
    uint32_t i = intern_home(hash, t->slots_n);
    while (t->slots[i] != INTERN_NONE) {
        i = intern_next(t, i);
    }
    t->slots[i] = intern_tag(t, hash) | number;
}

/* A table of slots_n slots whose numbers may have number_bits bits. Names are read in the order of
 * their numbers, which is mostly the order in which they lie in memory. */
static int intern_rebuild(struct intern *t, uint32_t slots_n, uint32_t number_bits) {
    uint32_t *const slots = alloc_array(slots_n, sizeof *slots);
    if (slots == NULL) {
        return U2I_ENOMEM;
    }
    memset(slots, 0xFF, slots_n * sizeof *slots);
    mem_free(t->slots);
    t->slots = slots;
    t->slots_n = slots_n;
    t->number_bits = number_bits;
    for (uint32_t number = 0; number < t->end; number++) {
        size_t n = 0;
        const char *const name = intern_name(t, number, &n);
        if (name != NULL) {
            intern_enter(t, number, intern_hash(name, n));
        }
    }
    return U2I_OK;
}

/* Makes sure that one more name fits the slots and that `number` fits their bits. */
static int intern_reserve_slot(struct intern *t, uint32_t number) {
    uint64_t slots_n = t->slots_n < INTERN_SLOTS_MIN ? INTERN_SLOTS_MIN : t->slots_n;
    uint32_t bits = t->number_bits < 8 ? 8 : t->number_bits;
    while (((uint64_t)t->count + 1) * 4 > slots_n * 3) {
        slots_n += slots_n / 2;
    }
    while ((uint64_t)number + 1 >= UINT64_C(1) << bits) {
        bits++;
    }
    if (slots_n == t->slots_n && bits == t->number_bits) {
        return U2I_OK;
    }
    return slots_n > UINT32_MAX ? U2I_ENOMEM : intern_rebuild(t, (uint32_t)slots_n, bits);
}

/* Like array_reserve(), but grows by a quarter once it is large: this memory stays. */
static int intern_reserve(void *p_to_pointer, size_t *cap, size_t need, size_t size) {
    if (need <= *cap) {
        return U2I_OK;
    }
    size_t grown = *cap + *cap / (*cap * size < 65536 ? 1 : 4);
    grown = grown < 16 ? 16 : grown;
    grown = grown < need ? need : grown;
    void *p = NULL;
    memcpy(&p, p_to_pointer, sizeof p);
    p = realloc_array(p, grown, size);
    if (p == NULL) {
        return U2I_ENOMEM;
    }
    memcpy(p_to_pointer, &p, sizeof p);
    *cap = grown;
    return U2I_OK;
}

static size_t intern_record_bytes(const unsigned char *p) {
    size_t n = 0;
    const char *const text = intern_text(p, &n);
    return (size_t)(text - (const char *)p) + n + 1;
}

/* Copies the living names together. Without the memory for it the garbage just stays. */
static void intern_compact(struct intern *t) {
    size_t live = t->bytes_n - t->bytes_dead;
    unsigned char *const bytes = mem_alloc(live);
    if (bytes == NULL) {
        return;
    }
    size_t used = 0;
    for (uint32_t number = 0; number < t->end; number++) {
        if (t->offsets[number] != INTERN_NONE) {
            const unsigned char *const from = t->bytes + t->offsets[number];
            const size_t n = intern_record_bytes(from);
            assert(used + n <= live);
            memcpy(bytes + used, from, n);
            t->offsets[number] = (uint32_t)used;
            used += n;
        }
    }
    assert(used == live);
    mem_free(t->bytes);
    t->bytes = bytes;
    t->bytes_n = used;
    t->bytes_cap = live;
    t->bytes_dead = 0;
}

/* Room for the name and the number everywhere, so that what follows cannot fail. */
static int intern_reserve_all(struct intern *t, uint32_t number, size_t n) {
    if (number == INTERN_NONE || n > UINT32_MAX / 2) {
        return U2I_ENOMEM;
    }
    if (t->bytes_dead > INTERN_COMPACT_MIN && t->bytes_dead > t->bytes_n / 2) {
        intern_compact(t);
    }
    const size_t need = t->bytes_n + INTERN_LENGTH_BYTES + n + 1;
    if (need >= INTERN_NONE) {
        return U2I_ENOMEM;
    }
    int rc = intern_reserve(&t->bytes, &t->bytes_cap, need, 1);
    if (rc == U2I_OK) {
        rc = intern_reserve(&t->offsets, &t->offsets_cap, (size_t)number + 1, sizeof *t->offsets);
    }
    return rc == U2I_OK ? intern_reserve_slot(t, number) : rc;
}

int intern_put(struct intern *t, uint32_t number, const char *name, size_t n) {
    assert(intern_find(t, name, n) == INTERN_NONE);
    assert(intern_name(t, number, NULL) == NULL);
    const int rc = intern_reserve_all(t, number, n);
    if (rc != U2I_OK) {
        return rc;
    }
    while (t->end <= number) {
        t->offsets[t->end++] = INTERN_NONE;
    }
    t->offsets[number] = (uint32_t)t->bytes_n;
    t->bytes_n += intern_put_length(t->bytes + t->bytes_n, n);
    if (n > 0) {
        memcpy(t->bytes + t->bytes_n, name, n);
    }
    t->bytes_n += n;
    t->bytes[t->bytes_n++] = '\0';
    intern_enter(t, number, intern_hash(name, n));
    t->count++;
    return U2I_OK;
}

int intern_add(struct intern *t, const char *name, size_t n, uint32_t *number) {
    *number = t->end;
    return intern_put(t, t->end, name, n);
}

/* Frees slot `hole` (Knuth, TAOCP 6.4, algorithm R): each later entry of the run whose home is not
 * between the hole and itself moves into the hole, and leaves the next one. */
static void intern_shift_back(struct intern *t, uint32_t hole) {
    const uint32_t mask = intern_number_mask(t);
    for (uint32_t i = intern_next(t, hole); t->slots[i] != INTERN_NONE; i = intern_next(t, i)) {
        size_t n = 0;
        const char *const name = intern_name(t, t->slots[i] & mask, &n);
        const uint32_t home = intern_home(intern_hash(name, n), t->slots_n);
        const bool stays = hole < i ? hole < home && home <= i : hole < home || home <= i;
        if (!stays) {
            t->slots[hole] = t->slots[i];
            hole = i;
        }
    }
    t->slots[hole] = INTERN_NONE;
}

void intern_remove(struct intern *t, uint32_t number) {
    size_t n = 0;
    const char *const name = intern_name(t, number, &n);
    if (name == NULL) {
        return;
    }
    const uint32_t slot = intern_probe(t, name, n, intern_hash(name, n));
    assert((t->slots[slot] & intern_number_mask(t)) == number);
    intern_shift_back(t, slot);
    t->bytes_dead += intern_record_bytes(t->bytes + t->offsets[number]);
    t->offsets[number] = INTERN_NONE;
    t->count--;
}

uint32_t intern_end(const struct intern *t) {
    return t->end;
}

uint32_t intern_count(const struct intern *t) {
    return t->count;
}

size_t intern_bytes(const struct intern *t) {
    return sizeof *t + t->bytes_cap + t->offsets_cap * sizeof *t->offsets +
           (size_t)t->slots_n * sizeof *t->slots;
}
