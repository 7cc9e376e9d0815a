//! The checkers of `repeatable-read` and `atomic`.

use std::collections::{BTreeMap, BTreeSet};

use super::past::Past;
use super::{Action, Anomaly, History, Operation, Seen, WriteId};

/// Reads of a key that differ from what the run had read or written of it: what `repeatable-read` forbids.
pub fn repeatable_reads(history: &History) -> BTreeSet<Anomaly> {
    let mut found = BTreeSet::new();
    for (run, operations) in history.runs() {
        let mut known: BTreeMap<u32, BTreeSet<WriteId>> = BTreeMap::new();
        for operation in operations {
            let key = operation.key;
            match &operation.action {
                Action::Wrote(id) => {
                    known.insert(key, BTreeSet::from([*id]));
                }
                Action::Read(seen) => {
                    let seen: BTreeSet<WriteId> = seen.iter().map(|seen| seen.id).collect();
                    let before = known.entry(key).or_insert_with(|| seen.clone());
                    if *before != seen {
                        found.insert(Anomaly { run, key });
                    }
                }
            }
        }
    }
    found
}

/// Runs that saw one write of another run, and of another key less than that run had written: what `atomic` forbids.
/// `together` says that a run's writes have one place in the order of writes, as those of an atomic run do.
pub fn fractured_reads(history: &History, together: bool) -> BTreeSet<Anomaly> {
    let past = Past::new(history);
    let orders = history.orders();
    // The last write of each run to each key, and whose each write is.
    let mut of_run: BTreeMap<u64, BTreeMap<u32, WriteId>> = BTreeMap::new();
    let mut writer: BTreeMap<WriteId, u64> = BTreeMap::new();
    for operation in &history.operations {
        if let Action::Wrote(id) = operation.action {
            of_run.entry(operation.run).or_default().insert(operation.key, id);
            writer.insert(id, operation.run);
        }
    }
    let mut found = BTreeSet::new();
    for (run, operations) in history.runs() {
        let reads: Vec<(&Operation, &[Seen])> = reads(&operations).collect();
        for (_, seen) in &reads {
            for other in seen.iter().filter(|seen| writer.get(&seen.id) != Some(&run)) {
                let Some(written) = writer.get(&other.id).and_then(|writer| of_run.get(writer)) else {
                    continue;
                };
                let torn = reads.iter().filter(|(read, seen)| {
                    let Some(write) = written.get(&read.key) else {
                        return false;
                    };
                    let order = orders.get(write).copied().or(together.then_some(other.order));
                    seen.iter().all(|seen| {
                        writer.get(&seen.id) != Some(&run) && is_older(&past, *seen, *write, order)
                    })
                });
                found.extend(torn.map(|(read, _)| Anomaly { run, key: read.key }));
            }
        }
    }
    found
}

/// Reads of a key that see less than the run itself had written: what `atomic` and `repeatable-read` forbid.
pub fn read_your_writes(history: &History) -> BTreeSet<Anomaly> {
    let past = Past::new(history);
    let orders = history.orders();
    let mut found = BTreeSet::new();
    for (run, operations) in history.runs() {
        let mut own: BTreeMap<u32, WriteId> = BTreeMap::new();
        for operation in operations {
            match &operation.action {
                Action::Wrote(id) => {
                    own.insert(operation.key, *id);
                }
                Action::Read(seen) => {
                    let Some(write) = own.get(&operation.key) else {
                        continue;
                    };
                    let order = orders.get(write).copied();
                    if seen.iter().all(|seen| is_older(&past, *seen, *write, order)) {
                        found.insert(Anomaly {
                            run,
                            key: operation.key,
                        });
                    }
                }
            }
        }
    }
    found
}

/// By the order that readers were told, where it is known; by what the writer had read, where it is not.
fn is_older(past: &Past, seen: Seen, write: WriteId, order: Option<(u64, u64)>) -> bool {
    seen.id != write && order.map_or_else(|| past.is_before(seen.id, write), |order| seen.order < order)
}

fn reads<'a>(operations: &'a [&'a Operation]) -> impl Iterator<Item = (&'a Operation, &'a [Seen])> {
    operations.iter().filter_map(|operation| match &operation.action {
        Action::Read(seen) => Some((*operation, seen.as_slice())),
        Action::Wrote(_) => None,
    })
}

/// Reads of writes that no run of the history has made: those of a run that was taken back. What `atomic` forbids.
pub fn dirty_reads(history: &History) -> BTreeSet<Anomaly> {
    let writes = history
        .operations
        .iter()
        .filter_map(|operation| match operation.action {
            Action::Wrote(id) => Some(id),
            Action::Read(_) => None,
        });
    let writes: BTreeSet<WriteId> = writes.collect();
    let mut found = BTreeSet::new();
    for operation in &history.operations {
        let Action::Read(seen) = &operation.action else {
            continue;
        };
        if seen.iter().any(|seen| !writes.contains(&seen.id)) {
            found.insert(Anomaly {
                run: operation.run,
                key: operation.key,
            });
        }
    }
    found
}
