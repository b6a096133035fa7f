/* One item's attributes in memory: a single block with the values of the JSON object in document
 * order, then the bytes of their keys and strings. Immutable after attrs_parse(), so any thread may
 * read. */
#ifndef U2I_FILTER_ATTRS_H
#define U2I_FILTER_ATTRS_H

#include "filter/filter.h"
#include "filter/value.h"

#define ATTRS_NO_CATEGORY UINT32_MAX

/* A value of the object, an array's element, or a nested container. The children of a container
 * follow it; `next` skips them. */
struct attrs_node {
    union {
        int64_t i; /* VALUE_INT; VALUE_BOOL: 0 or 1 */
        double r;
        uint32_t text; /* VALUE_STRING: where its bytes start */
    } as;
    uint32_t key, key_n; /* where the key's bytes start; an array's element has none */
    uint32_t n;          /* VALUE_STRING: bytes; containers: children */
    uint32_t next;       /* the node after this one and all inside it */
    uint8_t tag;         /* enum value_tag */
};

struct attrs {
    uint32_t nodes_n;
    uint32_t root_n;   /* members of the object itself; the first is node 0 */
    uint32_t category; /* where its bytes start, or ATTRS_NO_CATEGORY */
    uint32_t category_n;
    uint32_t text_n;
    struct attrs_node nodes[]; /* nodes_n, then text_n bytes */
};

static inline const char *attrs_text(const struct attrs *a, uint32_t offset) {
    return (const char *)(a->nodes + a->nodes_n) + offset;
}
/* Strings point into `a`. */
struct value attrs_value(const struct attrs *a, const struct attrs_node *node);
/* Of the container `node` (NULL: the object itself); NULL when there is none. */
const struct attrs_node *attrs_member(const struct attrs *a, const struct attrs_node *node,
                                      const char *key, size_t key_n);
const struct attrs_node *attrs_element(const struct attrs *a, const struct attrs_node *node,
                                       uint32_t index);

#endif
