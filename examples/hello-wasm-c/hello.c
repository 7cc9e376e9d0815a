// Greets, and prints a line to the log: the event comes on standard input, standard output is the answer,
// standard error is the log. A core module of WASI preview 1.

#include <stdio.h>
#include <string.h>

#define EVENT_BYTES_MAX 65536

// The text of the event's first "name", with no more than a look for it: this example brings no JSON parser.
static const char *name_in(char *event) {
    char *at = strstr(event, "\"name\"");
    char *begin = at ? strchr(at + 6, '"') : NULL;
    char *end = begin ? strchr(begin + 1, '"') : NULL;
    if (!end || end[-1] == '\\') {
        return "world";
    }
    *end = '\0';
    return begin + 1;
}

int main(void) {
    static char event[EVENT_BYTES_MAX + 1];
    size_t bytes = fread(event, 1, EVENT_BYTES_MAX, stdin);
    if (!feof(stdin)) {
        fprintf(stderr, "the event has more than %d bytes\n", EVENT_BYTES_MAX);
        return 1;
    }
    event[bytes] = '\0';
    const char *name = name_in(event);
    fprintf(stderr, "greeting %s\n", name);
    printf("{\"greeting\": \"Hello, %s!\"}\n", name);
    return 0;
}
