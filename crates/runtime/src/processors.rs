//! Whose turn it is on the processors, for functions that run on the server's own threads.

use std::fmt;

/// The server's turns on the processors. A function that runs within the server has them too, so whoever runs it says when
/// it computes.
pub trait Processors: fmt::Debug + Send + Sync {
    /// A call lasts. Until the result is dropped who answers goes before who computes, and the server's group, where it
    /// has one, has no more of the processors than all functions outside of it have together.
    fn begin_long_call(&self) -> Box<dyn Send + Sync>;

    /// The calling thread answers for everybody, unless it has computed since it last waited for work.
    fn serve_on_this_thread(&self);

    /// The calling thread computes for a function from here on, and takes turns as a function does; or it has done so.
    fn compute_on_this_thread(&self, computes: bool);
}

/// Leaves everything as the kernel has it.
#[derive(Debug, Clone, Copy)]
pub struct AllAlike;

impl Processors for AllAlike {
    fn begin_long_call(&self) -> Box<dyn Send + Sync> {
        Box::new(())
    }

    fn serve_on_this_thread(&self) {}

    fn compute_on_this_thread(&self, _computes: bool) {}
}
