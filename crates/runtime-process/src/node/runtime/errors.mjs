// Errors as Lambda tells them: the names that its Node runtime gives, and their two written forms.

import { types } from 'node:util';

class RuntimeError extends Error {
  get name() {
    return `Runtime.${this.constructor.name}`;
  }
}

export class ImportModuleError extends RuntimeError {}
export class HandlerNotFound extends RuntimeError {}
export class MalformedHandlerName extends RuntimeError {}
export class UserCodeSyntaxError extends RuntimeError {}
export class MalformedStreamingHandler extends RuntimeError {}
export class InvalidStreamingOperation extends RuntimeError {}
export class UnhandledPromiseRejection extends RuntimeError {
  constructor(reason, promise) {
    super(reason);
    this.reason = reason;
    this.promise = promise;
  }
}

// What a caller of the function gets: { errorType, errorMessage, trace }.
export function forCaller(error) {
  try {
    if (types.isNativeError(error) || looksLikeError(error)) {
      return { errorType: error.name, errorMessage: error.message, trace: error.stack.split('\n') };
    }
    return { errorType: typeof error, errorMessage: error.toString(), trace: [] };
  } catch {
    return {
      errorType: 'handled',
      errorMessage:
        'callback called with Error argument, but there was a problem while retrieving one or more of its message, name, and stack',
    };
  }
}

// What the function's log gets, on one line.
export function forLog(error) {
  try {
    return `\t${JSON.stringify(error, (_, value) => (value instanceof Error ? withFields(value) : value))}`;
  } catch {
    return `\t${JSON.stringify(forCaller(error))}`;
  }
}

function withFields(error) {
  const fields = { errorType: error.name, errorMessage: error.message, code: error.code, ...error };
  if (typeof error.stack === 'string') {
    fields.stack = error.stack.split('\n');
  }
  return fields;
}

function looksLikeError(value) {
  return [value?.name, value?.message, value?.stack].every((field) => field && typeof field === 'string');
}
