/* The values that filters compute with, and what the operators do to them: exact comparison of
 * integers with reals, arithmetic that knows when it has no answer, and the three truth values. All
 * functions are pure. */
#ifndef U2I_FILTER_VALUE_H
#define U2I_FILTER_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum value_tag {
    VALUE_MISSING = 0, /* nothing there, or no answer (1 / 0) */
    VALUE_NULL = 1,
    VALUE_BOOL = 2,
    VALUE_INT = 3,
    VALUE_REAL = 4, /* finite */
    VALUE_STRING = 5,
    VALUE_ARRAY = 6, /* only that it is one: no operator takes an array's inside as a value */
    VALUE_OBJECT = 7
};

struct value {
    uint8_t tag;
    uint32_t n; /* VALUE_STRING: bytes */
    union {
        int64_t i; /* VALUE_INT; VALUE_BOOL: 0 or 1 */
        double r;
        const char *s; /* not NUL-terminated */
    } as;
};

/* Kleene's strong three-valued logic. The numbers make `and` the minimum and `or` the maximum. */
enum truth { TRUTH_FALSE = 0, TRUTH_UNKNOWN = 1, TRUTH_TRUE = 2 };

enum filter_op {
    OP_EQ,
    OP_NE,
    OP_LT,
    OP_LE,
    OP_GT,
    OP_GE,
    OP_ADD,
    OP_SUB,
    OP_MUL,
    OP_DIV,
    OP_MOD,
    OP_POW
};

static inline bool value_is_number(uint8_t tag) {
    return tag == VALUE_INT || tag == VALUE_REAL;
}
static inline bool value_op_orders(enum filter_op op) {
    return op >= OP_LT && op <= OP_GE;
}

enum filter_op value_op_flip(enum filter_op op);   /* a OP b == b flip(OP) a */
enum filter_op value_op_negate(enum filter_op op); /* not (a OP b) == a negate(OP) b */
bool value_op_holds(enum filter_op op, int order); /* order: negative, 0, positive */

/* Negative, 0 or positive. Exact: the integer is never rounded to a real. */
int value_compare_int_real(int64_t i, double r);
int value_compare_text(const char *a, size_t a_n, const char *b, size_t b_n); /* by bytes */
/* Both numbers, both strings or both booleans? Then *order is set. */
bool value_compare(const struct value *a, const struct value *b, int *order);
enum truth value_relate(enum filter_op op, const struct value *a, const struct value *b);

/* VALUE_MISSING where there is no answer: an operand that is no number, integer overflow, division
 * by zero, % of a real, a result that is not finite. */
struct value value_arith(enum filter_op op, struct value a, struct value b);
struct value value_negate(struct value a);

#endif
