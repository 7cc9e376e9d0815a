// Values that merge: what many do to them at the same time is never lost. `Bucket` makes them.

'use strict';

const { decodeField, encode } = require('./values.js');

class Lattice {
  #bucket;
  #key;

  constructor(bucket, key) {
    this.#bucket = bucket;
    this.#key = key;
  }

  async _do(method, given = {}, value = []) {
    return this.#bucket._change(this.#key, { method, ...given }, ...value);
  }
}

// A number that many add to at the same time.
class Counter extends Lattice {
  // Adds, or takes away where the amount is negative. Gives the sum that this function sees then.
  add(amount = 1) {
    return this._do('counter.add', { by: amount });
  }

  async get() {
    return (await this._do('counter.get')) ?? 0;
  }
}

// A set of strings, numbers, booleans and null. An addition wins over a removal at the same time.
class SharedSet extends Lattice {
  async add(...elements) {
    await this._do('set.add', { elements });
  }

  async remove(...elements) {
    await this._do('set.remove', { elements });
  }

  async get() {
    return new Set((await this._do('set.get')) ?? []);
  }

  async has(element) {
    return (await this.get()).has(element);
  }
}

// Elements with scores, in the order of the scores. The latest score of an element counts.
class OrderedSet extends Lattice {
  async add(element, score) {
    await this._do('ordered.add', { elements: [element], scores: [score] });
  }

  async remove(...elements) {
    await this._do('ordered.remove', { elements });
  }

  // [[element, score], …], least score first.
  async get() {
    return (await this._do('ordered.get')) ?? [];
  }
}

// Fields with values, each written for itself.
class SharedMap extends Lattice {
  async put(field, value) {
    await this._do('map.put', { field }, encode(value));
  }

  async remove(...fields) {
    await this._do('map.remove', { fields });
  }

  // One field, or all of them as a Map.
  async get(field) {
    const given = field === undefined ? {} : { field };
    const found = Object.entries((await this._do('map.get', given)) ?? {});
    const fields = new Map(found.map(([name, written]) => [name, decodeField(written)]));
    return field === undefined ? fields : fields.get(field);
  }
}

// The greatest number that anybody has offered; null where nobody has.
class Max extends Lattice {
  async put(number) {
    await this._do('max.put', { number });
  }

  get() {
    return this._do('max.get');
  }
}

// The least number that anybody has offered; null where nobody has.
class Min extends Lattice {
  async put(number) {
    await this._do('min.put', { number });
  }

  get() {
    return this._do('min.get');
  }
}

// False until somebody raises it, and true from then on.
class Flag extends Lattice {
  async set() {
    await this._do('flag.set');
  }

  async get() {
    return Boolean(await this._do('flag.get'));
  }
}

module.exports = { Counter, Flag, Max, Min, OrderedSet, SharedMap, SharedSet };
