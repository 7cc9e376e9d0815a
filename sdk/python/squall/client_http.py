"""Signed HTTP/1.1 over kept connections: what `squall.client` needs of HTTP, and no more.

A call costs some 50 µs here: one write, one read, one signature with a kept key.
For `https://` the certificates of AWS_CA_BUNDLE are trusted, else the system's.
"""

import hashlib
import hmac
import os
import socket
import threading
import time
import urllib.parse

_IDLE_MAX = 64
_HEAD_BYTES_MAX = 64 * 1024
_SAFE = "-_.~"


class Broken(Exception):
    """The server went away, or said what is no HTTP. Whether it did what was asked is not known."""


class Answer:
    """Status, headers (lower-case names) and body."""

    __slots__ = ("status", "headers", "body")

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body


class Connection:
    """One socket. Not for two threads at once; what was read of an answer stays until the rest is there."""

    __slots__ = ("_socket", "_data", "is_fresh")

    def __init__(self, address, tls=None):
        self._socket = socket.create_connection(address, timeout=5)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self._socket = tls.wrap_socket(self._socket, server_hostname=address[0])
        self._data = b""
        self.is_fresh = True

    def send(self, data):
        try:
            self._socket.settimeout(60)
            self._socket.sendall(data)
        except OSError as error:
            raise Broken(str(error)) from None

    def receive(self, deadline=None):
        """The next answer. Raises TimeoutError at the deadline, and can be called again then."""
        while True:
            end = self._data.find(b"\r\n\r\n")
            if end >= 0:
                break
            if len(self._data) > _HEAD_BYTES_MAX:
                raise Broken("the head of the answer has no end")
            self._more(deadline)
        lines = self._data[:end].decode("latin-1").split("\r\n")
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        try:
            status, length = int(lines[0].split(" ", 2)[1]), int(headers.get("content-length", 0))
        except (IndexError, ValueError):
            raise Broken("the answer is no HTTP: {!r}".format(lines[0][:100])) from None
        whole = end + 4 + length
        while len(self._data) < whole:
            self._more(deadline, whole - len(self._data))
        body, self._data = self._data[end + 4 : whole], self._data[whole:]
        self.is_fresh = False
        return Answer(status, headers, body)

    def close(self):
        self._socket.close()

    def _more(self, deadline, want=0):
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            raise TimeoutError("no result yet")
        self._socket.settimeout(left)
        try:
            piece = self._socket.recv(max(65536, min(want, 1 << 20)))
        except socket.timeout:
            raise TimeoutError("no result yet") from None
        except OSError as error:
            raise Broken(str(error)) from None
        if not piece:
            raise Broken("the server closed the connection")
        self._data += piece


class Endpoint:
    """One server and the key to sign with. For any number of threads."""

    def __init__(self, url, key, secret, region):
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("`{}` is not a server's address: write http://HOST:PORT".format(url))
        self.url = url
        self._tls = None
        if parts.scheme == "https":
            # Not at the top: it is the slowest import of all, and few need it.
            import ssl

            self._tls = ssl.create_default_context(cafile=os.environ.get("AWS_CA_BUNDLE") or None)
        self._address = (parts.hostname, parts.port or (443 if self._tls else 80))
        self._host = parts.netloc.rpartition("@")[2]
        self._key, self._secret, self._region = key, secret, region
        self._idle = []
        self._lock = threading.Lock()
        self._signing = ("", b"")
        self._process = os.getpid()

    def request(self, method, path, query=(), body=b"", content_type="application/json"):
        """A signed request as bytes. `path` is a list of segments; `query` is pairs of texts."""
        quoted = "/" + "/".join([urllib.parse.quote(segment, _SAFE) for segment in path])
        query = "&".join(sorted(["{}={}".format(name, urllib.parse.quote(value, _SAFE)) for name, value in query]))
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        head = "content-type:{}\nhost:{}\nx-amz-date:{}\n".format(content_type, self._host, now)
        signed = "content-type;host;x-amz-date"
        canonical = "\n".join(
            (method, urllib.parse.quote(quoted, "/" + _SAFE), query, head, signed, hashlib.sha256(body).hexdigest())
        )
        scope = "{}/{}/lambda/aws4_request".format(now[:8], self._region)
        text = "\n".join(("AWS4-HMAC-SHA256", now, scope, hashlib.sha256(canonical.encode()).hexdigest()))
        signature = hmac.digest(self._signing_key(now[:8]), text.encode(), "sha256").hex()
        return (
            "{} {}{}{} HTTP/1.1\r\nhost: {}\r\ncontent-type: {}\r\nx-amz-date: {}\r\ncontent-length: {}\r\n"
            "authorization: AWS4-HMAC-SHA256 Credential={}/{}, SignedHeaders={}, Signature={}\r\n\r\n".format(
                method, quoted, "?" if query else "", query, self._host, content_type, now, len(body),
                self._key, scope, signed, signature,
            ).encode() + body
        )

    def follow(self, link):
        """A request as bytes for a link that the server gave, which is signed in itself."""
        parts = urllib.parse.urlsplit(link)
        return "GET {}?{} HTTP/1.1\r\nhost: {}\r\n\r\n".format(parts.path, parts.query, self._host).encode()

    def send(self, request):
        """Sends, and gives the connection on which the answer will come."""
        while True:
            connection = self._take()
            try:
                connection.send(request)
                return connection
            except Broken:
                connection.close()
                if connection.is_fresh:
                    raise

    def call(self, request, deadline=None):
        """Sends, and waits for the answer. A kept connection that the server has closed meanwhile is not noticed
        before the answer: the request is sent once more then, on a new one."""
        while True:
            connection = self.send(request)
            try:
                answer = connection.receive(deadline)
            except BaseException as error:
                connection.close()
                if isinstance(error, Broken) and not connection.is_fresh:
                    continue
                raise
            self.give_back(connection)
            return answer

    def give_back(self, connection):
        with self._lock:
            if len(self._idle) < _IDLE_MAX:
                self._idle.append(connection)
                return
        connection.close()

    def _take(self):
        with self._lock:
            if self._process != os.getpid():
                # A fork must not write to its parent's connections.
                self._idle, self._process = [], os.getpid()
            if self._idle:
                return self._idle.pop()
        try:
            return Connection(self._address, self._tls)
        except OSError as error:
            raise Broken("no server answers at `{}`: {}".format(self.url, error)) from None

    def _signing_key(self, date):
        kept, key = self._signing
        if kept != date:
            key = ("AWS4" + self._secret).encode()
            for part in (date, self._region, "lambda", "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._signing = (date, key)
        return key
