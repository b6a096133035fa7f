/* Nearly all reals that people write have at most 19 digits and a small exponent: digits * 10^e
 * with digits <= 2^53 and |e| <= 22 is one exact integer times or divided by one exact power of
 * ten, so a single rounding gives the correct double (W. D. Clinger, "How to read floating point
 * numbers accurately", 1990, section 5). The rest goes to the C library, in its "C" locale:
 * strtod() alone would read 1.5 as 1 in a process that runs under a locale with a decimal comma. */
#include "base/number.h"
#include <assert.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NUMBER_EXACT_MAX 9007199254740992u /* 2^53 */

bool number_digits(const char *s, size_t n, uint64_t *out) {
    uint64_t value = 0;
    for (size_t i = 0; i < n; i++) {
        const uint64_t digit = (uint64_t)(s[i] - '0');
        if (__builtin_mul_overflow(value, (uint64_t)10, &value) ||
            __builtin_add_overflow(value, digit, &value)) {
            return false;
        }
    }
    *out = value;
    return true;
}

/* Mantissa and exponent of a short number; false when it is too long for the exact path. */
static bool number_split(const char *s, size_t n, uint64_t *mantissa, int *exponent) {
    uint64_t value = 0;
    int power = 0, digits = 0;
    size_t i = 0;
    bool fraction = false;
    for (; i < n && s[i] != 'e' && s[i] != 'E'; i++) {
        if (s[i] == '.') {
            fraction = true;
            continue;
        }
        value = value * 10 + (uint64_t)(s[i] - '0');
        digits += value > 0;
        power -= fraction;
        if (digits > 18) {
            return false;
        }
    }
    if (i < n) {
        i++;
        const bool negative = s[i] == '-';
        i += s[i] == '-' || s[i] == '+';
        int e = 0;
        for (; i < n; i++) {
            e = e * 10 + (s[i] - '0');
            if (e > 400) {
                return false;
            }
        }
        power += negative ? -e : e;
    }
    *mantissa = value;
    *exponent = power;
    return value <= NUMBER_EXACT_MAX && power >= -22 && power <= 22;
}

static bool number_real_slow(const char *s, size_t n, double *out) {
    char text[NUMBER_MAX_BYTES + 1];
    assert(n <= NUMBER_MAX_BYTES);
    memcpy(text, s, n);
    text[n] = '\0';
    const locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (c == (locale_t)0) {
        return false; /* glibc and musl have this one without allocating */
    }
    *out = strtod_l(text, NULL, c);
    freelocale(c);
    return isfinite(*out);
}

bool number_real(const char *s, size_t n, double *out) {
    static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                    1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                    1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    uint64_t mantissa;
    int exponent;
    if (!number_split(s, n, &mantissa, &exponent)) {
        return number_real_slow(s, n, out);
    }
    *out =
        exponent < 0 ? (double)mantissa / powers[-exponent] : (double)mantissa * powers[exponent];
    return true;
}

static size_t number_span(const char *s) {
    return strspn(s, "0123456789");
}

bool number_parse(const char *s, double *out) {
    const bool negative = *s == '-';
    const char *begin = s + (*s == '-' || *s == '+');
    const char *at = begin + number_span(begin);
    bool digits = at > begin;
    if (*at == '.') {
        const size_t fraction = number_span(at + 1);
        digits = digits || fraction > 0;
        at += 1 + fraction;
    }
    if (digits && (*at == 'e' || *at == 'E')) {
        const char *power = at + 1 + (at[1] == '-' || at[1] == '+');
        at = power + number_span(power);
        digits = at > power;
    }
    if (!digits || *at != '\0' || at - begin > NUMBER_MAX_BYTES ||
        !number_real(begin, (size_t)(at - begin), out)) {
        return false;
    }
    *out = negative ? -*out : *out;
    return true;
}

void number_print(char *buf, size_t bytes, int digits, double x) {
    const locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    const locale_t before = c == (locale_t)0 ? (locale_t)0 : uselocale(c);
    (void)snprintf(buf, bytes, "%.*g", digits, x); /* cut if it doesn't fit */
    if (before != (locale_t)0) {
        (void)uselocale(before);
        freelocale(c);
    }
}
