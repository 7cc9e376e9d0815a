//! WebAssembly functions, in wasmtime: the only crate that knows it.
//!
//! A function is a component of the `wasi:http` proxy world, a `wasi:cli/command` component, or a core module of
//! WASI preview 1. It is compiled once, when it is deployed, in a process of its own (`compile`), and again where the
//! machine code was lost (`compilations`), never in a call. The machine code is kept by content (`cache`), loaded for
//! the first call (`guest`), and each call gets a fresh instance (`call`), or one that has answered before, where the
//! function asks for it (`sandbox`).

mod artifact;
mod cache;
mod call;
mod compilations;
mod compile;
mod engine;
mod guest;
mod host;
mod instance;
mod keyvalue;
mod outgoing;
mod output;
mod proxy;
mod respond;
mod runtime;
mod sandbox;
mod surroundings;
mod turns;

pub use compile::{Compiler, compile_in_child};
pub use runtime::{WasmConfig, WasmRuntime};
