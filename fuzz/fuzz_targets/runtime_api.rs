//! A function's own runtime client: an event is answered by nobody who does not know its id.
#![no_main]

use libfuzzer_sys::fuzz_target;
use squall_fuzz::block_on;

fuzz_target!(|data: &[u8]| {
    block_on(squall_runtime_process::fuzzing::runtime_api(data));
});
