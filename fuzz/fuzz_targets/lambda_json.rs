//! Bodies of Lambda's API.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| squall_gateway::fuzzing::lambda_json(data));
