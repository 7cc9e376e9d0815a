// The framed protocol of an instance: what comes from the supervisor and what goes back.
//
// Used by bootstrap.mjs, and by host.mjs for what a handler asks of the platform.
// A frame is: u32 length of what follows, u8 kind, u32 header length, header (JSON, but for questions), body.
// Little-endian. The socket is blocking and is read blocking: while the instance waits for an event nothing else
// of it runs, as on Lambda, where it is frozen. The end of the stream ends the process.

import { readSync, writeSync, writevSync } from 'node:fs';

export const INIT = 1;
export const INVOKE = 2;
export const HOST_REPLY = 3;
export const READY = 129;
export const INIT_ERROR = 130;
export const RESPONSE = 131;
export const ERROR = 132;
export const HOST_CALL = 133;

const HEAD_BYTES = 9;
const READ_BYTES = 65536;

export class Channel {
  // An event is being handled: questions are answered.
  isOpen = false;
  #fd;
  #buffer = Buffer.allocUnsafeSlow(READ_BYTES);

  constructor(fd) {
    this.#fd = fd;
  }

  // The next frame: { kind, header, body }, the header parsed, the body as text.
  receive() {
    const { kind, header, body } = this.receiveFrame();
    this.isOpen = kind === INVOKE;
    return { kind, header: JSON.parse(header.toString()), body: body.toString() };
  }

  // The next frame, its header and body as bytes that are good until the next one is received.
  // There is never more than one on its way, so what was read belongs to it.
  receiveFrame() {
    let have = this.#fill(this.#buffer, 0, HEAD_BYTES);
    const end = 4 + this.#buffer.readUInt32LE(0);
    let frame = this.#buffer;
    if (end > frame.length) {
      frame = Buffer.allocUnsafe(end);
      this.#buffer.copy(frame, 0, 0, have);
    }
    have = this.#fill(frame, have, end);
    const bodyStart = HEAD_BYTES + frame.readUInt32LE(5);
    return { kind: frame[4], header: frame.subarray(HEAD_BYTES, bodyStart), body: frame.subarray(bodyStart, end) };
  }

  // Whatever answers INIT or an event: nothing can be asked after it.
  send(kind, body = '') {
    this.isOpen = false;
    const header = Buffer.from(`{"memory":${process.resourceUsage().maxRSS * 1024}}`, 'latin1');
    this.sendFrame(kind, header, Buffer.isBuffer(body) ? body : Buffer.from(body));
  }

  sendFrame(kind, header, bytes) {
    const head = Buffer.allocUnsafe(HEAD_BYTES + header.length);
    head.writeUInt32LE(head.length + bytes.length - 4, 0);
    head[4] = kind;
    head.writeUInt32LE(header.length, 5);
    header.copy(head, HEAD_BYTES);
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
