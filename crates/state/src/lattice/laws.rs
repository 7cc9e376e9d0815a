//! The laws of lattices, for every one of them: merges commute, associate and repeat without harm, and replicas that
//! have heard the same, in whatever order and however often, are the same.

use bytes::Bytes;
use proptest::prelude::*;

use super::{Capsule, Dot, HybridClock, Merged, Observed, Stamp, Update, Writer};
use crate::Value;

/// What one home does: which of its states it has heard of, and what it writes then.
#[derive(Debug, Clone)]
struct Act {
    home: usize,
    hears: Option<(usize, usize)>,
    update: usize,
    causal: bool,
}

const HOMES: usize = 3;

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = (
        0..HOMES,
        proptest::option::of((0..HOMES, 0_usize..8)),
        0_usize..64,
        any::<bool>(),
    );
    let act = act.prop_map(|(home, hears, update, causal)| Act {
        home,
        hears,
        update,
        causal,
    });
    proptest::collection::vec(act, 1..16)
}

/// One of the updates of a kind of lattice, each time the same for the same number.
fn update(kind: usize, number: usize) -> Update {
    let element = Bytes::from(vec![b'a' + u8::try_from(number % 3).unwrap_or(0)]);
    let value = Value::bytes(number.to_string());
    let score = f64::from(u32::try_from(number).unwrap_or(0));
    let removes = number.is_multiple_of(4);
    match kind {
        0 if removes => Update::Delete,
        0 => Update::Put(value),
        1 if number % 8 == 7 => Update::Delete,
        1 => Update::Add(i64::try_from(number).unwrap_or(0) - 20),
        2 if removes => Update::SetRemove(vec![element]),
        2 => Update::SetAdd(vec![element]),
        3 if removes => Update::OrderedRemove(vec![element]),
        3 => Update::OrderedAdd(vec![(score, element)]),
        4 if removes => Update::MapRemove(vec![element]),
        4 => Update::MapPut(vec![(element, value)]),
        5 => Update::Max(score),
        6 => Update::Min(score),
        7 => Update::Raise,
        // All of them after each other, with deletions between: what a key may be in its life.
        _ if removes => Update::Delete,
        _ => update(number % 8, number / 8 * 4 + 1),
    }
}

/// All states that the homes went through.
fn states(kind: usize, acts: &[Act]) -> Vec<Capsule> {
    let clocks: Vec<HybridClock> = (0..HOMES as u64).map(|home| HybridClock::new(home, 0)).collect();
    let mut past: Vec<Vec<Capsule>> = vec![vec![Capsule::default()]; HOMES];
    for act in acts {
        let mut now = past[act.home].last().expect("there is a first").clone();
        if let Some((from, back)) = act.hears {
            let states = &past[from];
            now.merge(&states[states.len().saturating_sub(back + 1)]);
        }
        // Wall clocks stand still, so that stamps differ in their logical part and in their node only.
        let stamp = clocks[act.home].tick(now.version().last().time.saturating_sub(1));
        let update = update(kind, act.update);
        let register = matches!(update, Update::Put(_) | Update::Delete) && kind == 0;
        let (writer, observed) = if register && !act.causal {
            (Writer::Anyone, None)
        } else {
            let version = now.version().clone();
            let observed = Observed {
                version,
                own: Vec::new(),
            };
            (Writer::Home(act.home as u64), Some(observed))
        };
        // Another lattice is here: nothing happens, and nothing has changed.
        let before = now.clone();
        if now
            .apply(update, Dot { writer, stamp }, observed.as_ref())
            .is_err()
        {
            assert_eq!(now.body(), before.body());
            now = before;
        }
        past[act.home].push(now);
    }
    past.concat()
}

