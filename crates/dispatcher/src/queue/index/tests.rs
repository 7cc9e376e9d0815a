//! Random histories of the index, and its order.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn bounds() -> Bounds {
    Bounds {
        per_function_max: 5,
        total_max: 8,
        running_per_function_max: 2,
        running_max: 3,
    }
}

fn item(sequence: u64, now: Instant) -> Item {
    Item {
        sequence,
        expires: now + Duration::from_secs(1000),
        age_max: Duration::from_secs(1000),
        backoffs: 0,
        refusal: None,
    }
}

fn name(text: &str) -> FunctionName {
    text.parse().expect("a valid name")
}

#[test]
fn functions_take_turns() {
    let now = Instant::now();
    let mut index = Index::new(Bounds {
        running_per_function_max: 10,
        running_max: 10,
        ..bounds()
    });
    for (sequence, of) in [(1, "a"), (2, "a"), (3, "a"), (4, "b"), (5, "c")] {
        assert!(index.reserve(&name(of)));
        index.insert(&name(of), item(sequence, now), now, now);
    }
    let order: Vec<u64> = std::iter::from_fn(|| index.next(now))
        .map(|(_, item)| item.sequence)
        .collect();
    assert_eq!(order, [1, 4, 5, 2, 3]);
}

#[test]
fn a_delayed_event_comes_when_it_is_due() {
    let now = Instant::now();
    let due = now + Duration::from_secs(60);
    let mut index = Index::new(bounds());
    assert!(index.reserve(&name("a")));
    index.insert(&name("a"), item(1, now), due, now);
    assert_eq!(index.next_due(), Some(due));
    assert_eq!(index.next(due - Duration::from_nanos(1)), None);
    assert_eq!(index.next(due).map(|(_, item)| item.sequence), Some(1));
    assert_eq!(index.next_due(), None);
}

#[derive(Debug, Clone)]
enum Step {
    Accept(usize, u64),
    AcceptFails(usize),
    Next,
    Done(usize),
    Again(usize, u64),
    TakeAll(usize),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3usize, 0..3u64).prop_map(|(function, delay)| Step::Accept(function, delay)),
        1 => (0..3usize).prop_map(Step::AcceptFails),
        4 => Just(Step::Next),
        2 => (0..4usize).prop_map(Step::Done),
        2 => (0..4usize, 0..3u64).prop_map(|(index, delay)| Step::Again(index, delay)),
        1 => (0..3usize).prop_map(Step::TakeAll),
        1 => (0..3u64).prop_map(Step::Pass),
    ]
}

proptest! {
    #[test]
    fn no_event_is_lost_or_run_twice_and_the_bounds_hold(steps in prop::collection::vec(step(), 0..150)) {
        let names = [name("a"), name("b"), name("c")];
        let mut index = Index::new(bounds());
        let mut now = Instant::now();
        let mut sequence = 0;
        let mut waiting = BTreeSet::new();
        let mut running: Vec<(FunctionName, Item)> = Vec::new();
        for step in steps {
            match step {
                Step::Accept(function, delay) => {
                    if index.reserve(&names[function]) {
                        sequence += 1;
                        waiting.insert(sequence);
                        index.insert(&names[function], item(sequence, now), now + Duration::from_secs(delay), now);
                    } else {
                        let events = index.functions.get(&names[function]).map_or(0, |events| events.total);
                        prop_assert!(events == 5 || index.total == 8);
                    }
                }
                Step::AcceptFails(function) => {
                    if index.reserve(&names[function]) {
                        index.release(&names[function]);
                    }
                }
                Step::Next => if let Some((of, item)) = index.next(now) {
                    prop_assert!(waiting.remove(&item.sequence), "it waited, once");
                    running.push((of, item));
                },
                Step::Done(place) if place < running.len() => {
                    let (of, _) = running.remove(place);
                    index.ended(&of);
                    index.release(&of);
                }
                Step::Again(place, delay) if place < running.len() => {
                    let (of, item) = running.remove(place);
                    waiting.insert(item.sequence);
                    index.ended(&of);
                    index.insert(&of, item, now + Duration::from_secs(delay), now);
                }
                Step::TakeAll(function) => for item in index.take_all(&names[function]) {
                    prop_assert!(waiting.remove(&item.sequence));
                    index.release(&names[function]);
                },
                Step::Pass(seconds) => now += Duration::from_secs(seconds),
                Step::Done(_) | Step::Again(..) => {}
            }
            prop_assert_eq!(index.total, waiting.len() + running.len());
            prop_assert!(index.total <= 8 && running.len() <= 3);
            for of in &names {
                prop_assert!(running.iter().filter(|(other, _)| other == of).count() <= 2);
            }
        }
        // Everything that waits comes out in the end.
        now += Duration::from_secs(100);
        loop {
            for (of, _) in running.drain(..) {
                index.ended(&of);
                index.release(&of);
            }
            let Some((of, item)) = index.next(now) else { break };
            prop_assert!(waiting.remove(&item.sequence));
            running.push((of, item));
        }
        prop_assert!(waiting.is_empty() && index.total == 0);
        prop_assert!(index.functions.is_empty() && index.turn.is_empty());
    }
}
