// The platform's refusals.

'use strict';

// `kind` is the platform's one word for the reason, `retryable` whether the same may work later.
class SquallError extends Error {
  constructor(kind, message, retryable) {
    super(message);
    this.kind = kind;
    this.retryable = retryable;
  }
}
SquallError.prototype.name = 'SquallError';

module.exports = { SquallError };
