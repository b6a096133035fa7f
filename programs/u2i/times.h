/* Times as data files write them: Unix time in seconds, milliseconds, microseconds or nanoseconds,
 * or ISO 8601. Everything becomes Unix milliseconds, UTC. */
#ifndef CLI_TIMES_H
#define CLI_TIMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum time_unit { TIME_AUTO, TIME_S, TIME_MS, TIME_US, TIME_NS, TIME_ISO };

enum time_unit times_unit(const char *name); /* "auto", "s", "ms", "us", "ns", "iso" */

/* With TIME_AUTO a number is taken by its size: below 1e11 it is seconds (until the year 5138),
 * below 1e14 milliseconds, below 1e17 microseconds, else nanoseconds; so milliseconds before March
 * 1973 need their unit named. Seconds may have a fraction. ISO 8601: 2024-05-17,
 * 2024-05-17T08:30[:00[.123]] with T or a space, then Z, +02:00, +0200 or nothing (UTC).
 * false: not a time, or before 1970 or after 9999. */
bool times_parse(const char *s, enum time_unit unit, int64_t *time_ms);

#define TIMES_TEXT_BYTES 32
/* "2024-05-17 08:30:00" (UTC), to the second; or "2024-05-17T08:30:00.123Z". */
void times_format(int64_t time_ms, char text[TIMES_TEXT_BYTES]);
void times_format_iso(int64_t time_ms, char text[TIMES_TEXT_BYTES]);

#endif
