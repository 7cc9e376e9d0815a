// What a handler asks of the platform while it handles an event: state and messages, as frames.
//
// The package `squall` (sdk/node) finds it under a symbol; this surface stays the same between versions of the two.
// A question is sent and its answer read in one go, so nothing else of the instance runs meanwhile: some 50 µs for
// what is in memory, and a sync of the disk for a durable write. The frames are described in host_call.rs.

import { HOST_CALL, HOST_REPLY } from './frames.mjs';

const CALL_BYTES = 24;
const REPLY_BYTES = 24;
const ERROR = 4;
// What one frame carries; values do not come as files of memory here, since Node cannot receive descriptors.
const BODY_BYTES_MAX = 31 * 1024 * 1024;

// Lets the package ask over this channel.
export function setUpHost(channel) {
  let number = 0;
  globalThis[Symbol.for('squall.host')] = Object.freeze({
    // { status, encoding, version, body }; throws { kind, message, retryable }.
    ask(question) {
      number = (number + 1) & 0x7fffffff;
      return ask(channel, number, question);
    },
  });
}

function ask(channel, number, { operation, bucket = '', key = '', session = 0, given, encoding = 0, body }) {
  if (!channel.isOpen) {
    throw refusal('NotAvailable', 'state and messages can be reached only while an event is handled', false);
  }
  const content = body ?? Buffer.alloc(0);
  if (content.length > BODY_BYTES_MAX) {
    throw refusal('TooLarge', `a value of ${content.length} bytes is too large: Node sends at most ${BODY_BYTES_MAX}`, false);
  }
  const parts = [Buffer.from(bucket), Buffer.from(key), Buffer.from(given === undefined ? '' : JSON.stringify(given))];
  const header = Buffer.alloc(CALL_BYTES);
  header.writeUInt32LE(number, 0);
  header[4] = operation;
  header[5] = encoding;
  header.writeUInt32LE(session, 8);
  header.writeUInt16LE(parts[0].length, 20);
  header.writeUInt16LE(parts[1].length, 22);
  channel.sendFrame(HOST_CALL, Buffer.concat([header, ...parts]), content);
  return read(channel, number);
}

function read(channel, number) {
  const frame = channel.receiveFrame();
  const { header, body } = frame;
  if (frame.kind !== HOST_REPLY || header.length < REPLY_BYTES || header.readUInt32LE(0) !== number) {
    throw new Error(`squall: expected the answer to question ${number}, got a frame of kind ${frame.kind}`);
  }
  if (header[4] === ERROR) {
    const { kind, message } = JSON.parse(body.toString());
    throw refusal(kind, message, header[7] !== 0);
  }
  // A copy: the next frame comes into the same memory.
  return { status: header[4], encoding: header[5], version: header.readUInt32LE(8), body: Buffer.from(body) };
}

function refusal(kind, message, retryable) {
  return Object.assign(new Error(message), { kind, retryable });
}
