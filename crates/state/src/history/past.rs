//! Which writes went before which: a write comes after all that its run had read or written, and after all that those
//! came after.

use std::collections::{BTreeMap, HashMap};

use super::{Action, History, WriteId};

/// A set of writes, by their place in [`Past`].
#[derive(Debug, Clone, Default)]
pub(super) struct Writes(Vec<u64>);

impl Writes {
    fn insert(&mut self, place: usize) {
        let word = place / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (place % 64);
    }

    fn contains(&self, place: usize) -> bool {
        self.0
            .get(place / 64)
            .is_some_and(|word| word >> (place % 64) & 1 == 1)
    }

    fn merge(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        self.0
            .iter_mut()
            .zip(&other.0)
            .for_each(|(own, others)| *own |= others);
    }
}

/// See the module.
pub(super) struct Past {
    places: HashMap<WriteId, usize>,
    /// What each write came after, by any way.
    any: Vec<Writes>,
    /// What each write came after by way of its own key only: what its writer had read of it.
    own_key: Vec<Writes>,
    of_key: BTreeMap<u32, Vec<WriteId>>,
}

impl Past {
    pub(super) fn new(history: &History) -> Self {
        let mut past = Self {
            places: HashMap::new(),
            any: Vec::new(),
            own_key: Vec::new(),
            of_key: BTreeMap::new(),
        };
        let mut of_run: HashMap<u64, Writes> = HashMap::new();
        let mut of_run_and_key: HashMap<(u64, u32), Writes> = HashMap::new();
        for operation in &history.operations {
            let run = of_run.entry(operation.run).or_default();
            let on_key = of_run_and_key.entry((operation.run, operation.key)).or_default();
            match &operation.action {
                Action::Read(seen) => {
                    for place in seen.iter().filter_map(|seen| past.places.get(&seen.id)) {
                        run.merge(&past.any[*place]);
                        run.insert(*place);
                        on_key.merge(&past.own_key[*place]);
                        on_key.insert(*place);
                    }
                }
                Action::Wrote(id) => {
                    let place = past.any.len();
                    past.places.insert(*id, place);
                    past.any.push(run.clone());
                    past.own_key.push(on_key.clone());
                    past.of_key.entry(operation.key).or_default().push(*id);
                    run.insert(place);
                    on_key.insert(place);
                }
            }
        }
        past
    }

    /// Whether `earlier` went before `later`. A write of nobody's went before nothing.
    pub(super) fn is_before(&self, earlier: WriteId, later: WriteId) -> bool {
        self.ask(&self.any, earlier, later)
    }

    /// As [`Past::is_before`], by way of one key's reads and writes only.
    pub(super) fn is_replaced_by(&self, earlier: WriteId, later: WriteId) -> bool {
        self.ask(&self.own_key, earlier, later)
    }

    fn ask(&self, sets: &[Writes], earlier: WriteId, later: WriteId) -> bool {
        match (self.places.get(&earlier), self.places.get(&later)) {
            (Some(earlier), Some(later)) => sets[*later].contains(*earlier),
            _ => false,
        }
    }

    /// All writes of a key.
    pub(super) fn of_key(&self, key: u32) -> &[WriteId] {
        self.of_key.get(&key).map_or(&[], Vec::as_slice)
    }
}
