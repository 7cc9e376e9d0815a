/** Squall for Node functions: shared state beside them, sessions, messages. */

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };
export type Level = 'lww' | 'repeatable-read' | 'single-key-causal' | 'multi-key-causal' | 'causal' | 'atomic';
export type Element = string | number | boolean | null;

/** The platform's refusal: `kind` is its one word for the reason. */
export class SquallError extends Error {
  readonly kind: string;
  readonly retryable: boolean;
}

/** A value that is neither JSON nor bytes. */
export class Payload {
  constructor(data: Uint8Array, encoding?: 'bytes' | 'pickle' | 'ndarray');
  readonly data: Uint8Array;
  readonly encoding: string;
}

export interface Counter {
  add(amount?: number): Promise<number>;
  get(): Promise<number>;
}
export interface SharedSet {
  add(...elements: Element[]): Promise<void>;
  remove(...elements: Element[]): Promise<void>;
  get(): Promise<Set<Element>>;
  has(element: Element): Promise<boolean>;
}
export interface OrderedSet {
  add(element: Element, score: number): Promise<void>;
  remove(...elements: Element[]): Promise<void>;
  get(): Promise<[Element, number][]>;
}
export interface SharedMap {
  put(field: string, value: unknown): Promise<void>;
  remove(...fields: string[]): Promise<void>;
  get(): Promise<Map<string, any>>;
  get(field: string): Promise<any>;
}
export interface Extreme {
  put(number: number): Promise<void>;
  get(): Promise<number | null>;
}
export interface Flag {
  set(): Promise<void>;
  get(): Promise<boolean>;
}

export class Bucket {
  constructor(name?: string);
  readonly name?: string;
  /** JSON, or bytes as a Buffer; undefined where there is no such key. */
  get(key: string): Promise<any>;
  getMany(keys: Iterable<string>): Promise<Map<string, any>>;
  put(key: string, value: unknown): Promise<void>;
  delete(key: string): Promise<void>;
  list(prefix?: string, options?: { after?: string; limit?: number }): Promise<string[]>;
  counter(key: string): Counter;
  set(key: string): SharedSet;
  orderedSet(key: string): OrderedSet;
  map(key: string): SharedMap;
  max(key: string): Extreme;
  min(key: string): Extreme;
  flag(key: string): Flag;
  siblings(key: string): Promise<any[]>;
}

/** A bucket that is bound to this function; without a name, the function's own. */
export function bucket(name?: string): Bucket;
/** Runs `body` at a level of consistency of its own. */
export function session<T>(level: Level, body: () => Promise<T> | T): Promise<T>;
/** The id under which this invocation receives messages. */
export function myId(): Promise<string>;
export function send(id: string, message: unknown): Promise<void>;
/** The next message; null where none came in time. */
export function recv(options?: { timeoutMs?: number }): Promise<any>;

declare const squall: {
  Bucket: typeof Bucket;
  Payload: typeof Payload;
  SquallError: typeof SquallError;
  bucket: typeof bucket;
  myId: typeof myId;
  recv: typeof recv;
  send: typeof send;
  session: typeof session;
};
export default squall;
