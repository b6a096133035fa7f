/* Runs a fuzz target once on each file named on the command line: the corpus as a test, for any
 * compiler. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REPLAY_MAX_BYTES (4u << 20)

int main(int argc, char **argv) {
    uint8_t *const data = malloc(REPLAY_MAX_BYTES);
    int rc = data == NULL;
    for (int i = 1; rc == 0 && i < argc; i++) {
        FILE *const f = fopen(argv[i], "rb");
        if (f == NULL) {
            perror(argv[i]);
            rc = 1;
            break;
        }
        const size_t n = fread(data, 1, REPLAY_MAX_BYTES, f);
        (void)fclose(f);                       /* only read from */
        (void)LLVMFuzzerTestOneInput(data, n); /* always 0; what is wrong aborts */
    }
    free(data);
    (void)printf("%d inputs\n", argc - 1);
    return rc;
}
