//! The checkers of the causal levels.

use std::collections::BTreeSet;

use super::past::Past;
use super::{Action, Anomaly, History, Operation, Seen, WriteId};

/// Writes that are gone although nobody who had seen them wrote the key again: what `single-key-causal` forbids.
pub fn lost_updates(history: &History) -> BTreeSet<Anomaly> {
    let past = Past::new(history);
    let mut found = BTreeSet::new();
    for operation in &history.operations {
        let Action::Wrote(id) = operation.action else {
            continue;
        };
        let last = history.last.get(&operation.key).map_or(&[][..], Vec::as_slice);
        let kept = last
            .iter()
            .any(|seen| seen.id == id || past.is_replaced_by(id, seen.id));
        if !kept {
            found.insert(Anomaly {
                run: operation.run,
                key: operation.key,
            });
        }
    }
    found
}

/// Functions whose reads are no causal cut: what `multi-key-causal` forbids.
pub fn multi_key_cuts(history: &History) -> BTreeSet<Anomaly> {
    let past = Past::new(history);
    let mut found = BTreeSet::new();
    for (run, operations) in history.runs() {
        // A write comes after all that its run has read, in other functions too: here only reads count.
        let reads: Vec<&Operation> = operations
            .into_iter()
            .filter(|operation| matches!(operation.action, Action::Read(_)))
            .collect();
        for function in reads.chunk_by(|a, b| a.step == b.step) {
            found.extend(broken_cuts(&past, function).map(|key| Anomaly { run, key }));
        }
    }
    found
}

/// Runs whose reads are no causal cut, or that do not see what they wrote: what `causal` forbids.
pub fn session_cuts(history: &History) -> BTreeSet<Anomaly> {
    let past = Past::new(history);
    let mut found = BTreeSet::new();
    for (run, operations) in history.runs() {
        found.extend(broken_cuts(&past, &operations).map(|key| Anomaly { run, key }));
    }
    found
}

/// Keys that were read older than something else that was read, or written, says that they are.
fn broken_cuts<'a>(past: &'a Past, operations: &'a [&'a Operation]) -> impl Iterator<Item = u32> + 'a {
    operations.iter().enumerate().filter_map(move |(at, operation)| {
        let Action::Read(seen) = &operation.action else {
            return None;
        };
        // A later read of the same key takes this one's place in the cut.
        let until = operations[at + 1..]
            .iter()
            .position(|later| later.key == operation.key)
            .map_or(operations.len(), |next| at + 1 + next);
        let others = operations[..until]
            .iter()
            .enumerate()
            .filter(|(place, _)| *place != at);
        let mut known = others.flat_map(|(_, other)| writes(other).map(move |id| (other.key, id)));
        known
            .any(|(key, id)| needs_newer(past, operation.key, seen, key, id))
            .then_some(operation.key)
    })
}

fn writes(operation: &Operation) -> Box<dyn Iterator<Item = WriteId> + '_> {
    match &operation.action {
        Action::Read(seen) => Box::new(seen.iter().map(|seen| seen.id)),
        Action::Wrote(id) => Box::new(std::iter::once(*id)),
    }
}

/// Whether the write `id` (of `of_key`), or one that went before it, is a write of `key` that is newer than all seen.
fn needs_newer(past: &Past, key: u32, seen: &[Seen], of_key: u32, id: WriteId) -> bool {
    let older = |write: WriteId| seen.iter().all(|seen| past.is_before(seen.id, write));
    if of_key == key && older(id) {
        return true;
    }
    past.of_key(key)
        .iter()
        .any(|write| past.is_before(*write, id) && older(*write))
}
