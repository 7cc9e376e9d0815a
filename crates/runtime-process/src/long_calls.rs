//! How many calls last, for whoever acts on the first and on the end of the last.

/// Of one group, of the server, or of all.
#[derive(Debug)]
pub(crate) struct LongCalls(u64);

impl LongCalls {
    pub(crate) const NONE: Self = Self(0);

    pub(crate) fn are_any(&self) -> bool {
        self.0 > 0
    }

    /// Whether it is the first.
    pub(crate) fn begin(&mut self) -> bool {
        self.0 += 1;
        self.0 == 1
    }

    /// Whether it was the last.
    pub(crate) fn end(&mut self) -> bool {
        self.0 -= 1;
        self.0 == 0
    }
}
