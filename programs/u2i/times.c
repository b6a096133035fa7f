/* See times.h. Days are counted by the civil calendar's own rule (400 years are 146,097 days), not
 * by the C library, whose idea of a time zone is the machine's. */
#include "times.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TIMES_MAX_MS 253402300799999 /* the end of the year 9999 */

enum time_unit times_unit(const char *name) {
    static const struct {
        const char *name;
        enum time_unit unit;
    } units[] = {{"s", TIME_S},   {"ms", TIME_MS},   {"us", TIME_US},
                 {"ns", TIME_NS}, {"iso", TIME_ISO}, {"auto", TIME_AUTO}};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (strcmp(units[i].name, name) == 0) {
            return units[i].unit;
        }
    }
    return TIME_AUTO;
}

/* ---- Numbers --------------------------------------------------------------------------------- */

static bool times_parse_number(const char *s, enum time_unit unit, int64_t *time_ms) {
    char *end;
    if (strspn(s, "0123456789.eE+") != strlen(s) || s[0] < '0' || s[0] > '9') {
        return false;
    }
    const double number = strtod(s, &end);
    if (*end != '\0' || !isfinite(number)) {
        return false;
    }
    if (unit == TIME_AUTO) {
        unit = number < 1e11 ? TIME_S : number < 1e14 ? TIME_MS : number < 1e17 ? TIME_US : TIME_NS;
    }
    const double ms = unit == TIME_S    ? number * 1e3
                      : unit == TIME_MS ? number
                      : unit == TIME_US ? number / 1e3
                                        : number / 1e6;
    if (ms > TIMES_MAX_MS) {
        return false;
    }
    *time_ms = (int64_t)llround(ms);
    return true;
}

/* ---- ISO 8601 -------------------------------------------------------------------------------- */

/* Exactly n digits; -1 when they are not there. */
static int times_digits(const char **s, int n) {
    int value = 0;
    for (int i = 0; i < n; i++) {
        const char c = (*s)[i];
        if (c < '0' || c > '9') {
            return -1;
        }
        value = value * 10 + (c - '0');
    }
    *s += n;
    return value;
}

static bool times_skip(const char **s, char c) {
    if (**s != c) {
        return false;
    }
    (*s)++;
    return true;
}

static bool times_leap(int year) {
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static bool times_parse_date(const char **s, int64_t *days) {
    static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    const int year = times_digits(s, 4);
    const bool first = times_skip(s, '-');
    const int month = first ? times_digits(s, 2) : -1;
    const bool second = times_skip(s, '-');
    const int day = second ? times_digits(s, 2) : -1;
    if (year < 1970 || month < 1 || month > 12 || day < 1) {
        return false;
    }
    if (day > lengths[month - 1] + (month == 2 && times_leap(year))) {
        return false;
    }
    int64_t n = 365 * (int64_t)(year - 1970);
    n +=
        (year - 1) / 4 - 1969 / 4 - ((year - 1) / 100 - 1969 / 100) + (year - 1) / 400 - 1969 / 400;
    for (int m = 0; m < month - 1; m++) {
        n += lengths[m] + (m == 1 && times_leap(year));
    }
    *days = n + day - 1;
    return true;
}

static int times_fraction_ms(const char **s) {
    int ms = 0, scale = 100;
    for (; **s >= '0' && **s <= '9'; (*s)++) {
        ms += (**s - '0') * scale;
        scale /= 10;
    }
    return ms;
}

/* hh:mm[:ss[.fraction]] */
static bool times_parse_clock(const char **s, int64_t *ms) {
    const int hour = times_digits(s, 2);
    const int minute = times_skip(s, ':') ? times_digits(s, 2) : -1;
    int second = 0, fraction = 0;
    if (times_skip(s, ':')) {
        second = times_digits(s, 2);
        if (times_skip(s, '.') || times_skip(s, ',')) {
            fraction = times_fraction_ms(s);
        }
    }
    /* 60 is a leap second. */
    if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60) {
        return false;
    }
    *ms = ((hour * 60 + minute) * 60 + second) * INT64_C(1000) + fraction;
    return true;
}

/* Z, +hh:mm, +hhmm, +hh or nothing, up to the end. */
static bool times_parse_zone(const char *s, int64_t *ms) {
    *ms = 0;
    if (*s == '\0' || strcmp(s, "Z") == 0 || strcmp(s, "z") == 0) {
        return true;
    }
    const bool negative = *s == '-';
    if (!times_skip(&s, '+') && !times_skip(&s, '-')) {
        return false;
    }
    const int hours = times_digits(&s, 2);
    (void)times_skip(&s, ':'); /* optional */
    const int minutes = *s == '\0' ? 0 : times_digits(&s, 2);
    if (hours < 0 || hours > 14 || minutes < 0 || minutes > 59 || *s != '\0') {
        return false;
    }
    *ms = (hours * 60 + minutes) * INT64_C(60000) * (negative ? -1 : 1);
    return true;
}

static bool times_parse_iso(const char *s, int64_t *time_ms) {
    int64_t days, clock_ms = 0, zone_ms = 0;
    if (!times_parse_date(&s, &days)) {
        return false;
    }
    if (*s != '\0') {
        if (!times_skip(&s, 'T') && !times_skip(&s, 't') && !times_skip(&s, ' ')) {
            return false;
        }
        if (!times_parse_clock(&s, &clock_ms) || !times_parse_zone(s, &zone_ms)) {
            return false;
        }
    }
    *time_ms = days * INT64_C(86400000) + clock_ms - zone_ms;
    return *time_ms >= 0;
}

bool times_parse(const char *s, enum time_unit unit, int64_t *time_ms) {
    if (unit == TIME_ISO || (unit == TIME_AUTO && strchr(s, '-') != NULL)) {
        return times_parse_iso(s, time_ms);
    }
    return times_parse_number(s, unit, time_ms);
}

/* ---- Writing --------------------------------------------------------------------------------- */

static void times_format_as(int64_t time_ms, bool iso, char text[TIMES_TEXT_BYTES]) {
    const time_t seconds = (time_t)(time_ms / 1000);
    struct tm parts;
    if (time_ms < 0 || time_ms > TIMES_MAX_MS || gmtime_r(&seconds, &parts) == NULL) {
        (void)snprintf(text, TIMES_TEXT_BYTES, "%lld", (long long)time_ms);
        return;
    }
    char date[12], clock[12];
    (void)snprintf(date, sizeof date, "%04u-%02u-%02u", (unsigned)(parts.tm_year + 1900) % 10000,
                   (unsigned)(parts.tm_mon + 1) % 100, (unsigned)parts.tm_mday % 100);
    (void)snprintf(clock, sizeof clock, "%02u:%02u:%02u", (unsigned)parts.tm_hour % 100,
                   (unsigned)parts.tm_min % 100, (unsigned)parts.tm_sec % 100);
    if (iso) {
        (void)snprintf(text, TIMES_TEXT_BYTES, "%sT%s.%03uZ", date, clock,
                       (unsigned)(time_ms % 1000) % 1000u);
    } else {
        (void)snprintf(text, TIMES_TEXT_BYTES, "%s %s", date, clock);
    }
}

void times_format(int64_t time_ms, char text[TIMES_TEXT_BYTES]) {
    times_format_as(time_ms, false, text);
}

void times_format_iso(int64_t time_ms, char text[TIMES_TEXT_BYTES]) {
    times_format_as(time_ms, true, text);
}
