/* Bytes of a data file, or of stdin (`-`): plain or gzip, told apart by content, read as a stream.
 * The first bytes can be looked at before they are read, which is how formats are detected and
 * column types inferred without reading anything twice. Used by one thread. */
#ifndef CLI_INPUT_H
#define CLI_INPUT_H

#include <stddef.h>
#include <stdint.h>

#define INPUT_PEEK_BYTES (1u << 20)

struct input;

/* 0, or -1 with a message in why[0..why_n). */
int input_open(const char *path, struct input **out, char *why, size_t why_n);
void input_close(struct input *in);
/* Up to n bytes into buf; 0 at the end, -1 on an error, told by input_error(). `ctx` is a struct
 * input: the signature is what csv.h and jsonl.h read from. */
ptrdiff_t input_read(void *ctx, void *buf, size_t n);
const char *input_error(const struct input *in);
/* The first bytes, at most INPUT_PEEK_BYTES; to be called before the first input_read(). */
size_t input_peek(const struct input *in, const char **out);
const char *input_name(const struct input *in); /* without its folder */
/* Bytes of the file that were read, and that there are (0 = not known): for progress. */
uint64_t input_position(const struct input *in);
uint64_t input_size(const struct input *in);

#endif
