//! A request to a function URL becomes an event that has its body.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| squall_gateway::fuzzing::url_event(data));
