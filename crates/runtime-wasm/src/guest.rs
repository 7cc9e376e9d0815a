//! A guest whose machine code is loaded and whose imports are found: ready to be instantiated for each call.
//!
//! Loading machine code is trusting it. The two functions at the end are the only unsafe code here.

use std::path::Path;

use wasmtime::component::{Component, Linker};
use wasmtime::{Engine, InstancePre, Module, Precompiled};
use wasmtime_wasi::p2::bindings::CommandPre;
use wasmtime_wasi_http::p2::bindings::ProxyPre;

use crate::host::{Host, ModuleHost};
use crate::keyvalue;
use crate::surroundings;

/// The packages of which components may import interfaces, in their versions 0.2.x.
const OFFERED: [&str; 7] = [
    "wasi:cli/",
    "wasi:clocks/",
    "wasi:filesystem/",
    "wasi:http/",
    "wasi:io/",
    "wasi:random/",
    "wasi:sockets/",
];
const PREVIEW_1: &str = "wasi_snapshot_preview1";

/// The three kinds of guest.
pub(crate) enum Guest {
    /// A component that handles HTTP requests.
    Proxy(ProxyPre<Host>),
    /// A component that runs once: event on standard input, response on standard output.
    Command(CommandPre<Host>),
    /// A core module of preview 1 that does the same.
    Module(InstancePre<ModuleHost>),
}

/// Why there is no guest.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// The guest wants what we do not offer, or is not what we run.
    #[error("{0}")]
    Guest(String),
    /// The machine code is there, and this engine does not take it: it is another engine's, or too large for the pool.
    #[error("{0:#}")]
    Refused(wasmtime::Error),
    /// The machine code could not be read or mapped.
    #[error("could not load the machine code: {0:#}")]
    Machine(wasmtime::Error),
}

/// Links guests of one engine.
pub(crate) struct Loader {
    engine: Engine,
    components: Linker<Host>,
    modules: wasmtime::Linker<ModuleHost>,
}

impl Loader {
    /// Defines every interface that we offer.
    ///
    /// # Errors
    /// When two of them have one name: a mistake of ours.
    pub(crate) fn new(engine: &Engine) -> wasmtime::Result<Self> {
        let mut components = Linker::new(engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut components)?;
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut components)?;
        keyvalue::add_to_linker(&mut components)?;
        surroundings::add_to_linker(&mut components)?;
        let mut modules = wasmtime::Linker::new(engine);
        wasmtime_wasi::p1::add_to_linker_async(&mut modules, |host: &mut ModuleHost| &mut host.wasi)?;
        Ok(Self {
            engine: engine.clone(),
            components,
            modules,
        })
    }

    /// Loads machine code and finds its imports. The error names an interface that we do not offer.
    pub(crate) fn load(&self, machine_code: &Path) -> Result<Guest, LoadError> {
        match Engine::detect_precompiled_file(machine_code).map_err(LoadError::Machine)? {
            Some(Precompiled::Component) => {
                self.link_component(&deserialize_component(&self.engine, machine_code).map_err(not_loaded)?)
            }
            Some(Precompiled::Module) => {
                self.link_module(&deserialize_module(&self.engine, machine_code).map_err(not_loaded)?)
            }
            None => Err(LoadError::Refused(wasmtime::Error::msg("it is no machine code"))),
        }
    }

    fn link_component(&self, component: &Component) -> Result<Guest, LoadError> {
        let ty = component.component_type();
        let exports = |interface: &str| {
            ty.exports(&self.engine)
                .any(|(name, _)| name.starts_with(interface))
        };
        let is_offered = |name: &str| {
            let of_wasi = || OFFERED.iter().any(|package| name.starts_with(package));
            (name.contains("@0.2.") && of_wasi())
                || keyvalue::is_offered(name)
                || surroundings::is_offered(name)
        };
        if let Some((name, _)) = ty.imports(&self.engine).find(|(name, _)| !is_offered(name)) {
            return Err(LoadError::Guest(format!(
                "the component imports `{name}`, which is not offered; offered are the interfaces of WASI 0.2, \
                 those of `wasi:keyvalue@0.2.0-draft`, `wasi:config/store@0.2.0-rc.1` and \
                 `wasi:logging/logging@0.1.0-draft`"
            )));
        }
        let unlinkable =
            |error: wasmtime::Error| LoadError::Guest(format!("the component cannot be linked: {error:#}"));
        let linked = self.components.instantiate_pre(component).map_err(unlinkable)?;
        if exports("wasi:http/incoming-handler@0.2.") {
            Ok(Guest::Proxy(ProxyPre::new(linked).map_err(unlinkable)?))
        } else if exports("wasi:cli/run@0.2.") {
            Ok(Guest::Command(CommandPre::new(linked).map_err(unlinkable)?))
        } else {
            Err(LoadError::Guest(
                "the component exports neither `wasi:http/incoming-handler@0.2` nor `wasi:cli/run@0.2`"
                    .to_owned(),
            ))
        }
    }

    fn link_module(&self, module: &Module) -> Result<Guest, LoadError> {
        if let Some(import) = module.imports().find(|import| import.module() != PREVIEW_1) {
            return Err(LoadError::Guest(format!(
                "the module imports `{}` of `{}`, which is not offered; offered is `{PREVIEW_1}`",
                import.name(),
                import.module(),
            )));
        }
        if module.get_export("_start").is_none() {
            return Err(LoadError::Guest(
                "the module does not export `_start`: build it as a WASI command".to_owned(),
            ));
        }
        let linked = self.modules.instantiate_pre(module);
        linked
            .map(Guest::Module)
            .map_err(|error| LoadError::Guest(format!("the module cannot be linked: {error:#}")))
    }
}

fn not_loaded(error: wasmtime::Error) -> LoadError {
    let of_the_system = |cause: &(dyn std::error::Error + 'static)| {
        cause.is::<std::io::Error>() || cause.is::<rustix::io::Errno>()
    };
    if error.chain().any(of_the_system) {
        LoadError::Machine(error)
    } else {
        LoadError::Refused(error)
    }
}

#[expect(unsafe_code, reason = "machine code cannot be loaded otherwise")]
fn deserialize_component(engine: &Engine, machine_code: &Path) -> wasmtime::Result<Component> {
    // SAFETY: `Cache::machine_code` gave the path: the file was written by our own compiler into a folder that only
    // the server's user can write, its checksum was compared just now, and nobody changes it afterwards.
    unsafe { Component::deserialize_file(engine, machine_code) }
}

#[expect(unsafe_code, reason = "machine code cannot be loaded otherwise")]
fn deserialize_module(engine: &Engine, machine_code: &Path) -> wasmtime::Result<Module> {
    // SAFETY: as in `deserialize_component`.
    unsafe { Module::deserialize_file(engine, machine_code) }
}
