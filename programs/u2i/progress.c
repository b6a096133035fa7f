/* See progress.h. */
#include "progress.h"
#include "display.h"
#include "indexing.h"
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PROGRESS_EVERY_S 0.1
#define PROGRESS_BAR     20

static double progress_now_s(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail with this clock */
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

void progress_start(struct progress *p) {
    p->on = isatty(STDERR_FILENO) != 0;
    p->unit = "rows";
    p->start_s = p->last_s = progress_now_s();
}

double progress_seconds(const struct progress *p) {
    return progress_now_s() - p->start_s;
}

static void progress_eta(struct text *line, double elapsed_s, double share) {
    if (share <= 0.001 || elapsed_s < 0.5) {
        return;
    }
    const uint64_t left_s = (uint64_t)(elapsed_s / share * (1 - share) + 0.5);
    if (left_s >= 3600) {
        text_fmt(line, "  %llu:%02llu:%02llu left", (unsigned long long)(left_s / 3600),
                 (unsigned long long)(left_s / 60 % 60), (unsigned long long)(left_s % 60));
    } else {
        text_fmt(line, "  %llu:%02llu left", (unsigned long long)(left_s / 60),
                 (unsigned long long)(left_s % 60));
    }
}

/* Whether it is time for another line. */
static bool progress_due(struct progress *p) {
    const double now_s = p->on ? progress_now_s() : 0;
    if (!p->on || now_s - p->last_s < PROGRESS_EVERY_S) {
        return false;
    }
    p->last_s = now_s;
    return true;
}

static void progress_bar(struct text *line, const char *name, uint64_t done, uint64_t total) {
    (void)display_fit(line, name, 24);
    if (total > 0) {
        const double share = done < total ? (double)done / (double)total : 1;
        const size_t filled = (size_t)(share * PROGRESS_BAR);
        text_str(line, "  [");
        text_fill(line, '#', filled);
        text_fill(line, '.', PROGRESS_BAR - filled);
        text_fmt(line, "] %3.0f %%", share * 100);
    }
}

static void progress_write(struct text *line) {
    (void)fprintf(stderr, "\r\033[K%s", text_cstr(line));
    (void)fflush(stderr);
    text_free(line);
}

void progress_step(struct progress *p, const char *step, uint64_t done, uint64_t total) {
    struct text line = {0};
    if (progress_due(p)) {
        progress_bar(&line, step, done, total);
        text_fmt(&line, "  %.0f s", p->last_s - p->start_s);
        progress_write(&line);
    }
}

void progress_show(struct progress *p, const char *name, uint64_t rows, uint64_t done,
                   uint64_t total) {
    if (!progress_due(p)) {
        return;
    }
    const double elapsed_s = p->last_s - p->start_s;
    struct text line = {0};
    progress_bar(&line, name, done, total);
    text_str(&line, "  ");
    text_count(&line, rows);
    text_fmt(&line, " %s  ", p->unit);
    text_count(&line, (unsigned long long)((double)rows / elapsed_s));
    text_str(&line, "/s");
    if (total > 0) {
        progress_eta(&line, elapsed_s, (double)done / (double)total);
    }
    progress_write(&line);
}

void progress_bytes(struct progress *p, const char *name, uint64_t before, uint64_t done,
                    uint64_t total) {
    if (!progress_due(p)) {
        return;
    }
    const double elapsed_s = p->last_s - p->start_s;
    struct text line = {0};
    progress_bar(&line, name, done, total);
    text_str(&line, "  ");
    indexing_bytes(&line, done);
    text_fmt(&line, "  %.1f MB/s", (double)(done - before) / 1e6 / elapsed_s);
    if (total > before && done > before) {
        progress_eta(&line, elapsed_s, (double)(done - before) / (double)(total - before));
    }
    progress_write(&line);
}

void progress_clear(const struct progress *p) {
    if (p->on) {
        (void)fputs("\r\033[K", stderr);
        (void)fflush(stderr);
    }
}
