#include "table.h"

#include <stdlib.h>
#include <string.h>

int table_count(struct table *table, const char *word)
{
    for (size_t i = 0; i < table->length; i++) {
        if (strcmp(table->entries[i].word, word) == 0) {
            table->entries[i].count++;
            return 1;
        }
    }
    if (table->length == table->capacity) {
        size_t capacity = table->capacity ? 2 * table->capacity : 16;
        struct entry *entries = realloc(table->entries, capacity * sizeof *entries);
        if (!entries)
            return 0;
        table->entries = entries;
        table->capacity = capacity;
    }
    char *copy = strdup(word);
    if (!copy)
        return 0;
    table->entries[table->length++] = (struct entry){copy, 1};
    return 1;
}

static int compare(const void *left, const void *right)
{
    const struct entry *a = left, *b = right;
    if (a->count != b->count)
        return a->count < b->count ? 1 : -1;
    return strcmp(a->word, b->word);
}

void table_sort(struct table *table)
{
    if (table->length > 0)
        qsort(table->entries, table->length, sizeof *table->entries, compare);
}

void table_free(struct table *table)
{
    for (size_t i = 0; i < table->length; i++)
        free(table->entries[i].word);
    free(table->entries);
    *table = (struct table){0};
}
