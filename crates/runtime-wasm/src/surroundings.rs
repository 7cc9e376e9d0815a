//! `wasi:config` reads the function's environment, and `wasi:logging` writes its log.
//!
//! A line of the log is `[LEVEL] CONTEXT: MESSAGE`, as the other runtimes begin theirs.

use wasmtime::component::{HasSelf, Linker};

use self::generated::wasi::config::store::{self, Error};
use self::generated::wasi::logging::logging::{self, Level};
use crate::host::Host;

mod generated {
    wasmtime::component::bindgen!({
        path: "wit/surroundings.wit",
        world: "squall:surroundings/imports",
        imports: { default: trappable },
    });
}

/// The interfaces.
const OFFERED: [&str; 2] = ["wasi:config/store@0.2.0-rc.1", "wasi:logging/logging@0.1.0-draft"];

/// Whether an interface is one of these.
pub(crate) fn is_offered(interface: &str) -> bool {
    OFFERED.contains(&interface)
}

/// Defines the interfaces.
pub(crate) fn add_to_linker(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    store::add_to_linker::<_, HasSelf<Host>>(linker, |host| host)?;
    logging::add_to_linker::<_, HasSelf<Host>>(linker, |host| host)
}

impl store::Host for Host {
    fn get(&mut self, key: String) -> wasmtime::Result<Result<Option<String>, Error>> {
        let found = self.environment.iter().find(|(name, _)| *name == key);
        Ok(Ok(found.map(|(_, value)| value.clone())))
    }

    fn get_all(&mut self) -> wasmtime::Result<Result<Vec<(String, String)>, Error>> {
        Ok(Ok(self.environment.to_vec()))
    }
}

impl logging::Host for Host {
    fn log(&mut self, level: Level, context: String, message: String) -> wasmtime::Result<()> {
        let level = match level {
            Level::Trace => "TRACE",
            Level::Debug => "DEBUG",
            Level::Info => "INFO",
            Level::Warn => "WARN",
            Level::Error => "ERROR",
            Level::Critical => "CRITICAL",
        };
        let colon = if context.is_empty() { "" } else { ": " };
        // Each by itself: the log keeps what fits of a large message, which is not copied before.
        for part in ["[", level, "] ", &context, colon, &message, "\n"] {
            self.log.push(part.as_bytes());
        }
        Ok(())
    }
}