fn merged(a: &Capsule, b: &Capsule) -> Capsule {
    let mut merged = a.clone();
    merged.merge(b);
    merged
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, max_shrink_iters: 10_000, ..ProptestConfig::default() })]

    #[test]
    fn merges_commute_associate_and_repeat(kind in 0_usize..9, acts in acts(), picks in any::<[prop::sample::Index; 3]>()) {
        let states = states(kind, &acts);
        let [a, b, c] = picks.map(|pick| &states[pick.index(states.len())]);
        prop_assert_eq!(merged(a, b), merged(b, a), "commutative");
        prop_assert_eq!(merged(&merged(a, b), c), merged(a, &merged(b, c)), "associative");
        prop_assert_eq!(merged(a, a), a.clone(), "idempotent");
        prop_assert_eq!(a.clone().merge(a), Merged::Known);
        prop_assert_eq!(merged(&merged(a, b), b), merged(a, b), "absorbing");
        prop_assert!(merged(a, b).version().covers(a.version()));
    }

    #[test]
    fn every_order_of_delivery_ends_in_the_same(
        kind in 0_usize..9,
        acts in acts(),
        order in proptest::collection::vec(any::<prop::sample::Index>(), 0..24),
    ) {
        let states = states(kind, &acts);
        let mut forwards = Capsule::default();
        states.iter().for_each(|state| {
            forwards.merge(state);
        });
        let mut shuffled = Capsule::default();
        order.iter().for_each(|pick| {
            shuffled.merge(&states[pick.index(states.len())]);
        });
        states.iter().rev().for_each(|state| {
            shuffled.merge(state);
        });
        prop_assert_eq!(&shuffled, &forwards);
        prop_assert_eq!(Capsule::decode(&shuffled.encode()), Ok(forwards));
    }

    #[test]
    fn stamps_never_tie(wall in proptest::collection::vec((0_u64..3, 0_u64..4), 1..64)) {
        let clocks = [HybridClock::new(1, 0), HybridClock::new(2, 0), HybridClock::new(3, 0)];
        let mut seen = std::collections::BTreeSet::new();
        for (clock, now) in wall {
            let stamp: Stamp = clocks[usize::try_from(clock).unwrap_or(0)].tick(now);
            prop_assert!(seen.insert(stamp), "{stamp:?} was given out twice");
        }
    }

    #[test]
    fn bytes_that_are_no_capsule_are_an_error_and_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = Capsule::decode(&bytes);
    }
}

/// Two writers at the same instant, every order of delivery at three replicas: one winner everywhere.
#[test]
fn writes_of_the_same_instant_have_one_winner_everywhere() {
    let write = |node: u64, text: &str| {
        let stamp = Stamp { time: 5, node };
        let mut capsule = Capsule::default();
        let dot = Dot {
            writer: Writer::Anyone,
            stamp,
        };
        capsule
            .apply(Update::Put(Value::bytes(text.to_owned())), dot, None)
            .expect("it is empty");
        capsule
    };
    let writes = [write(1, "a"), write(2, "b"), write(3, "c")];
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    for order in orders {
        let mut replica = Capsule::default();
        order.iter().for_each(|place| {
            replica.merge(&writes[*place]);
        });
        let super::Body::Register(register) = replica.body() else {
            panic!("a register")
        };
        assert_eq!(register.value(), Some(&Value::bytes("c")), "{order:?}");
    }
}

/// The stored format: these bytes were written by the first version, and are read for ever.
#[test]
fn the_first_format_is_read() {
    let mut capsule = Capsule::default();
    let dot = Dot {
        writer: Writer::Home(7),
        stamp: Stamp { time: 300, node: 7 },
    };
    let observed = Observed::default();
    let put = Update::Put(Value::json("{\"a\":1}"));
    capsule.apply(put, dot, Some(&observed)).expect("it is empty");
    const FIXTURE: &str = include_str!("../../fixtures/capsule-1.hex");
    let bytes: Vec<u8> = (0..FIXTURE.trim().len() / 2)
        .map(|at| u8::from_str_radix(&FIXTURE[2 * at..2 * at + 2], 16).expect("hexadecimal"))
        .collect();
    let hex: String = capsule
        .encode()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(hex, FIXTURE.trim());
    assert_eq!(Capsule::decode(&bytes), Ok(capsule));
}
