//! What epoch checks cost a guest: three loops, compiled with and without them, in turns. For `bench/wasm.py`.
//!
//! `epochs [ROUNDS]` prints, for each loop, the least time of its rounds in milliseconds, as JSON.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use wasmtime::{Config, Engine, Error, Module, Result, Store, TypedFunc};

/// Calls, arithmetic in a tight loop, and memory: each in its worst light.
const GUEST: &str = r#"(module
    (memory 16)
    (func $fib (param i32) (result i32)
        (if (result i32) (i32.lt_u (local.get 0) (i32.const 2))
            (then (local.get 0))
            (else (i32.add (call $fib (i32.sub (local.get 0) (i32.const 1)))
                           (call $fib (i32.sub (local.get 0) (i32.const 2)))))))
    (func (export "calls") (result i32) (call $fib (i32.const 30)))
    (func (export "loop") (result i32)
        (local $i i32) (local $hash i32)
        (loop
            (local.set $hash (i32.mul (i32.xor (local.get $hash) (local.get $i)) (i32.const 16777619)))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if 0 (i32.lt_u (local.get $i) (i32.const 20000000))))
        (local.get $hash))
    (func (export "memory") (result i32)
        (local $i i32) (local $at i32)
        (loop
            (local.set $at (i32.and (i32.mul (local.get $i) (i32.const 4100)) (i32.const 1048572)))
            (i32.store (local.get $at) (i32.add (i32.load (local.get $at)) (local.get $i)))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if 0 (i32.lt_u (local.get $i) (i32.const 10000000))))
        (i32.load (i32.const 0))))"#;
const LOOPS: [&str; 3] = ["calls", "loop", "memory"];

/// One compiled guest, ready to be called.
struct Guest {
    store: Store<()>,
    instance: wasmtime::Instance,
}

impl Guest {
    fn new(wasm: &[u8], with_epochs: bool) -> Result<Self> {
        let mut config = Config::new();
        config.epoch_interruption(with_epochs);
        let engine = Engine::new(&config)?;
        let mut store = Store::new(&engine, ());
        if with_epochs {
            // Never reached: what is measured is the check, not what happens at the deadline.
            store.set_epoch_deadline(1);
        }
        let instance = wasmtime::Instance::new(&mut store, &Module::new(&engine, wasm)?, &[])?;
        Ok(Self { store, instance })
    }

    fn time_of(&mut self, name: &str) -> Result<Duration> {
        let function: TypedFunc<(), i32> = self.instance.get_typed_func(&mut self.store, name)?;
        let begun = Instant::now();
        function.call(&mut self.store, ())?;
        Ok(begun.elapsed())
    }
}

fn main() -> Result<()> {
    let rounds = std::env::args().nth(1).map_or(Ok(21), |text| text.parse())?;
    let wasm = wat::parse_str(GUEST)?;
    let (mut without, mut with) = (Guest::new(&wasm, false)?, Guest::new(&wasm, true)?);
    let mut least = BTreeMap::new();
    for name in LOOPS {
        let mut best = [Duration::MAX; 2];
        for _ in 0..rounds {
            best[0] = best[0].min(without.time_of(name)?);
            best[1] = best[1].min(with.time_of(name)?);
        }
        let [without, with] = best.map(|time| time.as_secs_f64() * 1e3);
        least.insert(name, BTreeMap::from([("without_ms", without), ("with_ms", with)]));
    }
    let text = serde_json::to_string(&least).map_err(|error| Error::msg(error.to_string()))?;
    std::io::Write::write_all(&mut std::io::stdout(), format!("{text}\n").as_bytes())?;
    Ok(())
}
