/* Reads the pickle of a dict of tensors, data.pkl in a file of torch.save().
 *
 * A pickle is a program for a machine with a stack and a memo that can call anything in Python (Python's
 * Lib/pickletools.py has its language). This is no such machine: it knows the operations of protocol 2 with which
 * torch writes a dict of tensors, and in place of calling functions it knows what these few stand for:
 *
 *     collections.OrderedDict()                   a dict
 *     torch._utils._rebuild_tensor_v2(storage, first value, sizes, strides, ...)   a tensor
 *     torch._utils._rebuild_parameter(tensor, ...)   that tensor
 *     persistent id ('storage', torch.FloatStorage, key, device, values)   a storage, an entry of the archive
 *
 * Everything else is refused, by name. What always holds:
 *  1. A value has 16 bytes and refers to what it is made of: texts stay in the pickle, items of tuples in one array. So
 *     nothing grows faster than the pickle is read, whatever refers to what how often.
 *  2. Nothing recurses: a tensor is looked into only when all is read, to a fixed depth.
 *  3. The memo is filled in order, as Python does, so it is no larger than the pickle either.
 *
 * Tensors may share a storage (tied weights). They have to be contiguous, as those of a state dict are. */
#include "embed/torch_pickle.h"

#include "base/alloc.h"
#include "base/error.h"
#include "embed/torch_bytes.h"
#include <assert.h>

#define TORCH_RANK_MAX 64 /* dimensions, torch's own limit */

enum torch_kind {
    TORCH_MARK,
    TORCH_CONSTANT, /* True, False, None */
    TORCH_INTEGER,  /* x: an int64_t */
    TORCH_TEXT,     /* x: its place in the pickle, n bytes */
    TORCH_GLOBAL,   /* x: its index in TORCH_GLOBALS */
    TORCH_TUPLE,    /* x: the first of n items */
    TORCH_DICT,     /* x: its number */
    TORCH_STORAGE,  /* the items of its persistent id */
    TORCH_TENSOR    /* the arguments it is made of */
};

struct torch_value {
    uint32_t kind, n;
    uint64_t x;
};

struct torch_pair {
    uint64_t dict;
    struct torch_value key, value;
};

struct torch_pickle {
    const char *path;
    const unsigned char *p;
    size_t n, at;
    size_t op; /* where the operation at work is */
    struct torch_value *stack;
    size_t stack_n;
    struct torch_value *memo;
    size_t memo_n, memo_cap;
    struct torch_value *items; /* of all tuples */
    size_t items_n, items_cap;
    struct torch_pair *pairs; /* of all dicts */
    size_t pairs_n, pairs_cap;
    uint64_t dicts_n;
    u2i_error_t *err;
};

/* ---- What is known by name -------------------------------------------------------------------- */

enum torch_role { TORCH_MAKES_DICT, TORCH_MAKES_TENSOR, TORCH_MAKES_PARAMETER, TORCH_IS_TYPE };

static const struct torch_global {
    const char *module, *name;
    enum torch_role role;
    const char *dtype; /* of a storage */
    uint32_t bytes;    /* of one value */
} TORCH_GLOBALS[] = {
    {"collections", "OrderedDict", TORCH_MAKES_DICT, NULL, 0},
    {"torch._utils", "_rebuild_tensor_v2", TORCH_MAKES_TENSOR, NULL, 0},
    {"torch._utils", "_rebuild_parameter", TORCH_MAKES_PARAMETER, NULL, 0},
    {"torch", "FloatStorage", TORCH_IS_TYPE, "F32", 4},
    {"torch", "HalfStorage", TORCH_IS_TYPE, "F16", 2},
    {"torch", "BFloat16Storage", TORCH_IS_TYPE, "BF16", 2},
    {"torch", "DoubleStorage", TORCH_IS_TYPE, "F64", 8},
    {"torch", "LongStorage", TORCH_IS_TYPE, "I64", 8},
    {"torch", "IntStorage", TORCH_IS_TYPE, "I32", 4},
    {"torch", "ShortStorage", TORCH_IS_TYPE, "I16", 2},
    {"torch", "CharStorage", TORCH_IS_TYPE, "I8", 1},
    {"torch", "ByteStorage", TORCH_IS_TYPE, "U8", 1},
    {"torch", "BoolStorage", TORCH_IS_TYPE, "BOOL", 1},
};

static int torch_pickle_bad(const struct torch_pickle *r, const char *what) {
    return error_set(r->err, U2I_EEMBED, "%s: data.pkl, byte %zu: %s", r->path, r->op, what);
}

