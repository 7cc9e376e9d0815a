// Keeps state over HTTP: a component of the wasi:http proxy world that uses wasi:keyvalue, without a library.
//
// An event that is a JSON string names a bucket, and the answer says whether it could be opened. Any other event is
// kept as the last one, and the answer is {"visits": N, "last": THE EVENT BEFORE, "found": N, "keys": N}.
// How imports look in C is explained in ../hello-wasm-http-c.

typedef unsigned char u8;
typedef int i32;
typedef long long i64;

#define IMPORT(module, name) __attribute__((import_module(module), import_name(name)))
#define EXPORT(name) __attribute__((export_name(name)))
#define TYPES "wasi:http/types@0.2.0"
#define STREAMS "wasi:io/streams@0.2.0"

IMPORT(TYPES, "[method]incoming-request.consume") void request_consume(i32 request, i32 *result);
IMPORT(TYPES, "[method]incoming-body.stream") void body_stream(i32 body, i32 *result);
IMPORT(STREAMS, "[method]input-stream.blocking-read") void read(i32 stream, i64 bytes_max, i32 *result);
IMPORT(STREAMS, "[resource-drop]input-stream") void drop_input(i32 stream);
IMPORT(TYPES, "[resource-drop]incoming-body") void drop_body(i32 body);
IMPORT(TYPES, "[resource-drop]incoming-request") void drop_request(i32 request);
IMPORT(TYPES, "[constructor]fields") i32 new_fields(void);
IMPORT(TYPES, "[constructor]outgoing-response") i32 new_response(i32 headers);
IMPORT(TYPES, "[method]outgoing-response.body") void response_body(i32 response, i32 *result);
IMPORT(TYPES, "[static]response-outparam.set")
void respond(i32 outparam, i32 tag, i32 response, i32, i64, i32, i32, i32, i32);
IMPORT(TYPES, "[method]outgoing-body.write") void body_write(i32 body, i32 *result);
IMPORT(STREAMS, "[method]output-stream.blocking-write-and-flush")
void write(i32 stream, const u8 *bytes, i32 count, i32 *result);
IMPORT(STREAMS, "[resource-drop]output-stream") void drop_output(i32 stream);
IMPORT(TYPES, "[static]outgoing-body.finish") void body_finish(i32 body, i32 has_trailers, i32 trailers, i64 *result);

#define STORE "wasi:keyvalue/store@0.2.0-draft"
#define ATOMICS "wasi:keyvalue/atomics@0.2.0-draft"
#define BATCH "wasi:keyvalue/batch@0.2.0-draft"

typedef struct {
    const u8 *bytes;
    i32 count;
} text;

IMPORT(STORE, "open") void open(const u8 *name, i32 count, i32 *result);
IMPORT(STORE, "[resource-drop]bucket") void drop_bucket(i32 bucket);
IMPORT(STORE, "[method]bucket.get") void get(i32 bucket, const u8 *key, i32 count, i32 *result);
IMPORT(STORE, "[method]bucket.set")
void set(i32 bucket, const u8 *key, i32 count, const u8 *value, i32 value_count, i32 *result);
IMPORT(STORE, "[method]bucket.list-keys") void list_keys(i32 bucket, i32 has_cursor, i64 cursor, i64 *result);
IMPORT(ATOMICS, "increment") void increment(i32 bucket, const u8 *key, i32 count, i64 delta, i64 *result);
IMPORT(BATCH, "get-many") void get_many(i32 bucket, const text *keys, i32 count, i32 *result);

// What the host gives us lies here until the next piece is read.
static u8 given[65536] __attribute__((aligned(16)));
static unsigned given_bytes;

EXPORT("cabi_realloc") void *cabi_realloc(void *old, i32 old_bytes, i32 align, i32 bytes) {
    (void)old, (void)old_bytes;
    unsigned at = (given_bytes + align - 1) & -align;
    if (at + bytes > sizeof given) {
        __builtin_trap();
    }
    given_bytes = at + bytes;
    return given + at;
}

static i32 ok(const i32 *result) {
    if (*(const u8 *)result) {
        __builtin_trap();
    }
    return result[1];
}

static u8 answer[8192];
static i32 answer_bytes;

