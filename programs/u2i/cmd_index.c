/* u2i index: waits until every vector is in the index, and the index on disk. */
#include "commands.h"
#include "indexing.h"
#include "progress.h"

static const struct arg_spec index_args[] = {CLI_STORE_ARG, {0}};

static const struct example index_examples[] = {
    {"u2i index shop.db", "after a large import with --no-index, or a copy without shop.db-index/"},
    {"u2i config shop.db index_m 32 && u2i index shop.db", "makes the index anew with more links"},
    {0}};

struct indexing_bar {
    struct progress progress;
    const struct indexing *how;
    uint64_t moved; /* vectors that went into the index */
};

static int indexing_show(void *ctx, uint64_t done, uint64_t total) {
    struct indexing_bar *const bar = ctx;
    bar->moved = done;
    if (total > 0) {
        progress_show(&bar->progress, "index", done, done, total);
    }
    return bar->how->stopped != NULL && *bar->how->stopped != 0;
}

void indexing_bytes(struct text *out, uint64_t bytes) {
    static const char *const units[] = {"bytes", "kB", "MB", "GB", "TB"};
    double amount = (double)bytes;
    size_t unit = 0;
    while (amount >= 1000 && unit + 1 < sizeof units / sizeof *units) {
        amount /= 1000;
        unit++;
    }
    text_fmt(out, unit == 0 ? "%.0f %s" : "%.1f %s", amount, units[unit]);
}

static void indexing_add_json(struct text *line, const u2i_stats_t *s, uint64_t moved,
                              double seconds) {
    text_char(line, '{');
    text_json_member_int(line, "index_items", (long long)s->index_items);
    text_json_member_int(line, "index_pending", (long long)s->index_pending);
    text_json_member_int(line, "index_ef", s->index_ef);
    text_json_member_int(line, "index_bytes", (long long)s->index_bytes);
    text_json_member_int(line, "index_mapped_bytes", (long long)s->index_mapped_bytes);
    text_json_member_int(line, "added", (long long)moved);
    text_json_member_real(line, "seconds", (double)(long long)(seconds * 1000) / 1000);
    text_char(line, '}');
}

static void indexing_add_text(struct text *line, const u2i_stats_t *s, uint64_t moved,
                              double seconds) {
    text_str(line, "index: ");
    text_count(line, s->index_items);
    text_str(line, " vectors, ef ");
    text_count(line, s->index_ef);
    text_str(line, "; ");
    indexing_bytes(line, s->index_bytes);
    text_str(line, " in memory, mapped ");
    indexing_bytes(line, s->index_mapped_bytes);
    text_str(line, "; ");
    text_count(line, moved);
    text_fmt(line, " added in %.1f s", seconds);
    if (moved > 0 && seconds > 0) {
        text_str(line, ", ");
        text_count(line, (unsigned long long)((double)moved / seconds));
        text_str(line, " vectors/s");
    }
}

static int indexing_report(const struct cli *cli, u2i_t *store, const struct indexing_bar *bar) {
    u2i_stats_t s = U2I_STATS_INIT;
    u2i_error_t err;
    struct text line = {0};
    const double seconds = progress_seconds(&bar->progress);
    if (u2i_stats(store, &s, &err) != U2I_OK) {
        return cli_fail(&err, "index");
    }
    if (bar->how->json) {
        indexing_add_json(&line, &s, bar->moved, seconds);
    } else if (s.index_items > 0) {
        indexing_add_text(&line, &s, bar->moved, seconds);
    } else if (bar->how->quiet_if_none) {
        return CLI_OK;
    } else {
        text_str(&line, "index: none; ");
        text_count(&line, s.index_pending);
        text_str(&line, " vectors are few enough to be compared one by one (index_exact_max)");
    }
    const int code = cli_print_line(cli, &line);
    text_free(&line);
    return code;
}

int indexing_wait(const struct cli *cli, u2i_t *store, const struct indexing *how) {
    struct indexing_bar bar = {.how = how};
    u2i_error_t err;
    progress_start(&bar.progress);
    const int rc = u2i_build_index(store, indexing_show, &bar, &err);
    progress_clear(&bar.progress);
    if (rc == U2I_ETIMEOUT) {
        cli_error("interrupted while the index was made; u2i index goes on with it, and searches "
                  "find everything meanwhile, only slower");
        return CLI_INTERRUPTED;
    }
    if (rc != U2I_OK) {
        return cli_fail(&err, "index");
    }
    return how->silent ? CLI_OK : indexing_report(cli, store, &bar);
}

static int index_command(struct cli *cli, const struct args *args) {
    const struct indexing how = {.json = args_has(args, "json")};
    u2i_t *store = NULL;
    int code = cli_open(args, U2I_OPEN_EXISTING, &store);
    if (code == CLI_OK) {
        code = indexing_wait(cli, store, &how);
    }
    return cli_close(store, code);
}

const struct command cmd_index = {
    .name = "index",
    .summary = "bring the index of the vectors up to date, and onto the disk",
    .about = "With more than index_exact_max vectors, searches use an index instead of comparing "
             "all of\n"
             "them. Programs that use the store make and save it in the background; this command "
             "does so\n"
             "now. The index lies in the folder STORE-index and can be deleted: it is made anew.\n",
    .args = index_args,
    .options = {cli_json_options, cli_common_options},
    .examples = index_examples,
    .exits = {CLI_NOTFOUND, CLI_LATER},
    .run = index_command};