/* ---- Stack and bytes -------------------------------------------------------------------------- */

static int torch_pickle_bytes(struct torch_pickle *r, size_t n, const unsigned char **out) {
    *out = r->p + r->at;
    if (n > r->n - r->at) {
        return torch_pickle_bad(r, "the pickle is cut here");
    }
    r->at += n;
    return U2I_OK;
}

/* A little-endian number. */
static int torch_pickle_number(struct torch_pickle *r, unsigned bytes, uint64_t *out) {
    const unsigned char *p;
    U2I_TRY(torch_pickle_bytes(r, bytes, &p));
    *out = torch_number(p, bytes);
    return U2I_OK;
}

static int torch_pickle_push(struct torch_pickle *r, uint32_t kind, uint64_t x, size_t n) {
    if (r->stack_n == TORCH_STACK_MAX) {
        return error_set(r->err, U2I_EEMBED, "%s: data.pkl, byte %zu: over %d values on the stack",
                         r->path, r->op, TORCH_STACK_MAX);
    }
    r->stack[r->stack_n++] = (struct torch_value){kind, (uint32_t)n, x};
    return U2I_OK;
}

/* The value on top is to be read, and is none of a mark. */
static bool torch_pickle_has(const struct torch_pickle *r, size_t n) {
    if (n > r->stack_n) {
        return false;
    }
    for (size_t i = r->stack_n - n; i < r->stack_n; i++) {
        if (r->stack[i].kind == TORCH_MARK) {
            return false;
        }
    }
    return true;
}

/* How many values are over the topmost mark. */
static int torch_pickle_over_mark(const struct torch_pickle *r, size_t *n) {
    size_t at = r->stack_n;
    while (at > 0 && r->stack[at - 1].kind != TORCH_MARK) {
        at--;
    }
    *n = r->stack_n - at;
    return at > 0 ? U2I_OK : torch_pickle_bad(r, "there is no mark on the stack");
}

/* ---- Operations ------------------------------------------------------------------------------- */

static int torch_pickle_on_proto(struct torch_pickle *r) {
    uint64_t version;
    U2I_TRY(torch_pickle_number(r, 1, &version));
    return version == 2 ? U2I_OK : torch_pickle_bad(r, "its protocol is not 2");
}

static int torch_pickle_line(struct torch_pickle *r, const unsigned char **p, size_t *n) {
    const unsigned char *const from = r->p + r->at;
    const unsigned char *const end = memchr(from, '\n', r->n - r->at);
    if (end == NULL || end - from > TORCH_TEXT_MAX || !torch_is_text(from, (size_t)(end - from))) {
        return torch_pickle_bad(r, "a name is no text, or has over 256 bytes");
    }
    *p = from;
    *n = (size_t)(end - from);
    r->at += *n + 1;
    return U2I_OK;
}

static bool torch_pickle_same(const char *name, const unsigned char *p, size_t n) {
    return strlen(name) == n && memcmp(name, p, n) == 0;
}

static int torch_pickle_on_global(struct torch_pickle *r) {
    const unsigned char *module, *name;
    size_t module_n, name_n;
    U2I_TRY(torch_pickle_line(r, &module, &module_n));
    U2I_TRY(torch_pickle_line(r, &name, &name_n));
    for (size_t i = 0; i < sizeof TORCH_GLOBALS / sizeof TORCH_GLOBALS[0]; i++) {
        if (torch_pickle_same(TORCH_GLOBALS[i].module, module, module_n) &&
            torch_pickle_same(TORCH_GLOBALS[i].name, name, name_n)) {
            return torch_pickle_push(r, TORCH_GLOBAL, i, 0);
        }
    }
    return error_set(r->err, U2I_EEMBED,
                     "%s: data.pkl, byte %zu: it uses %.*s.%.*s, which no dict of tensors needs",
                     r->path, r->op, (int)module_n, (const char *)module, (int)name_n,
                     (const char *)name);
}

static int torch_pickle_memoize(struct torch_pickle *r, uint64_t place) {
    if (place > r->memo_n || !torch_pickle_has(r, 1)) {
        return torch_pickle_bad(r, "the memo is not filled in order");
    }
    if (array_reserve(&r->memo, &r->memo_cap, r->memo_n + 1, sizeof *r->memo) != U2I_OK) {
        return error_oom(r->err);
    }
    r->memo[place] = r->stack[r->stack_n - 1];
    r->memo_n += place == r->memo_n;
    return U2I_OK;
}

