// Greets, with a digest of the greeting and its size when compressed.

import { createHash } from 'node:crypto';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';

const compress = promisify(gzip);

export const handler = async (event, context) => {
  if (typeof event.name !== 'string') {
    throw new TypeError('the event has no `name`');
  }
  const greeting = `Hello, ${event.name}!`;
  console.log('greeting', event.name);
  return {
    greeting,
    sha256: createHash('sha256').update(greeting).digest('hex'),
    gzip_bytes: (await compress(greeting)).length,
    request_id: context.awsRequestId,
  };
};
