/* Words and how often each was seen. */
#ifndef TABLE_H
#define TABLE_H

#include <stddef.h>

struct entry {
    char *word;
    unsigned long count;
};

struct table {
    struct entry *entries;
    size_t length;
    size_t capacity;
};

/* Counts `word` once more. Returns 0 when memory is out. */
int table_count(struct table *table, const char *word);

/* The most frequent first, equals in the order of the alphabet. */
void table_sort(struct table *table);

void table_free(struct table *table);

#endif