static int torch_pickle_on_put1(struct torch_pickle *r) {
    uint64_t place;
    U2I_TRY(torch_pickle_number(r, 1, &place));
    return torch_pickle_memoize(r, place);
}

static int torch_pickle_on_put4(struct torch_pickle *r) {
    uint64_t place;
    U2I_TRY(torch_pickle_number(r, 4, &place));
    return torch_pickle_memoize(r, place);
}

static int torch_pickle_recall(struct torch_pickle *r, uint64_t place) {
    if (place >= r->memo_n) {
        return torch_pickle_bad(r, "it asks for what the memo does not have");
    }
    const struct torch_value *const v = &r->memo[place];
    return torch_pickle_push(r, v->kind, v->x, v->n);
}

static int torch_pickle_on_get1(struct torch_pickle *r) {
    uint64_t place;
    U2I_TRY(torch_pickle_number(r, 1, &place));
    return torch_pickle_recall(r, place);
}

static int torch_pickle_on_get4(struct torch_pickle *r) {
    uint64_t place;
    U2I_TRY(torch_pickle_number(r, 4, &place));
    return torch_pickle_recall(r, place);
}

static int torch_pickle_on_mark(struct torch_pickle *r) {
    return torch_pickle_push(r, TORCH_MARK, 0, 0);
}

static int torch_pickle_on_constant(struct torch_pickle *r) {
    return torch_pickle_push(r, TORCH_CONSTANT, 0, 0);
}

static int torch_pickle_on_int1(struct torch_pickle *r) {
    uint64_t x;
    U2I_TRY(torch_pickle_number(r, 1, &x));
    return torch_pickle_push(r, TORCH_INTEGER, x, 0);
}

static int torch_pickle_on_int2(struct torch_pickle *r) {
    uint64_t x;
    U2I_TRY(torch_pickle_number(r, 2, &x));
    return torch_pickle_push(r, TORCH_INTEGER, x, 0);
}

/* `bytes` of a number whose highest bit is its sign: the sign is spread upwards. */
static uint64_t torch_pickle_signed(uint64_t x, unsigned bytes) {
    const uint64_t sign = bytes == 0 ? 0 : (uint64_t)1 << (8 * bytes - 1);
    return (x ^ sign) - sign;
}

static int torch_pickle_on_int4(struct torch_pickle *r) {
    uint64_t x;
    U2I_TRY(torch_pickle_number(r, 4, &x));
    return torch_pickle_push(r, TORCH_INTEGER, torch_pickle_signed(x, 4), 0);
}

static int torch_pickle_on_long(struct torch_pickle *r) {
    uint64_t bytes, x;
    U2I_TRY(torch_pickle_number(r, 1, &bytes));
    if (bytes > 8) {
        return torch_pickle_bad(r, "a number has over 64 bits");
    }
    U2I_TRY(torch_pickle_number(r, (unsigned)bytes, &x));
    return torch_pickle_push(r, TORCH_INTEGER, torch_pickle_signed(x, (unsigned)bytes), 0);
}

static int torch_pickle_on_text(struct torch_pickle *r) {
    const unsigned char *p;
    uint64_t n;
    U2I_TRY(torch_pickle_number(r, 4, &n));
    U2I_TRY(torch_pickle_bytes(r, n, &p));
    return torch_pickle_push(r, TORCH_TEXT, (uint64_t)(p - r->p), n);
}

/* The n values on top become one. There are items then, if only room for one. */
static int torch_pickle_tuple(struct torch_pickle *r, size_t n) {
    if (!torch_pickle_has(r, n)) {
        return torch_pickle_bad(r, "too few values are on the stack");
    }
    if (array_reserve(&r->items, &r->items_cap, r->items_n + n + 1, sizeof *r->items) != U2I_OK) {
        return error_oom(r->err);
    }
    r->stack_n -= n;
    if (n > 0) {
        memcpy(r->items + r->items_n, r->stack + r->stack_n, n * sizeof *r->items);
    }
    r->items_n += n;
    return torch_pickle_push(r, TORCH_TUPLE, r->items_n - n, n);
}

static int torch_pickle_on_tuple0(struct torch_pickle *r) {
    return torch_pickle_tuple(r, 0);
}

static int torch_pickle_on_tuple1(struct torch_pickle *r) {
    return torch_pickle_tuple(r, 1);
}

static int torch_pickle_on_tuple2(struct torch_pickle *r) {
    return torch_pickle_tuple(r, 2);
}

