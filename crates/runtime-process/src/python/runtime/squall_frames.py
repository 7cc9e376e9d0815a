"""The framed protocol of an instance: what comes from the supervisor and what goes back.

Used by `squall_serve`. A frame is: u32 length of what follows, u8 kind, u32 header length, header (JSON), body.
Little-endian. The socket is blocking; the end of the stream ends the process.
"""

import os
import struct

INIT, INVOKE = 1, 2
READY, INIT_ERROR, RESPONSE, ERROR = 129, 130, 131, 132

_HEAD = struct.Struct("<IBI")
_READ_BYTES = 65536


class Channel:
    """One supervisor. Not for two threads at once."""

    def __init__(self, sock):
        self._socket = sock
        self._rest = b""

    def receive(self):
        """The next frame as (kind, header bytes, body bytes)."""
        data = self._rest or self._read(_READ_BYTES)
        while len(data) < _HEAD.size:
            data += self._read(_READ_BYTES)
        length, kind, header_length = _HEAD.unpack_from(data)
        end = 4 + length
        if len(data) < end:
            data = self._fill(data, end)
        body_start = _HEAD.size + header_length
        self._rest = data[end:]
        return kind, data[_HEAD.size : body_start], data[body_start:end]

    def send(self, kind, header, body=b""):
        head = _HEAD.pack(5 + len(header) + len(body), kind, len(header)) + header
        sent = self._socket.sendmsg((head, body))
        if sent == len(head) + len(body):
            return
        if sent < len(head):
            self._socket.sendall(head[sent:])
            sent = len(head)
        self._socket.sendall(memoryview(body)[sent - len(head) :])

    def _fill(self, data, end):
        buffer = bytearray(end)
        buffer[: len(data)] = data
        view = memoryview(buffer)
        have = len(data)
        while have < end:
            count = self._socket.recv_into(view[have:])
            if count == 0:
                os._exit(0)
            have += count
        return bytes(buffer)

    def _read(self, limit):
        data = self._socket.recv(limit)
        if not data:
            # The supervisor let go: nobody waits for exit handlers either.
            os._exit(0)
        return data
