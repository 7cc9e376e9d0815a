// Values as bytes: bytes as they are, everything else as JSON. What Python has pickled passes through unread.

'use strict';

const NAMES = ['json', 'bytes', 'pickle', 'ndarray'];
const [JSON_TEXT, BYTES] = NAMES.keys();

// A value that is neither JSON nor bytes: its encoding (`pickle`, `ndarray`) and its bytes.
class Payload {
  constructor(data, encoding = 'bytes') {
    this.data = data;
    this.encoding = encoding;
  }
}

// [encoding, bytes]
function encode(value) {
  if (value instanceof Payload) {
    return [NAMES.indexOf(value.encoding), Buffer.from(value.data)];
  }
  if (ArrayBuffer.isView(value)) {
    return [BYTES, Buffer.from(value.buffer, value.byteOffset, value.byteLength)];
  }
  const text = JSON.stringify(value);
  if (text === undefined) {
    throw new TypeError(`a value is JSON or bytes, not ${typeof value}`);
  }
  return [JSON_TEXT, Buffer.from(text)];
}

function decode(encoding, body) {
  switch (encoding) {
    case JSON_TEXT:
      return JSON.parse(body.toString());
    case BYTES:
      return body;
    default:
      return new Payload(body, NAMES[encoding]);
  }
}

// A field of a map as the platform writes it in JSON.
function decodeField(written) {
  const encoding = NAMES.indexOf(written.encoding);
  return encoding === JSON_TEXT ? written.value : decode(encoding, Buffer.from(written.base64, 'base64'));
}

module.exports = { Payload, decode, decodeField, encode };
