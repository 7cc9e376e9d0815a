// The framed protocol of an instance: what comes from the supervisor and what goes back.
//
// Used by bootstrap.mjs. A frame is: u32 length of what follows, u8 kind, u32 header length, header (JSON), body.
// Little-endian. The socket is blocking and is read blocking: while the instance waits for an event nothing else
// of it runs, as on Lambda, where it is frozen. The end of the stream ends the process.

import { readSync, writeSync, writevSync } from 'node:fs';

export const INIT = 1;
export const INVOKE = 2;
export const READY = 129;
export const INIT_ERROR = 130;
export const RESPONSE = 131;
export const ERROR = 132;

const HEAD_BYTES = 9;
const READ_BYTES = 65536;

export class Channel {
  #fd;
  #buffer = Buffer.allocUnsafeSlow(READ_BYTES);

  constructor(fd) {
    this.#fd = fd;
  }

  // The next frame: { kind, header, body }, the header parsed, the body as text.
  // There is never more than one on its way, so what was read belongs to it.
  receive() {
    let have = this.#fill(this.#buffer, 0, HEAD_BYTES);
    const end = 4 + this.#buffer.readUInt32LE(0);
    let frame = this.#buffer;
    if (end > frame.length) {
      frame = Buffer.allocUnsafe(end);
      this.#buffer.copy(frame, 0, 0, have);
    }
    have = this.#fill(frame, have, end);
    const bodyStart = HEAD_BYTES + frame.readUInt32LE(5);
    return {
      kind: frame[4],
      header: JSON.parse(frame.toString('utf8', HEAD_BYTES, bodyStart)),
      body: frame.toString('utf8', bodyStart, end),
    };
  }

  send(kind, body = '') {
    const header = `{"memory":${process.resourceUsage().maxRSS * 1024}}`;
    const bytes = Buffer.isBuffer(body) ? body : Buffer.from(body);
    const head = Buffer.allocUnsafe(HEAD_BYTES + header.length);
    head.writeUInt32LE(head.length + bytes.length - 4, 0);
    head[4] = kind;
    head.writeUInt32LE(header.length, 5);
    head.latin1Write(header, HEAD_BYTES);
    let sent = writevSync(this.#fd, [head, bytes]);
    if (sent < head.length) {
      sent += this.#write(head, sent);
    }
    this.#write(bytes, sent - head.length);
  }

  #write(bytes, from) {
    for (let at = from; at < bytes.length; ) {
      at += writeSync(this.#fd, bytes, at);
    }
    return bytes.length - from;
  }

  #fill(buffer, have, wanted) {
    while (have < wanted) {
      const count = readSync(this.#fd, buffer, have, buffer.length - have, null);
      if (count === 0) {
        process.exit(0);
      }
      have += count;
    }
    return have;
  }
}
