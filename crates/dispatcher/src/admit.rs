//! Who may come in: counts the calls in flight (waiting or running) against reserved and account concurrency.
//!
//! As on Lambda, a call over a limit is throttled at once. Pure; the dispatcher keeps it behind its one lock.

use std::collections::HashMap;

use squall_types::{FunctionName, ThrottleReason};

/// The calls in flight.
#[derive(Debug)]
pub(crate) struct Admission {
    functions: HashMap<FunctionName, u32>,
    /// Those of functions without reserved concurrency.
    unreserved: u32,
    unreserved_max: u32,
    total: usize,
}

/// One admitted call. Given back through [`Admission::leave`].
#[derive(Debug)]
pub(crate) struct Admitted {
    name: FunctionName,
    unreserved: bool,
}

impl Admission {
    pub(crate) fn new(account_concurrency: u32) -> Self {
        Self {
            functions: HashMap::new(),
            unreserved: 0,
            unreserved_max: account_concurrency,
            total: 0,
        }
    }

    /// Counts a call in, or says which limit it meets.
    pub(crate) fn enter(
        &mut self,
        name: &FunctionName,
        reserved: Option<u32>,
    ) -> Result<Admitted, ThrottleReason> {
        let in_flight = self.functions.get(name).copied().unwrap_or(0);
        match reserved {
            Some(limit) if in_flight >= limit => {
                return Err(ThrottleReason::ReservedFunctionConcurrentInvocationLimitExceeded);
            }
            None if self.unreserved >= self.unreserved_max => {
                return Err(ThrottleReason::ConcurrentInvocationLimitExceeded);
            }
            _ => {}
        }
        // Looked up first, so that the name is cloned once per admitted call and not twice.
        match self.functions.get_mut(name) {
            Some(count) => *count += 1,
            None => {
                self.functions.insert(name.clone(), 1);
            }
        }
        self.unreserved += u32::from(reserved.is_none());
        self.total += 1;
        Ok(Admitted {
            name: name.clone(),
            unreserved: reserved.is_none(),
        })
    }

    /// Counts a call out. Whether it was counted against the account is what it was when it came in.
    pub(crate) fn leave(&mut self, admitted: &Admitted) {
        self.total -= 1;
        self.unreserved -= u32::from(admitted.unreserved);
        let count = self
            .functions
            .get_mut(&admitted.name)
            .expect("an admitted call is counted");
        *count -= 1;
        if *count == 0 {
            self.functions.remove(&admitted.name);
        }
    }

    /// The calls in flight, over all functions.
    pub(crate) fn total(&self) -> usize {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> FunctionName {
        text.parse().expect("a valid name")
    }

    #[track_caller]
    fn check(
        admission: &mut Admission,
        of: &str,
        reserved: Option<u32>,
        expected: Result<(), ThrottleReason>,
    ) -> Option<Admitted> {
        let entered = admission.enter(&name(of), reserved);
        assert_eq!(entered.as_ref().map(|_| ()).map_err(|r| *r), expected);
        entered.ok()
    }

    #[test]
    fn reserved_concurrency_bounds_its_function_and_zero_stops_it() {
        let over = Err(ThrottleReason::ReservedFunctionConcurrentInvocationLimitExceeded);
        let mut admission = Admission::new(1);
        check(&mut admission, "stopped", Some(0), over);
        let first = check(&mut admission, "two", Some(2), Ok(())).expect("admitted");
        check(&mut admission, "two", Some(2), Ok(()));
        check(&mut admission, "two", Some(2), over);
        admission.leave(&first);
        check(&mut admission, "two", Some(2), Ok(()));
    }

    #[test]
    fn the_account_is_shared_by_functions_without_a_reservation() {
        let over = Err(ThrottleReason::ConcurrentInvocationLimitExceeded);
        let mut admission = Admission::new(2);
        let first = check(&mut admission, "a", None, Ok(())).expect("admitted");
        check(&mut admission, "b", None, Ok(()));
        check(&mut admission, "c", None, over);
        check(&mut admission, "reserved", Some(1), Ok(()));
        admission.leave(&first);
        check(&mut admission, "c", None, Ok(()));
        assert_eq!(admission.total(), 3);
    }

    #[test]
    fn a_reservation_that_comes_or_goes_meanwhile_leaves_the_counts_right() {
        let mut admission = Admission::new(1);
        let before = check(&mut admission, "a", None, Ok(())).expect("admitted");
        let after = check(&mut admission, "a", Some(2), Ok(())).expect("admitted");
        admission.leave(&after);
        admission.leave(&before);
        check(&mut admission, "b", None, Ok(()));
        assert_eq!(admission.total(), 1);
    }
}
