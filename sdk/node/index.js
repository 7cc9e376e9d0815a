// Squall for Node functions: shared state beside them, sessions, messages. README.md shows the surface.
//
// In a managed function there is nothing to install: `import squall from 'squall'`, or `require('squall')`.
// Everything that reaches the platform gives a promise.

'use strict';

const { Bucket, ask, session } = require('./buckets.js');
const { SquallError } = require('./errors.js');
const { Payload, decode, encode } = require('./values.js');

const MY_ID = 10;
const SEND = 11;
const RECEIVE = 12;
const VALUE = 1;
// A receiver asks again after so long, at first and at most: waiting must not stop the rest of the function.
const PAUSE_MS = 1;
const PAUSE_MS_MAX = 20;

// A bucket that is bound to this function; without a name, the function's own.
function bucket(name) {
  return new Bucket(name);
}

// The id under which this invocation receives messages: give it to others, through a key for one.
async function myId() {
  return ask({ operation: MY_ID }).body.toString();
}

// Sends a value to an id; done once the message is in the inbox.
async function send(id, message) {
  const [encoding, body] = encode(message);
  ask({ operation: SEND, key: id, encoding, body });
}

// The next message, in the order of arrival; null where none came within so many milliseconds.
// Without a time it waits until the function's own is over.
async function recv({ timeoutMs = Infinity } = {}) {
  const until = Date.now() + timeoutMs;
  for (let pause = PAUSE_MS; ; pause = Math.min(2 * pause, PAUSE_MS_MAX)) {
    const { status, encoding, body } = ask({ operation: RECEIVE, given: { timeout_ms: 0 } });
    if (status === VALUE) {
      return decode(encoding, body);
    }
    const left = until - Date.now();
    if (left <= 0) {
      return null;
    }
    await new Promise((resolve) => setTimeout(resolve, Math.min(pause, left)));
  }
}

module.exports = { Bucket, Payload, SquallError, bucket, myId, recv, send, session };