static int torch_pickle_on_tuple3(struct torch_pickle *r) {
    return torch_pickle_tuple(r, 3);
}

static int torch_pickle_on_tuple(struct torch_pickle *r) {
    size_t n;
    U2I_TRY(torch_pickle_over_mark(r, &n));
    U2I_TRY(torch_pickle_tuple(r, n));
    r->stack[r->stack_n - 2] = r->stack[r->stack_n - 1]; /* in place of the mark */
    r->stack_n--;
    return U2I_OK;
}

static int torch_pickle_on_dict(struct torch_pickle *r) {
    return torch_pickle_push(r, TORCH_DICT, r->dicts_n++, 0);
}

/* Key and value. */
static int torch_pickle_set(struct torch_pickle *r, uint64_t dict, const struct torch_value *pair) {
    if (array_reserve(&r->pairs, &r->pairs_cap, r->pairs_n + 1, sizeof *r->pairs) != U2I_OK) {
        return error_oom(r->err);
    }
    r->pairs[r->pairs_n++] = (struct torch_pair){dict, pair[0], pair[1]};
    return U2I_OK;
}

static int torch_pickle_on_set(struct torch_pickle *r) {
    if (!torch_pickle_has(r, 3) || r->stack[r->stack_n - 3].kind != TORCH_DICT) {
        return torch_pickle_bad(r, "it sets an item of what is no dict");
    }
    r->stack_n -= 2;
    return torch_pickle_set(r, r->stack[r->stack_n - 1].x, r->stack + r->stack_n);
}

static int torch_pickle_on_sets(struct torch_pickle *r) {
    size_t n;
    U2I_TRY(torch_pickle_over_mark(r, &n));
    const size_t mark = r->stack_n - n - 1;
    if (n % 2 != 0 || mark == 0 || r->stack[mark - 1].kind != TORCH_DICT) {
        return torch_pickle_bad(r, "it sets items of what is no dict");
    }
    for (size_t i = 0; i < n; i += 2) {
        U2I_TRY(torch_pickle_set(r, r->stack[mark - 1].x, r->stack + mark + 1 + i));
    }
    r->stack_n = mark;
    return U2I_OK;
}

/* A state dict has attributes, which say nothing of its tensors. */
static int torch_pickle_on_build(struct torch_pickle *r) {
    if (!torch_pickle_has(r, 2) || r->stack[r->stack_n - 2].kind != TORCH_DICT) {
        return torch_pickle_bad(r, "it gives attributes to what is no dict");
    }
    r->stack_n--;
    return U2I_OK;
}

static bool torch_pickle_is_text(const struct torch_pickle *r, const struct torch_value *v) {
    return v->kind == TORCH_TEXT && v->n <= TORCH_TEXT_MAX && torch_is_text(r->p + v->x, v->n);
}

/* What a call of torch's makes of its arguments; false if it is not called so. */
static bool torch_pickle_make(struct torch_pickle *r, const struct torch_global *global,
                              const struct torch_value *args, struct torch_value *out) {
    const struct torch_value *const first = r->items + args->x;
    switch (global->role) {
    case TORCH_MAKES_DICT:
        *out = (struct torch_value){TORCH_DICT, 0, r->dicts_n++};
        return args->n == 0;
    case TORCH_MAKES_TENSOR:
        *out = (struct torch_value){TORCH_TENSOR, args->n, args->x};
        return args->n >= 6 && args->n <= 7 && first[0].kind == TORCH_STORAGE &&
               first[1].kind == TORCH_INTEGER && first[2].kind == TORCH_TUPLE &&
               first[3].kind == TORCH_TUPLE;
    case TORCH_MAKES_PARAMETER:
        if (args->n != 3 || first[0].kind != TORCH_TENSOR) {
            return false;
        }
        *out = first[0];
        return true;
    case TORCH_IS_TYPE:
        break;
    }
    return false;
}

static int torch_pickle_on_call(struct torch_pickle *r) {
    if (!torch_pickle_has(r, 2) || r->stack[r->stack_n - 1].kind != TORCH_TUPLE ||
        r->stack[r->stack_n - 2].kind != TORCH_GLOBAL) {
        return torch_pickle_bad(r, "it calls what is no function");
    }
    const struct torch_value args = r->stack[--r->stack_n];
    const struct torch_global *const global = &TORCH_GLOBALS[r->stack[r->stack_n - 1].x];
    return torch_pickle_make(r, global, &args, &r->stack[r->stack_n - 1])
               ? U2I_OK
               : error_set(r->err, U2I_EEMBED,
                           "%s: data.pkl, byte %zu: %s.%s is not called as torch does", r->path,
                           r->op, global->module, global->name);
}

