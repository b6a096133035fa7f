/* The only way to heap memory. Include after system headers: malloc and friends are poisoned from
 * here on, so that every size is checked and tests can fail each allocation in turn (they wrap
 * malloc at link time). All functions return NULL when out of memory; thread-safe. */
#ifndef U2I_BASE_ALLOC_H
#define U2I_BASE_ALLOC_H

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* CRoaring's header includes these, which name malloc: they have to be seen before the poison. */
#ifdef __linux__
#include <malloc.h>
#endif
#ifdef __x86_64__
#include <mm_malloc.h>
#endif

void *mem_alloc(size_t bytes);                       /* bytes 0 gives a freeable pointer */
void *mem_zalloc(size_t bytes);                      /* zeroed */
void *alloc_array(size_t n, size_t size);            /* NULL too when n * size overflows */
void *realloc_array(void *p, size_t n, size_t size); /* p stays valid on NULL */
void *mem_dup(const void *p, size_t bytes);
char *str_dup(const char *s, size_t n); /* n bytes plus NUL */
void mem_free(void *p);                 /* accepts NULL */

/* Grows *p (elements of `size`) to hold at least `need`, doubling *cap. 0 or U2I_ENOMEM. */
int array_reserve(void *p_to_pointer, size_t *cap, size_t need, size_t size);

/* Zeroed pages straight from the kernel, touched lazily, huge pages asked for from 2 MiB on. */
void *pages_alloc(size_t bytes);
void pages_free(void *p, size_t bytes);

#ifndef U2I_BASE_ALLOC_IMPL
#pragma GCC poison malloc calloc realloc strdup strndup
#endif

#endif
