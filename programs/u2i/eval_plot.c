/* See eval.h. A picture: for each variant its NDCG@10 with a bar of 95 %, against the time of an answer
 * (median, on a logarithmic scale). Answers that came from a file have no time: they are lines across.
 * Written as SVG by hand; the only text from outside are names, which are escaped. */
#include "eval.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLOT_WIDTH  820.0
#define PLOT_HEIGHT 460.0
#define PLOT_LEFT   80.0
#define PLOT_RIGHT  800.0
#define PLOT_TOP    64.0
#define PLOT_BOTTOM 396.0
#define PLOT_GREY   "#8a8f98"

static const char *const plot_colours[] = {"#2f6fdf", "#e8743b", "#19a979", "#945ecf",
                                           "#ed4a7b", "#13a4b4", "#b58900", "#6c8893"};

struct plot_axes {
    double x_low, x_high; /* log10 of milliseconds */
    double y_low, y_high, y_step;
};

static const char *plot_colour(size_t variant) {
    return plot_colours[variant % (sizeof plot_colours / sizeof *plot_colours)];
}

static double plot_x(const struct plot_axes *a, double ms) {
    const double share = (log10(ms) - a->x_low) / (a->x_high - a->x_low);
    return PLOT_LEFT + share * (PLOT_RIGHT - PLOT_LEFT);
}

static double plot_y(const struct plot_axes *a, double y) {
    return PLOT_BOTTOM - (y - a->y_low) / (a->y_high - a->y_low) * (PLOT_BOTTOM - PLOT_TOP);
}

static void plot_text(struct text *out, const char *s) {
    for (; *s != '\0'; s++) {
        switch (*s) {
        case '&':
            text_str(out, "&amp;");
            break;
        case '<':
            text_str(out, "&lt;");
            break;
        case '>':
            text_str(out, "&gt;");
            break;
        case '"':
            text_str(out, "&quot;");
            break;
        default:
            text_char(out, (unsigned char)*s < 0x20 ? ' ' : *s);
            break;
        }
    }
}

/* ---- Axes ------------------------------------------------------------------------------------- */

/* 1, 2 or 5 times a power of ten, so that about five steps make `range`. */
static double plot_step(double range) {
    const double rough = range / 5, power = pow(10, floor(log10(rough)));
    const double times = rough / power;
    return power * (times < 1.5 ? 1 : times < 3.5 ? 2 : times < 7.5 ? 5 : 10);
}

static bool plot_timed(const struct eval_summary *s) {
    return !isnan(s->latency_ms_p50) && s->latency_ms_p50 > 0;
}

static void plot_fit(struct plot_axes *a, const struct eval_summary *s, size_t n) {
    double fast = INFINITY, slow = 0, low = INFINITY, high = 0;
    for (size_t i = 0; i < n; i++) {
        const double bar = 1.96 * s[i].se[EVAL_NDCG10];
        low = fmin(low, s[i].mean[EVAL_NDCG10] - bar);
        high = fmax(high, s[i].mean[EVAL_NDCG10] + bar);
        if (plot_timed(&s[i])) {
            fast = fmin(fast, s[i].latency_ms_p50);
            slow = fmax(slow, s[i].latency_ms_p50);
        }
    }
    if (slow == 0) {
        fast = slow = 1;
    }
    a->x_low = floor(log10(fast / 1.5) * 2) / 2;
    a->x_high = ceil(log10(slow * 1.5) * 2) / 2;
    const double range = high - low > 1e-6 ? high - low : 1e-3;
    a->y_step = plot_step(range * 1.1);
    a->y_low = fmax(0, floor(low / a->y_step) * a->y_step);
    a->y_high = ceil((high + range * 0.05) / a->y_step) * a->y_step;
}

static void plot_x_ticks(struct text *out, const struct plot_axes *a) {
    static const double marks[] = {1, 2, 5};
    for (int power = (int)floor(a->x_low); power <= (int)ceil(a->x_high); power++) {
        for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
            const double ms = marks[i] * pow(10, power), x = plot_x(a, ms);
            if (x < PLOT_LEFT - 0.5 || x > PLOT_RIGHT + 0.5) {
                continue;
            }
            text_fmt(out,
                     "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"#edeff2\"/>\n"
                     "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%g</text>\n",
                     x, PLOT_TOP, x, PLOT_BOTTOM, x, PLOT_BOTTOM + 20, ms);
        }
    }
}

static void plot_axes(struct text *out, const struct plot_axes *a) {
    plot_x_ticks(out, a);
    const int steps = (int)lround((a->y_high - a->y_low) / a->y_step);
    for (int i = 0; i <= steps; i++) {
        const double value = a->y_low + i * a->y_step, y = plot_y(a, value);
        text_fmt(out,
                 "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"#edeff2\"/>\n"
                 "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%.4g</text>\n",
                 PLOT_LEFT, y, PLOT_RIGHT, y, PLOT_LEFT - 10, y + 4, value);
    }
    text_fmt(
        out,
        "<path d=\"M%.1f %.1fV%.1fH%.1f\" fill=\"none\" stroke=\"" PLOT_GREY "\"/>\n"
        "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">median time of an answer, "
        "milliseconds</text>\n"
        "<text transform=\"translate(22 %.1f) rotate(-90)\" text-anchor=\"middle\">NDCG@10, with "
        "95 %% of its mean</text>\n",
        PLOT_LEFT, PLOT_TOP, PLOT_BOTTOM, PLOT_RIGHT, (PLOT_LEFT + PLOT_RIGHT) / 2,
        PLOT_BOTTOM + 44, (PLOT_TOP + PLOT_BOTTOM) / 2);
}

