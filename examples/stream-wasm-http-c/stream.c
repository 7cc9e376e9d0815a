// Streams: a component of the wasi:http proxy world whose answer leaves while it is made, without a library.
//
//   /echo            what is sent, piece by piece
//   /count           how often this instance was called: 1 where each call has a fresh one (SQUALL_WASM_REUSE)
//   /fetch/HOST:PORT/PATH   what http://HOST:PORT/PATH answers, where the function's network allows it
//   /trap            begins to answer, and breaks when all was sent
//   /spin            begins to answer, and never ends
//   /hang            never answers, once it has been called before
//
// How imports look in C is explained in ../hello-wasm-http-c.

typedef unsigned char u8;
typedef int i32;
typedef long long i64;

#define IMPORT(module, name) __attribute__((import_module(module), import_name(name)))
#define EXPORT(name) __attribute__((export_name(name)))
#define TYPES "wasi:http/types@0.2.0"
#define STREAMS "wasi:io/streams@0.2.0"
#define POLL "wasi:io/poll@0.2.0"
#define OUTGOING "wasi:http/outgoing-handler@0.2.0"

IMPORT(TYPES, "[method]incoming-request.path-with-query") void request_path(i32 request, i32 *result);
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

IMPORT(TYPES, "[constructor]outgoing-request") i32 new_request(i32 headers);
IMPORT(TYPES, "[method]outgoing-request.set-path-with-query")
i32 request_set_path(i32 request, i32 is_some, const u8 *path, i32 count);
IMPORT(TYPES, "[method]outgoing-request.set-scheme")
i32 request_set_scheme(i32 request, i32 is_some, i32 tag, const u8 *other, i32 count);
IMPORT(TYPES, "[method]outgoing-request.set-authority")
i32 request_set_authority(i32 request, i32 is_some, const u8 *authority, i32 count);
IMPORT(OUTGOING, "handle") void send(i32 request, i32 has_options, i32 options, i64 *result);
IMPORT(TYPES, "[method]future-incoming-response.subscribe") i32 future_subscribe(i32 future);
IMPORT(TYPES, "[method]future-incoming-response.get") void future_get(i32 future, i64 *result);
IMPORT(TYPES, "[resource-drop]future-incoming-response") void drop_future(i32 future);
IMPORT(TYPES, "[method]incoming-response.consume") void response_consume(i32 response, i32 *result);
IMPORT(TYPES, "[resource-drop]incoming-response") void drop_response(i32 response);
IMPORT(POLL, "[method]pollable.block") void block(i32 pollable);
IMPORT(POLL, "[resource-drop]pollable") void drop_pollable(i32 pollable);

#define PIECE_BYTES 4096

// What the host gives us lies here until the next piece is read.
static u8 given[65536] __attribute__((aligned(16)));
static unsigned given_bytes;
static i32 calls;

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

// A response that has begun.
static i32 out_body, out;

static void begin(i32 outparam) {
    i32 result[3];
    i32 response = new_response(new_fields());
    response_body(response, result);
    out_body = ok(result);
    respond(outparam, 0, response, 0, 0, 0, 0, 0, 0);
    body_write(out_body, result);
    out = ok(result);
}

static void say(const u8 *bytes, i32 count) {
    i32 result[3];
    write(out, bytes, count, result);
}

static void end(void) {
    i64 finished[8];
    drop_output(out);
    body_finish(out_body, 0, 0, finished);
}

// Writes all of a body as it comes.
static void copy(i32 body) {
    i32 result[3];
    body_stream(body, result);
    i32 stream = ok(result);
    for (;;) {
        given_bytes = 0;
        read(stream, PIECE_BYTES, result);
        if (*(u8 *)result) {
            break;
        }
        say((const u8 *)result[1], result[2]);
    }
    drop_input(stream);
    drop_body(body);
}

// A response of our own to one that we asked for; an error is said by its number in the interface.
static void fetch(const u8 *place, i32 count) {
    i64 result64[8];
    i32 result[3];
    i32 authority = 0;
    while (authority < count && place[authority] != '/') {
        authority++;
    }
    i32 request = new_request(new_fields());
    request_set_scheme(request, 1, 0, 0, 0);
    request_set_authority(request, 1, place, authority);
    request_set_path(request, 1, place + authority, count - authority);
    send(request, 0, 0, result64);
    const u8 *sent = (const u8 *)result64;
    u8 error = sent[0] ? sent[8] : 255;
    if (error == 255) {
        i32 future = *(const i32 *)(sent + 8);
        i32 pollable = future_subscribe(future);
        block(pollable);
        drop_pollable(pollable);
        future_get(future, result64);
        // option<result<result<response, error-code>>>: three tags, 8 bytes each.
        const u8 *got = (const u8 *)result64;
        if (got[16]) {
            error = got[24];
        } else {
            i32 response = *(const i32 *)(got + 24);
            response_consume(response, result);
            copy(ok(result));
            drop_response(response);
        }
        drop_future(future);
    }
    if (error != 255) {
        u8 text[] = "error 00";
        text[6] = '0' + error / 10;
        text[7] = '0' + error % 10;
        say(text, 8);
    }
}

static i32 starts(const u8 *path, i32 count, const char *with) {
    for (i32 i = 0; with[i]; i++) {
        if (i == count || path[i] != (u8)with[i]) {
            return 0;
        }
    }
    return 1;
}

EXPORT("wasi:http/incoming-handler@0.2.0#handle") void handle(i32 request, i32 outparam) {
    static u8 path[1024];
    i32 result[3];
    given_bytes = 0;
    request_path(request, result);
    i32 count = result[2] < (i32)sizeof path ? result[2] : (i32)sizeof path;
    for (i32 i = 0; i < count; i++) {
        path[i] = ((const u8 *)result[1])[i];
    }
    calls++;
    if (starts(path, count, "/hang")) {
        while (calls > 1) {
            __asm__ volatile("");
        }
    }
    begin(outparam);
    if (starts(path, count, "/echo")) {
        request_consume(request, result);
        copy(ok(result));
    } else if (starts(path, count, "/fetch/")) {
        fetch(path + 7, count - 7);
    } else if (starts(path, count, "/trap") || starts(path, count, "/spin")) {
        say((const u8 *)"begun", 5);
        if (path[1] == 't') {
            request_consume(request, result);
            copy(ok(result));
            __builtin_trap();
        }
        for (;;) {
            __asm__ volatile("");
        }
    } else {
        u8 digits[] = "000";
        digits[0] += calls / 100 % 10, digits[1] += calls / 10 % 10, digits[2] += calls % 10;
        say(digits, 3);
    }
    drop_request(request);
    end();
}
