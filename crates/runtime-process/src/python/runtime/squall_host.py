"""What a handler asks of the platform while it handles an event: state and messages, as frames.

The package `squall` calls this; its surface is what stays the same between versions of the two.
Large values travel as sealed files of memory and stay mapped here, read-only, until they are the oldest:
a value that has not changed since costs one small round trip.
"""

import collections
import fcntl
import mmap
import os
import struct
import threading

import squall_frames

GET, PUT, DELETE, LIST, GET_MANY, LATTICE, BEGIN, COMMIT, ABORT, MY_ID, SEND, RECEIVE = range(1, 13)
VALUE, ABSENT = 1, 3
KEYS_MAX = 64

_DONE, _SAME, _ERROR, _MANY = 0, 2, 4, 5
# Operation, encoding, flags, 0, session, held, bucket bytes, key bytes; the channel puts a number before it.
_CALL = struct.Struct("<BBBBIQHH")
# Number, status, encoding, files, retryable, version, file bytes.
_REPLY = struct.Struct("<IBBBBQQ")
_KEY = struct.Struct("<HQ")
_PART = struct.Struct("<BBBBIQQ")
_TAKES_FILES, _BODY_IN_FILE = 1, 2
_INLINE_BYTES_MAX = 64 * 1024
_SEALS = 0x0001 | 0x0002 | 0x0004 | 0x0008
_ADD_SEALS = 1033
# What stays mapped: address space and descriptors are not what is scarce, the server's memory behind it is.
_KEPT_BYTES_MAX = 256 * 1024 * 1024
_KEPT_MAX = 1024

_channel = None
_kept = collections.OrderedDict()
_kept_bytes = 0
_keeping = threading.Lock()


class Refused(Exception):
    """The platform's refusal: its name, its words, and whether the same may succeed later."""

    def __init__(self, kind, message, is_retryable):
        super().__init__(message)
        self.kind, self.message, self.is_retryable = kind, message, is_retryable


class Payload:
    """An event or an answer that is not JSON: its encoding (`bytes`, `pickle`, `ndarray`) and its bytes."""

    __slots__ = ("encoding", "data")

    def __init__(self, data, encoding="bytes"):
        self.data, self.encoding = data, encoding


class Kept:
    """A large value that stays mapped, and what its reader has made of it."""

    __slots__ = ("version", "encoding", "content", "value")

    def __init__(self, version, encoding, content):
        self.version, self.encoding, self.content, self.value = version, encoding, content, None


def attach(channel):
    global _channel
    _channel = channel


def ask(operation, bucket=b"", key=b"", session=0, arguments=b"", encoding=0, body=b"", held=0):
    """Asks: (status, encoding, version, content). `body` is bytes, or a list of buffers that belong together."""
    descriptor = None
    flags = _TAKES_FILES
    if type(body) is list:
        if sum(len(memoryview(part).cast("B")) for part in body) > _INLINE_BYTES_MAX:
            descriptor, flags, body = _file_of(body), _TAKES_FILES | _BODY_IN_FILE, b""
        else:
            body = b"".join(body)
    elif len(body) > _INLINE_BYTES_MAX:
        descriptor, flags, body = _file_of([body]), _TAKES_FILES | _BODY_IN_FILE, b""
    header = _CALL.pack(operation, encoding, flags, 0, session, held, len(bucket), len(key))
    header, content, files = _exchange(header + bucket + key + arguments, body, descriptor)
    _, status, encoding, _, is_retryable, version, file_bytes = _REPLY.unpack(header)
    if status == _ERROR:
        raise _refused(content, is_retryable)
    if files and status != _MANY:
        content = _map(files[0], file_bytes)
    elif status == _MANY:
        return status, 0, 0, (content, files)
    return status, encoding, version, content


def get(bucket, key, session, decode):
    """The value of a key, decoded, and whether there is one.

    `decode` makes a value of an encoding, its content, and the `Kept` that the content is of or None.
    """
    name = (bucket, key)
    kept = _kept.get(name)
    # As `ask` does it, with only what a small value needs: this is the way of every hot read.
    if _channel is None:
        raise squall_frames.EventOver
    held = kept.version if kept else 0
    call = _CALL.pack(GET, 0, _TAKES_FILES, 0, session, held, len(bucket), len(key)) + bucket + key
    header, content, files = _channel.call(call, is_quick=True)
    _, status, encoding, _, is_retryable, version, file_bytes = _REPLY.unpack(header)
    if status == VALUE and not files:
        return decode(encoding, content), True
    if status == _ERROR:
        raise _refused(content, is_retryable)
    if files:
        content = _map(files[0], file_bytes)
    return _content(name, kept, status, encoding, version, content, decode)


def get_many(bucket, keys, session, decode):
    """As `get`, for several keys: a list of (value, whether there is one), in the order of the keys."""
    values = []
    for at in range(0, len(keys), KEYS_MAX):
        values.extend(_get_some(bucket, keys[at : at + KEYS_MAX], session, decode))
    return values


def _get_some(bucket, keys, session, decode):
    names = [(bucket, key) for key in keys]
    kept = [_kept.get(name) for name in names]
    body = b"".join(_KEY.pack(len(key), old.version if old else 0) + key for key, old in zip(keys, kept))
    _, _, _, (content, files) = ask(GET_MANY, bucket, b"", session, body=body)
    values, at, files = [], 0, iter(files)
    for name, old in zip(names, kept):
        status, encoding, has_file, _, length, version, file_bytes = _PART.unpack_from(content, at)
        at += _PART.size
        part = _map(next(files), file_bytes) if has_file else content[at : at + length]
        at += length
        values.append(_content(name, old, status, encoding, version, part, decode))
    return values


def _content(name, kept, status, encoding, version, content, decode):
    if status == VALUE:
        kept = None
        if version and type(content) is mmap.mmap:
            kept = Kept(version, encoding, content)
            _keep(name, kept)
        return decode(encoding, content, kept), True
    if status == _SAME:
        return decode(kept.encoding, kept.content, kept), True
    return None, False


def _keep(name, entry):
    global _kept_bytes
    with _keeping:
        old = _kept.pop(name, None)
        if old is not None:
            _kept_bytes -= len(old.content)
        _kept[name] = entry
        _kept_bytes += len(entry.content)
        while len(_kept) > _KEPT_MAX or (_kept_bytes > _KEPT_BYTES_MAX and len(_kept) > 1):
            # Whoever still uses the mapping keeps it alive.
            _, oldest = _kept.popitem(last=False)
            _kept_bytes -= len(oldest.content)


def _exchange(header, body, descriptor):
    channel = _channel
    if channel is None:
        raise squall_frames.EventOver
    if descriptor is None:
        return channel.call(header, body)
    try:
        return channel.call(header, body, descriptor)
    finally:
        os.close(descriptor)


def _refused(content, is_retryable):
    import json

    error = json.loads(content)
    return Refused(error["kind"], error["message"], bool(is_retryable))


def _file_of(parts):
    descriptor = os.memfd_create("value", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        for part in parts:
            view = memoryview(part).cast("B")
            while len(view):
                view = view[os.write(descriptor, view) :]
        fcntl.fcntl(descriptor, _ADD_SEALS, _SEALS)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _map(descriptor, length):
    try:
        return mmap.mmap(descriptor, length, mmap.MAP_SHARED, mmap.PROT_READ)
    finally:
        os.close(descriptor)