/* ---- Variants --------------------------------------------------------------------------------- */

/* Beside the point, on the side where there is room. */
static void plot_label(struct text *out, double x, double y, const char *name, const char *colour) {
    const bool left = x > (PLOT_LEFT + PLOT_RIGHT) / 2 + 120;
    text_fmt(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" fill=\"%s\" font-weight=\"600\">",
             left ? x - 10 : x + 10, y - 7, left ? "end" : "start", colour);
    plot_text(out, name);
    text_str(out, "</text>\n");
}

static void plot_point(struct text *out, const struct plot_axes *a, const struct eval_summary *s,
                       const char *name, const char *colour) {
    const double x = plot_x(a, s->latency_ms_p50), y = plot_y(a, s->mean[EVAL_NDCG10]);
    const double bar = 1.96 * s->se[EVAL_NDCG10];
    const double top = plot_y(a, s->mean[EVAL_NDCG10] + bar);
    const double bottom = plot_y(a, fmax(a->y_low, s->mean[EVAL_NDCG10] - bar));
    text_fmt(
        out,
        "<path d=\"M%.1f %.1fV%.1fM%.1f %.1fh8M%.1f %.1fh8\" stroke=\"%s\" stroke-width=\"1.5\" "
        "opacity=\"0.55\"/>\n<circle cx=\"%.1f\" cy=\"%.1f\" r=\"5.5\" fill=\"%s\"><title>",
        x, top, bottom, x - 4, top, x - 4, bottom, colour, x, y, colour);
    plot_text(out, name);
    text_fmt(out, ": NDCG@10 %.4f ± %.4f, median %.3g ms, 99 %% within %.3g ms</title></circle>\n",
             s->mean[EVAL_NDCG10], s->se[EVAL_NDCG10], s->latency_ms_p50, s->latency_ms_p99);
    plot_label(out, x, y, name, colour);
}

static void plot_line(struct text *out, const struct plot_axes *a, const struct eval_summary *s,
                      const char *name, const char *colour) {
    const double y = plot_y(a, s->mean[EVAL_NDCG10]);
    text_fmt(
        out,
        "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\" stroke-width=\"1.5\" "
        "stroke-dasharray=\"6 4\"/>\n",
        PLOT_LEFT, y, PLOT_RIGHT, y, colour);
    plot_label(out, PLOT_RIGHT, y, name, colour);
}

static void plot_draw(struct text *out, const struct eval_results *r, const struct eval_group *g,
                      const struct eval_summary *s) {
    struct plot_axes axes;
    const size_t n = r->options->variants_n;
    plot_fit(&axes, s, n);
    text_fmt(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" "
        "font-family=\"system-ui, "
        "sans-serif\" font-size=\"13\" fill=\"#3b4048\">\n<rect width=\"100%%\" height=\"100%%\" "
        "fill=\"#ffffff\"/>\n<text x=\"%.0f\" y=\"34\" font-size=\"17\" "
        "font-weight=\"600\">Quality "
        "against time: ",
        PLOT_WIDTH, PLOT_HEIGHT, PLOT_LEFT);
    plot_text(out, g->name);
    text_fmt(out, "%s, %zu users</text>\n", g->strangers ? " (strangers)" : "", s[0].users);
    plot_axes(out, &axes);
    for (size_t v = 0; v < n; v++) {
        if (plot_timed(&s[v])) {
            plot_point(out, &axes, &s[v], r->options->variants[v].name, plot_colour(v));
        } else {
            plot_line(out, &axes, &s[v], r->options->variants[v].name, plot_colour(v));
        }
    }
    text_str(out, "</svg>\n");
}

/* Of the group that has most in it: the last one with users that are no strangers. */
static const struct eval_group *plot_group(const struct eval_results *r) {
    const struct eval_group *best = &r->groups[0];
    for (size_t g = 0; g < r->groups_n; g++) {
        if (!r->groups[g].strangers) {
            best = &r->groups[g];
        }
    }
    return best;
}

int eval_plot_write(const struct eval_results *r, const char *path) {
    struct eval_summary *const s = calloc(r->options->variants_n, sizeof *s);
    const struct eval_group *const g = plot_group(r);
    struct text out = {0};
    int code = CLI_OK;
    bool ok = s != NULL;
    for (size_t v = 0; ok && v < r->options->variants_n; v++) {
        ok = eval_results_summary(r, g, v, &s[v]);
    }
    if (ok) {
        plot_draw(&out, r, g, s);
    }
    free(s);
    if (!ok || !text_ok(&out)) {
        text_free(&out);
        return cli_no_memory();
    }
    FILE *const f = fopen(path, "w");
    ok = f != NULL && fwrite(out.p, 1, out.n, f) == out.n;
    if (f != NULL) {
        ok = fclose(f) == 0 && ok;
    }
    if (!ok) {
        cli_error("%s: %s", path, strerror(errno));
        code = CLI_ERROR;
    }
    text_free(&out);
    return code;
}
