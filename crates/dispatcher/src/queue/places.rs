//! Which records of one kind there are: by sequence number for lists, by request id for questions. In memory; pure.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use squall_types::{FunctionName, RequestId};

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) id: RequestId,
    pub(crate) function: FunctionName,
    /// When it came here, in milliseconds since 1970.
    pub(crate) at_ms: i64,
}

/// All of one kind. Bounded by who fills it.
#[derive(Debug, Default)]
pub(crate) struct Places {
    by_sequence: BTreeMap<u64, Place>,
    by_id: HashMap<RequestId, u64>,
}

impl Places {
    pub(crate) fn insert(&mut self, sequence: u64, place: Place) {
        self.by_id.insert(place.id, sequence);
        self.by_sequence.insert(sequence, place);
    }

    pub(crate) fn remove(&mut self, sequence: u64) -> Option<Place> {
        let place = self.by_sequence.remove(&sequence)?;
        // The same id may have come again since: then the newer one is found by it.
        if self.by_id.get(&place.id) == Some(&sequence) {
            self.by_id.remove(&place.id);
        }
        Some(place)
    }

    pub(crate) fn sequence(&self, id: RequestId) -> Option<u64> {
        self.by_id.get(&id).copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_sequence.len()
    }

    /// The first accepted.
    pub(crate) fn first(&self) -> Option<u64> {
        self.by_sequence.first_key_value().map(|(sequence, _)| *sequence)
    }

    /// Those that came here before this moment.
    pub(crate) fn before(&self, at_ms: i64) -> Vec<u64> {
        let old = self.by_sequence.iter().filter(|(_, place)| place.at_ms < at_ms);
        old.map(|(sequence, _)| *sequence).collect()
    }

    /// At most `limit` behind a place, in order; of one function, where one is named.
    pub(crate) fn list(&self, after: u64, function: Option<&FunctionName>, limit: usize) -> Vec<u64> {
        let behind = (Bound::Excluded(after), Bound::Unbounded);
        let wanted = self
            .by_sequence
            .range(behind)
            .filter(|(_, place)| function.is_none_or(|function| place.function == *function));
        wanted.take(limit).map(|(sequence, _)| *sequence).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(id: RequestId, function: &str, at_ms: i64) -> Place {
        let function = function.parse().expect("a name");
        Place { id, function, at_ms }
    }

    #[test]
    fn an_id_that_came_again_is_found_at_its_newer_place() {
        let (id, mut places) = (RequestId::random(), Places::default());
        places.insert(1, place(id, "f", 0));
        places.insert(2, place(id, "f", 0));
        assert!(places.remove(1).is_some());
        assert_eq!(places.sequence(id), Some(2));
        assert!(places.remove(2).is_some());
        assert_eq!((places.sequence(id), places.len()), (None, 0));
    }

    #[test]
    fn lists_go_on_behind_a_place_and_name_one_function() {
        let mut places = Places::default();
        for (sequence, function) in [(1, "a"), (2, "b"), (5, "a"), (9, "a")] {
            places.insert(sequence, place(RequestId::random(), function, sequence as i64));
        }
        assert_eq!(places.list(0, None, 3), [1, 2, 5]);
        assert_eq!(places.list(1, Some(&"a".parse().expect("a name")), 9), [5, 9]);
        assert_eq!(places.before(5), [1, 2]);
    }
}
