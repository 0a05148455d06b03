/* Counts the words of a file or of standard input and prints the most frequent first. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "table.h"

static int count_words(FILE *input, struct table *table)
{
    char word[256];
    size_t length = 0;
    int c;

    do {
        c = getc(input);
        if (c != EOF && isalpha((unsigned char)c)) {
            if (length < sizeof word - 1)
                word[length++] = (char)tolower((unsigned char)c);
        } else if (length > 0) {
            word[length] = '\0';
            length = 0;
            if (!table_count(table, word))
                return 0;
        }
    } while (c != EOF);
    return !ferror(input);
}

int main(int argc, char **argv)
{
    struct table table = {0};
    FILE *input = argc > 1 ? fopen(argv[1], "r") : stdin;

    if (!input) {
        perror(argv[1]);
        return EXIT_FAILURE;
    }
    if (!count_words(input, &table)) {
        perror("wordfreq");
        return EXIT_FAILURE;
    }
    table_sort(&table);
    for (size_t i = 0; i < table.length; i++)
        printf("%lu %s\n", table.entries[i].count, table.entries[i].word);
    table_free(&table);
    return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