/* ('storage', type, key, device, values); the device is where it was, and of no interest. */
static int torch_pickle_on_storage(struct torch_pickle *r) {
    if (!torch_pickle_has(r, 1) || r->stack[r->stack_n - 1].kind != TORCH_TUPLE ||
        r->stack[r->stack_n - 1].n != 5) {
        return torch_pickle_bad(r, "a persistent id is that of no storage");
    }
    struct torch_value *const top = &r->stack[r->stack_n - 1];
    const struct torch_value *const item = r->items + top->x;
    if (!torch_pickle_is_text(r, &item[0]) ||
        !torch_pickle_same("storage", r->p + item[0].x, item[0].n) ||
        item[1].kind != TORCH_GLOBAL || TORCH_GLOBALS[item[1].x].role != TORCH_IS_TYPE ||
        !torch_pickle_is_text(r, &item[2]) || item[3].kind != TORCH_TEXT ||
        item[4].kind != TORCH_INTEGER || (int64_t)item[4].x < 0) {
        return torch_pickle_bad(r, "a persistent id is that of no storage");
    }
    top->kind = TORCH_STORAGE;
    return U2I_OK;
}

static const struct torch_operation {
    unsigned char code;
    int (*run)(struct torch_pickle *r);
} TORCH_OPERATIONS[] = {{0x80, torch_pickle_on_proto},    {'c', torch_pickle_on_global},
                        {'q', torch_pickle_on_put1},      {'r', torch_pickle_on_put4},
                        {'h', torch_pickle_on_get1},      {'j', torch_pickle_on_get4},
                        {'(', torch_pickle_on_mark},      {0x88, torch_pickle_on_constant},
                        {0x89, torch_pickle_on_constant}, {'N', torch_pickle_on_constant},
                        {'K', torch_pickle_on_int1},      {'M', torch_pickle_on_int2},
                        {'J', torch_pickle_on_int4},      {0x8a, torch_pickle_on_long},
                        {'X', torch_pickle_on_text},      {')', torch_pickle_on_tuple0},
                        {0x85, torch_pickle_on_tuple1},   {0x86, torch_pickle_on_tuple2},
                        {0x87, torch_pickle_on_tuple3},   {'t', torch_pickle_on_tuple},
                        {'}', torch_pickle_on_dict},      {'s', torch_pickle_on_set},
                        {'u', torch_pickle_on_sets},      {'b', torch_pickle_on_build},
                        {'R', torch_pickle_on_call},      {'Q', torch_pickle_on_storage}};

static int torch_pickle_step(struct torch_pickle *r, unsigned char code) {
    for (size_t i = 0; i < sizeof TORCH_OPERATIONS / sizeof TORCH_OPERATIONS[0]; i++) {
        if (TORCH_OPERATIONS[i].code == code) {
            return TORCH_OPERATIONS[i].run(r);
        }
    }
    return error_set(r->err, U2I_EEMBED,
                     "%s: data.pkl, byte %zu: no dict of tensors needs operation 0x%02x", r->path,
                     r->op, (unsigned)code);
}

/* Up to the full stop, which is the last byte; one value is left. */
static int torch_pickle_run(struct torch_pickle *r) {
    for (;;) {
        const unsigned char *code;
        r->op = r->at;
        U2I_TRY(torch_pickle_bytes(r, 1, &code));
        if (*code == '.') {
            break;
        }
        U2I_TRY(torch_pickle_step(r, *code));
    }
    if (r->at != r->n) {
        return torch_pickle_bad(r, "the pickle goes on after its end");
    }
    return r->stack_n == 1 && r->stack[0].kind == TORCH_DICT
               ? U2I_OK
               : torch_pickle_bad(r, "what was saved is no dict of tensors");
}

/* ---- Tensors ---------------------------------------------------------------------------------- */

static int torch_pickle_bad_tensor(const struct torch_pickle *r, const char *name,
                                   const char *what) {
    return error_set(r->err, U2I_EEMBED, "%s: tensor %s: %s", r->path, name, what);
}

/* How many values it has; false if that overflows, or a size or stride is no number from 0 on. */
static bool torch_pickle_count(const struct torch_value *sizes, const struct torch_value *strides,
                               size_t dims_n, uint64_t *out) {
    *out = 1;
    for (size_t i = 0; i < dims_n; i++) {
        if (sizes[i].kind != TORCH_INTEGER || (int64_t)sizes[i].x < 0 ||
            strides[i].kind != TORCH_INTEGER || (int64_t)strides[i].x < 0 ||
            __builtin_mul_overflow(*out, sizes[i].x, out)) {
            return false;
        }
    }
    return true;
}

