//! The engine: which code it makes and runs, and how much of everything it sets aside.
//!
//! The compiler's process and the server must agree on all that shapes machine code: both start from [`code_config`].
//! The figures are those of the measurements before the first line; the settings that paid are commented.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

/// One tick of the epoch: the longest that a guest runs before it lets others run, and the grain of its deadline.
pub(crate) const TICK: Duration = Duration::from_millis(5);

/// The most calls that run at once in one engine.
pub(crate) const INSTANCES_MAX: u32 = 1000;
/// The largest linear memory: what 32 bits can address.
const MEMORY_BYTES_MAX: usize = 4 << 30;
/// Reset by copying instead of `madvise` up to this size: three system calls a call made two threads slower than one.
/// Only what was written is copied, as far as wasmtime tells it apart (32 runs of pages): a call of the JavaScript
/// example has 60 page faults instead of the 94 of an eighth of this, and no fewer with more. What a memory has kept is
/// its place's in the pool: after as many calls at once as may be, that is 1 GiB at most.
const MEMORY_KEEP_RESIDENT_BYTES: usize = 1024 * 1024;
const TABLE_KEEP_RESIDENT_BYTES: usize = 64 * 1024;
const ASYNC_STACK_BYTES: usize = 1024 * 1024;
const WASM_STACK_BYTES: usize = 512 * 1024;

/// What shapes the machine code.
fn code_config() -> Config {
    let mut config = Config::new();
    config.wasm_component_model(true);
    config.epoch_interruption(true);
    config.memory_init_cow(true);
    // Only preview 3 needs it, and it costs every call.
    config.concurrency_support(false);
    config.async_stack_size(ASYNC_STACK_BYTES);
    config.max_wasm_stack(WASM_STACK_BYTES);
    config
}

/// The engine of the process that compiles.
///
/// # Errors
/// When this host cannot be compiled for.
pub(crate) fn compiling() -> wasmtime::Result<Engine> {
    Engine::new(&code_config())
}

/// The engine that runs guests, with its pool of memories and tables reserved (not resident).
///
/// # Errors
/// When the address space does not suffice.
pub(crate) fn running() -> wasmtime::Result<Engine> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(INSTANCES_MAX);
    // A component built by a JavaScript toolchain has nine core instances.
    pool.total_core_instances(INSTANCES_MAX * 10);
    pool.total_memories(INSTANCES_MAX);
    pool.total_tables(INSTANCES_MAX * 2);
    pool.total_stacks(INSTANCES_MAX);
    pool.max_memory_size(MEMORY_BYTES_MAX);
    pool.table_elements(20_000);
    pool.linear_memory_keep_resident(MEMORY_KEEP_RESIDENT_BYTES);
    pool.table_keep_resident(TABLE_KEEP_RESIDENT_BYTES);
    pool.pagemap_scan(Enabled::Auto);
    let mut config = code_config();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config)
}

/// Names all that must be the same for kept machine code to be used again: the engine's version and its settings.
pub(crate) fn fingerprint(engine: &Engine) -> String {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiler_and_the_server_agree_on_the_code() {
        let compiling = compiling().expect("an engine");
        let running = running().expect("an engine");
        assert_eq!(fingerprint(&compiling), fingerprint(&running));
    }
}
