//! A connection to the platform's API from within a function's walls.
//!
//! The runtime that built the walls accepts it, and the gateway serves it: neither knows the other.

use std::any::Any;
use std::fmt;
use std::net::TcpStream;

use crate::FunctionName;

/// A connection that came by a function's own door.
pub struct Visitor {
    /// Whose instance it is: it may show credentials of this function, and no others.
    pub function: FunctionName,
    /// Does not block.
    pub stream: TcpStream,
    /// Held for as long as the connection is served: the door has room for so many.
    pub place: Box<dyn Any + Send>,
}

impl fmt::Debug for Visitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Visitor")
            .field("function", &self.function)
            .finish_non_exhaustive()
    }
}
