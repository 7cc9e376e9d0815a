// Answers over HTTP: a component of the wasi:http proxy world, without a library.
//
// A call from the Lambda API arrives as `POST /` with the event as its body; the response's body is the answer.
// The imports are those of hello.wit, as the component model lays them out for C; `wit-bindgen c` writes such a file
// for larger ones. A function that answers with a `result` writes it to memory: a tag (0 is ok), then the value.

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

// The answer is {"you": EVENT}. Nothing of a call before is left, should the instance be used again.
static void read_event(i32 request) {
    i32 result[3];
    answer_bytes = 0;
    request_consume(request, result);
    i32 body = ok(result);
    body_stream(body, result);
    i32 stream = ok(result);
    append((const u8 *)"{\"you\": ", 8);
    for (;;) {
        given_bytes = 0;
        read(stream, 4096, result);
        if (*(u8 *)result) {
            break;
        }
        append((const u8 *)result[1], result[2]);
    }
    append((const u8 *)"}", 1);
    drop_input(stream);
    drop_body(body);
    drop_request(request);
}

EXPORT("wasi:http/incoming-handler@0.2.0#handle") void handle(i32 request, i32 outparam) {
    i32 result[3];
    i64 finished[8];
    read_event(request);
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
