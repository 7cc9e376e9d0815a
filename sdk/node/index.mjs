// The same for `import`: as the default, and by name.

import squall from './index.js';

export const { Bucket, Payload, SquallError, bucket, myId, recv, send, session } = squall;
export default squall;
