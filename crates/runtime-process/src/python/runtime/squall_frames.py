"""The framed protocol of an instance: what comes from the supervisor and what goes back.

Used by `squall_serve`, and by `squall_host` for what a handler asks of the platform. A frame is: u32 length of what
follows, u8 kind, u32 header length, header, body. Little-endian. The socket is blocking; the end of the stream ends
the process. Any thread may ask while an event is handled; whoever waits first reads for all of them.
"""

import collections
import os
import select
import socket
import struct
import threading

INIT, INVOKE, HOST_REPLY = 1, 2, 3
READY, INIT_ERROR, RESPONSE, ERROR, HOST_CALL = 129, 130, 131, 132, 133

_HEAD = struct.Struct("<IBI")
_NUMBER = struct.Struct("<I")
_READ_BYTES = 65536
# Room for the files of one frame.
_FILES_BYTES = socket.CMSG_SPACE(64 * 4)
_INT_BYTES = 4
# Plain numbers: `|` of the enum's members shows in the time of a warm call.
_WAITING = int(socket.MSG_CMSG_CLOEXEC)
_LOOKING = _WAITING | int(socket.MSG_DONTWAIT)
# Waits for what is no answer: the next event.
_EVENT = -1
# A read of what is in memory is answered sooner than a process has gone to sleep and woken: it looks so often before
# it waits, some 40 us. Where that was in vain, the next reads wait at once.
_LOOKS_MAX = 20 if len(os.sched_getaffinity(0)) > 1 else 0
_READS_WITHOUT_LOOKS = 16


class EventOver(Exception):
    """Nobody answers any more: the event that the question belongs to is over, or none is being handled."""


class Channel:
    """One supervisor. One thread takes events; any may call."""

    def __init__(self, sock):
        self._socket = sock
        self._readable = select.poll()
        self._readable.register(sock, select.POLLIN)
        self._rest = b""
        self._files = collections.deque()
        self._sending = threading.Lock()
        # Guards what follows; never held while the socket is waited for.
        self._state = threading.Lock()
        self._is_read = False
        self._waiters = {}
        self._delivered = {}
        # An event that came before anybody waited for it.
        self._early = None
        self._number = 0
        self._without_looks = 0
        self.is_open = False

    def receive(self):
        """The next frame that is no answer: (kind, header bytes, body bytes). An event opens the way for calls."""
        frame = self._wait(_EVENT, self._join(_EVENT))
        self.is_open = frame[0] == INVOKE
        return frame[:3]

    def answer(self, kind, header, body=b""):
        """The answer to the event; what other threads still ask is not answered any more."""
        with self._sending:
            self.is_open = False
            self._send(kind, header, body)

    def send(self, kind, header, body=b""):
        with self._sending:
            self._send(kind, header, body)

    def call(self, header, body=b"", descriptor=None, is_quick=False):
        """Asks, and waits for the answer: (header bytes, body bytes, descriptors). `header` lacks its number.

        `is_quick` where the answer is expected from memory.
        """
        with self._state:
            number = self._number = (self._number + 1) & 0x7FFFFFFF
            waiter = self._join_here(number)
        try:
            with self._sending:
                if not self.is_open:
                    raise EventOver
                self._send(HOST_CALL, _NUMBER.pack(number) + header, body, descriptor)
        except BaseException:
            self._leave(number, waiter)
            raise
        frame = self._wait(number, waiter, is_quick)
        if frame is None:
            raise EventOver
        return frame[1], frame[2], frame[3]

    def _join(self, number):
        """Takes part in waiting: None for whoever reads, a lock to wait for otherwise."""
        with self._state:
            return self._join_here(number)

    def _join_here(self, number):
        """As `_join`, where the state is locked already."""
        if not self._is_read:
            self._is_read = True
            return None
        waiter = self._waiters[number] = threading.Lock()
        waiter.acquire()
        return waiter

    def _leave(self, number, waiter):
        if waiter is not None:
            with self._state:
                is_waiting = self._waiters.pop(number, None) is not None
                is_answered = number in self._delivered
                self._delivered.pop(number, None)
                if is_waiting or is_answered:
                    return
                # It was its turn to read.
        self._pass_on()

    def _wait(self, number, waiter, is_quick=False):
        if waiter is not None:
            waiter.acquire()
            with self._state:
                if number in self._delivered:
                    return self._delivered.pop(number)
            # Woken without an answer: the one who read has got its own, and it is this one's turn.
        try:
            if number == _EVENT and self._early is not None:
                frame, self._early = self._early, None
                return frame
            if is_quick and not self._rest:
                self._look()
            while True:
                frame = self._read_frame()
                key = _NUMBER.unpack_from(frame[1])[0] if frame[0] == HOST_REPLY else _EVENT
                if key == _EVENT:
                    self._fail_calls()
                if key == number:
                    return frame
                self._deliver(key, frame)
                if key == _EVENT:
                    return None
        finally:
            self._pass_on()

    def _deliver(self, key, frame):
        with self._state:
            waiter = self._waiters.pop(key, None)
            if waiter is not None:
                self._delivered[key] = frame
                waiter.release()
                return
            if key == _EVENT:
                self._early = frame
                return
        for descriptor in frame[3]:
            os.close(descriptor)

    def _fail_calls(self):
        """A new event: the questions of the one before get no answers."""
        if not self._waiters:
            # Nobody joins meanwhile who asks in the event before: that one is answered.
            return
        with self._state:
            for number in [number for number in self._waiters if number != _EVENT]:
                self._delivered[number] = None
                self._waiters.pop(number).release()

    def _pass_on(self):
        with self._state:
            if self._waiters:
                _, waiter = self._waiters.popitem()
                waiter.release()
            else:
                self._is_read = False

    def _look(self):
        """Reads what comes within some microseconds, if anything does."""
        if self._without_looks > 0:
            self._without_looks -= 1
            return
        for _ in range(_LOOKS_MAX):
            try:
                self._rest = self._read(_LOOKING)
                return
            except BlockingIOError:
                pass
        self._without_looks = _READS_WITHOUT_LOOKS

    def _read_frame(self):
        data = self._rest or self._read()
        while len(data) < _HEAD.size:
            data += self._read()
        length, kind, header_length = _HEAD.unpack_from(data)
        end = 4 + length
        if len(data) < end:
            data = self._fill(data, end)
        body_start = _HEAD.size + header_length
        self._rest = data[end:]
        header = data[_HEAD.size : body_start]
        files = ()
        if kind == HOST_REPLY and header[6]:
            files = [self._files.popleft() for _ in range(header[6])]
        return kind, header, data[body_start:end], files

    def _send(self, kind, header, body, descriptor=None):
        head = _HEAD.pack(5 + len(header) + len(body), kind, len(header)) + header
        if descriptor is not None:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptor.to_bytes(_INT_BYTES, "little"))]
            sent = self._socket.sendmsg((head, body), rights)
        elif len(body) < 4096:
            data = head + body
            sent = self._socket.send(data)
            if sent == len(data):
                return
        else:
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

    def _read(self, flags=_WAITING):
        if flags == _WAITING:
            # A read that sleeps by itself is woken once more, for nothing, when the other end takes what was sent.
            self._readable.poll()
        data, ancillary, _, _ = self._socket.recvmsg(_READ_BYTES, _FILES_BYTES, flags)
        if not data:
            # The supervisor let go: nobody waits for exit handlers either.
            os._exit(0)
        for level, kind, rights in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                for at in range(0, len(rights) - len(rights) % _INT_BYTES, _INT_BYTES):
                    self._files.append(int.from_bytes(rights[at : at + _INT_BYTES], "little"))
        return data
