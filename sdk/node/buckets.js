// Buckets and sessions, and the way from them to the platform.

'use strict';

const { AsyncLocalStorage } = require('node:async_hooks');
const { SquallError } = require('./errors.js');
const lattices = require('./lattices.js');
const { decode, decodeField, encode } = require('./values.js');

const [GET, PUT, DELETE, LIST, GET_MANY, LATTICE, BEGIN, COMMIT, ABORT] = [1, 2, 3, 4, 5, 6, 7, 8, 9];
const VALUE = 1;
const KEYS_MAX = 64;
const PART_BYTES = 24;

// The session that calls of this context belong to; none is the event's own.
const current = new AsyncLocalStorage();

// One question to the platform.
function ask(question) {
  const host = globalThis[Symbol.for('squall.host')];
  if (host === undefined) {
    throw new SquallError('NotAvailable', 'this program does not run in a managed function of Squall', false);
  }
  try {
    return host.ask({ session: current.getStore() ?? 0, ...question });
  } catch (error) {
    throw error.kind === undefined ? error : new SquallError(error.kind, error.message, error.retryable);
  }
}

// Runs `body` with a level of consistency of its own and gives what it gives: `lww`, `repeatable-read`,
// `single-key-causal`, `multi-key-causal`, `causal` or `atomic`. At `atomic` its writes become visible together at its
// end, and none of them where it throws.
async function session(level, body) {
  const number = ask({ operation: BEGIN, given: { level } }).version;
  let result;
  try {
    result = await current.run(number, body);
  } catch (error) {
    ask({ operation: ABORT, session: number });
    throw error;
  }
  ask({ operation: COMMIT, session: number });
  return result;
}

// Keys and their values. Making one costs nothing: whether it exists and is bound shows at its first use.
class Bucket {
  constructor(name) {
    this.name = name;
  }

  // The value of a key; undefined where there is none.
  async get(key) {
    const { status, encoding, body } = this._ask(GET, key);
    return status === VALUE ? decode(encoding, body) : undefined;
  }

  // The values of several keys in few round trips, as a Map without those that are not there.
  async getMany(keys) {
    const wanted = [...keys];
    const found = new Map();
    for (let at = 0; at < wanted.length; at += KEYS_MAX) {
      const some = wanted.slice(at, at + KEYS_MAX);
      const { body } = this._ask(GET_MANY, '', { body: Buffer.concat(some.map(wantedKey)) });
      readParts(body, some, found);
    }
    return found;
  }

  // Writes JSON or bytes.
  async put(key, value) {
    const [encoding, body] = encode(value);
    this._ask(PUT, key, { encoding, body });
  }

  // Removes a key, whatever it holds. One that is not there is no error.
  async delete(key) {
    this._ask(DELETE, key);
  }

  // Keys in order: those that start with `prefix`, come after `after`, and at most `limit` of them.
  async list(prefix = '', { after, limit = 1000 } = {}) {
    const { body } = this._ask(LIST, '', { given: { prefix, after, limit } });
    return JSON.parse(body.toString());
  }

  counter(key) {
    return new lattices.Counter(this, key);
  }

  set(key) {
    return new lattices.SharedSet(this, key);
  }

  orderedSet(key) {
    return new lattices.OrderedSet(this, key);
  }

  map(key) {
    return new lattices.SharedMap(this, key);
  }

  max(key) {
    return new lattices.Max(this, key);
  }

  min(key) {
    return new lattices.Min(this, key);
  }

  flag(key) {
    return new lattices.Flag(this, key);
  }

  // All values that were written at the same time at a causal level; mostly one.
  async siblings(key) {
    return (this._change(key, { method: 'siblings.get' }) ?? []).map(decodeField);
  }

  _ask(operation, key, rest) {
    if (typeof key !== 'string') {
      throw new TypeError(`a key is a string, not ${typeof key}`);
    }
    return ask({ operation, bucket: this.name ?? '', key, ...rest });
  }

  _change(key, given, encoding = 0, body = undefined) {
    const answer = this._ask(LATTICE, key, { given, encoding, body });
    return answer.status === VALUE ? decode(answer.encoding, answer.body) : null;
  }
}

function wantedKey(key) {
  const name = Buffer.from(key);
  const head = Buffer.alloc(10);
  head.writeUInt16LE(name.length, 0);
  return Buffer.concat([head, name]);
}

function readParts(content, keys, found) {
  let at = 0;
  for (const key of keys) {
    const length = content.readUInt32LE(at + 4);
    const body = content.subarray(at + PART_BYTES, at + PART_BYTES + length);
    if (content[at] === VALUE) {
      found.set(key, decode(content[at + 1], body));
    }
    at += PART_BYTES + length;
  }
}

module.exports = { Bucket, ask, session };