/* Rows first, without gaps. Strides of sizes that are 1 say nothing. */
static bool torch_pickle_contiguous(const struct torch_value *sizes,
                                    const struct torch_value *strides, size_t dims_n) {
    uint64_t stride = 1; /* a factor of the tensor's values, so it does not overflow */
    for (size_t i = dims_n; i > 0; i--) {
        if (sizes[i - 1].x != 1 && strides[i - 1].x != stride) {
            return false;
        }
        stride *= sizes[i - 1].x;
    }
    return true;
}

static int torch_pickle_shape(const struct torch_pickle *r, const struct torch_value *args,
                              struct torch_tensor *t) {
    const struct torch_value *const sizes = r->items + args[2].x;
    const struct torch_value *const strides = r->items + args[3].x;
    t->dims_n = args[2].n;
    if (t->dims_n > TORCH_RANK_MAX || args[3].n != t->dims_n ||
        !torch_pickle_count(sizes, strides, t->dims_n, &t->n)) {
        return torch_pickle_bad_tensor(
            r, t->name, "its sizes and strides are no numbers, too large, or too many");
    }
    if (t->n > 0 && !torch_pickle_contiguous(sizes, strides, t->dims_n)) {
        return torch_pickle_bad_tensor(
            r, t->name, "it is not contiguous: save it anew after tensor.contiguous()");
    }
    for (size_t i = 0; i < t->dims_n && i < TORCH_DIMS_MAX; i++) {
        t->dims[i] = sizes[i].x;
    }
    return U2I_OK;
}

static int torch_pickle_give(const struct torch_pickle *r, const struct torch_pair *pair,
                             torch_take *take, void *ctx) {
    char name[TORCH_TEXT_MAX + 1] = "", key[TORCH_TEXT_MAX + 1] = "";
    const struct torch_value *const args = r->items + pair->value.x;
    const struct torch_value *const storage = r->items + args[0].x;
    const struct torch_global *const type = &TORCH_GLOBALS[storage[1].x];
    struct torch_tensor t = {.name = name,
                             .key = key,
                             .dtype = type->dtype,
                             .value_bytes = type->bytes,
                             .storage_n = storage[4].x,
                             .first = args[1].x};
    if (!torch_pickle_is_text(r, &pair->key)) {
        return error_set(r->err, U2I_EEMBED,
                         "%s: the name of a tensor is no text, or has over %d bytes", r->path,
                         TORCH_TEXT_MAX);
    }
    memcpy(name, r->p + pair->key.x, pair->key.n);
    memcpy(key, r->p + storage[2].x, storage[2].n);
    U2I_TRY(torch_pickle_shape(r, args, &t));
    if (t.first > t.storage_n || t.n > t.storage_n - t.first) { /* a negative one is over all */
        return torch_pickle_bad_tensor(r, name, "it is not within its storage");
    }
    return take(ctx, &t, r->err);
}

static int torch_pickle_give_all(const struct torch_pickle *r, torch_take *take, void *ctx) {
    for (size_t i = 0; i < r->pairs_n; i++) {
        const struct torch_pair *const pair = &r->pairs[i];
        if (pair->dict == r->stack[0].x && pair->value.kind == TORCH_TENSOR) {
            U2I_TRY(torch_pickle_give(r, pair, take, ctx));
        }
    }
    return U2I_OK;
}

int torch_pickle_read(const char *path, const unsigned char *p, size_t n, torch_take *take,
                      void *ctx, u2i_error_t *err) {
    struct torch_pickle r = {.path = path, .p = p, .n = n, .err = err};
    if (n > TORCH_PICKLE_MAX) {
        return error_set(err, U2I_EEMBED, "%s: data.pkl has %zu bytes, over %zu", path, n,
                         TORCH_PICKLE_MAX);
    }
    r.stack = alloc_array(TORCH_STACK_MAX, sizeof *r.stack);
    int rc = r.stack == NULL ? error_oom(err) : torch_pickle_run(&r);
    if (rc == U2I_OK) {
        rc = torch_pickle_give_all(&r, take, ctx);
    }
    mem_free(r.stack);
    mem_free(r.memo);
    mem_free(r.items);
    mem_free(r.pairs);
    return rc;
}
