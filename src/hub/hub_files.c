/* Which files of a model's folder matter: those that embed/ reads, and few more that people want to have with it
 * (its licence, how its texts are to begin). A repository on a hub often has the same weights in five
 * formats; only one of them is taken. */
#include "hub/hub_internal.h"

#include <string.h>

static const char *const HUB_SMALL[] = {HUB_CONFIG,
                                        "modules.json",
                                        "1_Pooling/config.json",
                                        "sentence_bert_config.json",
                                        "config_sentence_transformers.json",
                                        "tokenizer_config.json",
                                        "special_tokens_map.json",
                                        "tokenizer.json",
                                        "vocab.txt",
                                        "README.md",
                                        "LICENSE"};

const char *hub_small_file(size_t i) {
    return i < sizeof HUB_SMALL / sizeof *HUB_SMALL ? HUB_SMALL[i] : NULL;
}

bool hub_is_small_file(const char *path) {
    const char *name;
    for (size_t i = 0; (name = hub_small_file(i)) != NULL; i++) {
        if (strcmp(name, path) == 0) {
            return true;
        }
    }
    return false;
}

bool hub_is_prose(const char *path) {
    return strcmp(path, "README.md") == 0 || strcmp(path, "LICENSE") == 0;
}

const struct hub_form *hub_form(size_t i) {
    static const struct hub_form forms[HUB_FORMS] = {
        {HUB_WEIGHTS, "model.safetensors.index.json", "model-", ".safetensors"},
        {"pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-", ".bin"}};
    return i < HUB_FORMS ? &forms[i] : NULL;
}

bool hub_is_shard(const struct hub_form *form, const char *path) {
    const size_t n = strlen(path);
    const size_t begin = strlen(form->shard_begin);
    const size_t end = strlen(form->shard_end);
    return n > begin + end && strchr(path, '/') == NULL &&
           strncmp(path, form->shard_begin, begin) == 0 &&
           strcmp(path + n - end, form->shard_end) == 0;
}

bool hub_is_safe(const char *path) {
    const size_t n = strlen(path);
    if (n == 0 || n > HUB_PATH_MAX || path[n - 1] == '/') {
        return false;
    }
    for (const char *s = path; *s != '\0'; s++) {
        if ((unsigned char)*s < 0x20 || *s == 0x7f || *s == '\\') {
            return false;
        }
    }
    for (const char *part = path;; part++) { /* none is "", "." or ".." */
        const size_t part_n = strcspn(part, "/");
        if (part_n == 0 || (part_n <= 2 && strspn(part, ".") >= part_n)) {
            return false;
        }
        part += part_n;
        if (*part == '\0') {
            return true;
        }
    }
}
