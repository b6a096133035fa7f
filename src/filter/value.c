/* Operators on single values. The rules:
 *
 *  1. Integers and reals compare exactly. A double has 53 bits, so turning 2^53 + 1 into one would
 *     make it equal to 2^53; instead the real is cut to its integer part, which always fits once
 *     the range was checked, and its fraction decides ties.
 *  2. Integer arithmetic stays integer, as in C and Milvus: 7 / 2 is 3 and -7 % 2 is -1. With one
 *     real operand it is real. `**` of an integer with a negative exponent is real.
 *  3. What has no answer is no error, since one odd item must not break everybody's query:
 *     overflow, division by zero and non-finite results give VALUE_MISSING, with which every
 *     comparison is unknown. Hence a real is always finite and the order of numbers is total. */
#include "filter/value.h"
#include <math.h>
#include <string.h>

#define VALUE_TWO_63 9223372036854775808.0

enum filter_op value_op_flip(enum filter_op op) {
    switch (op) {
    case OP_LT:
        return OP_GT;
    case OP_LE:
        return OP_GE;
    case OP_GT:
        return OP_LT;
    case OP_GE:
        return OP_LE;
    default:
        return op;
    }
}

enum filter_op value_op_negate(enum filter_op op) {
    switch (op) {
    case OP_EQ:
        return OP_NE;
    case OP_NE:
        return OP_EQ;
    case OP_LT:
        return OP_GE;
    case OP_LE:
        return OP_GT;
    case OP_GT:
        return OP_LE;
    case OP_GE:
        return OP_LT;
    default:
        return op;
    }
}

bool value_op_holds(enum filter_op op, int order) {
    switch (op) {
    case OP_EQ:
        return order == 0;
    case OP_NE:
        return order != 0;
    case OP_LT:
        return order < 0;
    case OP_LE:
        return order <= 0;
    case OP_GT:
        return order > 0;
    default:
        return order >= 0;
    }
}

int value_compare_int_real(int64_t i, double r) {
    if (r >= VALUE_TWO_63) {
        return -1;
    }
    if (r < -VALUE_TWO_63) {
        return 1;
    }
    const int64_t whole = (int64_t)r;
    if (i != whole) {
        return i < whole ? -1 : 1;
    }
    const double fraction = r - (double)whole;
    return fraction > 0 ? -1 : fraction < 0;
}

int value_compare_text(const char *a, size_t a_n, const char *b, size_t b_n) {
    const size_t n = a_n < b_n ? a_n : b_n;
    const int order = n > 0 ? memcmp(a, b, n) : 0;
    if (order != 0) {
        return order;
    }
    return a_n < b_n ? -1 : a_n > b_n;
}

static int value_compare_numbers(const struct value *a, const struct value *b) {
    if (a->tag == VALUE_INT && b->tag == VALUE_INT) {
        return a->as.i < b->as.i ? -1 : a->as.i > b->as.i;
    }
    if (a->tag == VALUE_INT) {
        return value_compare_int_real(a->as.i, b->as.r);
    }
    if (b->tag == VALUE_INT) {
        return -value_compare_int_real(b->as.i, a->as.r);
    }
    return a->as.r < b->as.r ? -1 : a->as.r > b->as.r;
}

bool value_compare(const struct value *a, const struct value *b, int *order) {
    if (value_is_number(a->tag) && value_is_number(b->tag)) {
        *order = value_compare_numbers(a, b);
        return true;
    }
    if (a->tag != b->tag) {
        return false;
    }
    if (a->tag == VALUE_STRING) {
        *order = value_compare_text(a->as.s, a->n, b->as.s, b->n);
        return true;
    }
    *order = a->as.i < b->as.i ? -1 : a->as.i > b->as.i;
    return a->tag == VALUE_BOOL;
}

enum truth value_relate(enum filter_op op, const struct value *a, const struct value *b) {
    int order = 0;
    if (!value_compare(a, b, &order) || (a->tag == VALUE_BOOL && value_op_orders(op))) {
        return TRUTH_UNKNOWN;
    }
    return value_op_holds(op, order) ? TRUTH_TRUE : TRUTH_FALSE;
}

/* ---- Arithmetic ----------------------------------------------------------------------------- */

static struct value value_missing(void) {
    return (struct value){.tag = VALUE_MISSING};
}

static struct value value_int(int64_t i) {
    return (struct value){.tag = VALUE_INT, .as.i = i};
}

static struct value value_real(double r) {
    return isfinite(r) ? (struct value){.tag = VALUE_REAL, .as.r = r} : value_missing();
}

/* By squaring; exponent >= 0. */
static struct value value_int_power(int64_t base, int64_t exponent) {
    int64_t result = 1;
    while (exponent > 0) {
        if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) {
            return value_missing();
        }
        exponent >>= 1;
        if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) {
            return value_missing();
        }
    }
    return value_int(result);
}

/* The quotient of INT64_MIN and -1 does not fit; its remainder is 0, though the CPU traps on it. */
static struct value value_int_divide(enum filter_op op, int64_t a, int64_t b) {
    if (b == 0) {
        return value_missing();
    }
    if (b == -1) {
        return op == OP_MOD ? value_int(0) : value_negate(value_int(a));
    }
    return value_int(op == OP_DIV ? a / b : a % b);
}

static struct value value_arith_int(enum filter_op op, int64_t a, int64_t b) {
    int64_t result = 0;
    bool overflow = true;
    switch (op) {
    case OP_ADD:
        overflow = __builtin_add_overflow(a, b, &result);
        break;
    case OP_SUB:
        overflow = __builtin_sub_overflow(a, b, &result);
        break;
    case OP_MUL:
        overflow = __builtin_mul_overflow(a, b, &result);
        break;
    case OP_POW:
        return b >= 0 ? value_int_power(a, b) : value_real(pow((double)a, (double)b));
    default:
        return value_int_divide(op, a, b);
    }
    return overflow ? value_missing() : value_int(result);
}

static struct value value_arith_real(enum filter_op op, double a, double b) {
    switch (op) {
    case OP_ADD:
        return value_real(a + b);
    case OP_SUB:
        return value_real(a - b);
    case OP_MUL:
        return value_real(a * b);
    case OP_DIV:
        return b != 0 ? value_real(a / b) : value_missing();
    case OP_POW:
        return value_real(pow(a, b));
    default:
        return value_missing(); /* % is of integers */
    }
}

struct value value_arith(enum filter_op op, struct value a, struct value b) {
    if (!value_is_number(a.tag) || !value_is_number(b.tag)) {
        return value_missing();
    }
    if (a.tag == VALUE_INT && b.tag == VALUE_INT) {
        return value_arith_int(op, a.as.i, b.as.i);
    }
    const double x = a.tag == VALUE_INT ? (double)a.as.i : a.as.r;
    const double y = b.tag == VALUE_INT ? (double)b.as.i : b.as.r;
    return value_arith_real(op, x, y);
}

struct value value_negate(struct value a) {
    if (a.tag == VALUE_REAL) {
        return value_real(-a.as.r);
    }
    if (a.tag == VALUE_INT && a.as.i != INT64_MIN) {
        return value_int(-a.as.i);
    }
    return value_missing();
}