static void append(const u8 *bytes, i32 count) {
    for (i32 i = 0; i < count; i++) {
        if (answer_bytes == (i32)sizeof answer) {
            __builtin_trap();
        }
        answer[answer_bytes++] = bytes[i];
    }
}

static void say(const char *text) {
    i32 count = 0;
    while (text[count]) {
        count++;
    }
    append((const u8 *)text, count);
}

static void say_number(unsigned long long number) {
    u8 digits[20];
    i32 count = 0;
    do {
        digits[19 - count++] = '0' + number % 10;
        number /= 10;
    } while (number);
    append(digits + 20 - count, count);
}

static u8 event[4096];
static i32 event_bytes;

static void read_event(i32 request) {
    i32 result[3];
    event_bytes = 0;
    request_consume(request, result);
    i32 body = ok(result);
    body_stream(body, result);
    i32 stream = ok(result);
    for (;;) {
        given_bytes = 0;
        read(stream, 4096, result);
        if (*(u8 *)result) {
            break;
        }
        const u8 *piece = (const u8 *)result[1];
        for (i32 i = 0; i < result[2]; i++) {
            if (event_bytes == (i32)sizeof event) {
                __builtin_trap();
            }
            event[event_bytes++] = piece[i];
        }
    }
    drop_input(stream);
    drop_body(body);
    drop_request(request);
}

// How many keys there are.
static i32 count_keys(i32 bucket) {
    // A tag, then at eight bytes a list and a cursor: the list's address and its count.
    i64 result[4];
    given_bytes = 0;
    list_keys(bucket, 0, 0, result);
    ok((const i32 *)result);
    return ((const i32 *)result)[3];
}

// How many of three are found: one is there, one is not, and one is a counter, which is read as text.
static i32 find(i32 bucket) {
    const text keys[] = {{(const u8 *)"last", 4}, {(const u8 *)"nowhere", 7}, {(const u8 *)"visits", 6}};
    i32 result[4], found = 0;
    given_bytes = 0;
    get_many(bucket, keys, 3, result);
    // Each is a tag, and at four bytes a key and a value.
    const u8 *answers = (const u8 *)ok(result);
    for (i32 i = 0; i < result[2]; i++) {
        found += answers[20 * i];
    }
    return found;
}

static void keep(void) {
    i32 result[4];
    i64 sum[3];
    open((const u8 *)"", 0, result);
    i32 bucket = ok(result);
    increment(bucket, (const u8 *)"visits", 6, 1, sum);
    ok((const i32 *)sum);
    say("{\"visits\": ");
    say_number(sum[1]);
    say(", \"last\": ");
    given_bytes = 0;
    get(bucket, (const u8 *)"last", 4, result);
    if (ok(result) & 0xff) {
        append((const u8 *)result[2], result[3]);
    } else {
        say("null");
    }
    set(bucket, (const u8 *)"last", 4, event, event_bytes, result);
    ok(result);
    say(", \"found\": ");
    say_number(find(bucket));
    say(", \"keys\": ");
    say_number(count_keys(bucket));
    say("}");
    drop_bucket(bucket);
}

static void answer_event(void) {
    static const char *const errors[] = {"\"no-such-store\"", "\"access-denied\"", "\"other\""};
    i32 result[4];
    answer_bytes = 0;
    if (event_bytes < 2 || event[0] != '"') {
        keep();
        return;
    }
    open(event + 1, event_bytes - 2, result);
    if (*(const u8 *)result) {
        // The error's own tag lies at four bytes.
        say(errors[*(const u8 *)(result + 1)]);
    } else {
        say("\"opened\"");
        drop_bucket(result[1]);
    }
}

EXPORT("wasi:http/incoming-handler@0.2.0#handle") void handle(i32 request, i32 outparam) {
    i32 result[3];
    i64 finished[8];
    read_event(request);
    answer_event();
    i32 response = new_response(new_fields());
    response_body(response, result);
    i32 body = ok(result);
    respond(outparam, 0, response, 0, 0, 0, 0, 0, 0);
    body_write(body, result);
    i32 stream = ok(result);
    for (i32 at = 0; at < answer_bytes; at += 4096) {
        i32 left = answer_bytes - at;
        write(stream, answer + at, left < 4096 ? left : 4096, result);
    }
    drop_output(stream);
    body_finish(body, 0, 0, finished);
}
