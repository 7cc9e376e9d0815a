//! Which functions of a run may start: those whose upstream functions have all answered. Pure.

use super::topology::Topology;

/// How far one attempt of a run is.
#[derive(Debug)]
pub(crate) struct Progress<'a> {
    topology: &'a Topology,
    /// How many upstream answers each node still waits for.
    waiting: Vec<usize>,
}

impl<'a> Progress<'a> {
    pub(crate) fn new(topology: &'a Topology) -> Self {
        let waiting = topology.upstream.iter().map(Vec::len).collect();
        Self { topology, waiting }
    }

    /// Notes an answer; calls `start` with each node for which it was the last.
    pub(crate) fn answered(&mut self, node: usize, mut start: impl FnMut(usize)) {
        for next in &self.topology.downstream[node] {
            self.waiting[*next] -= 1;
            if self.waiting[*next] == 0 {
                start(*next);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::topology::{Node, Spec, Takes};
    use super::*;

    /// A DAG of `count` nodes: edges go from lower to higher numbers, and whoever has none goes to the last.
    fn dag(count: usize, picks: &[(usize, usize)]) -> Topology {
        let mut edges: Vec<(usize, usize)> = picks
            .iter()
            .map(|(a, b)| (a % count, b % count))
            .filter(|(a, b)| a < b)
            .collect();
        edges.sort_unstable();
        edges.dedup();
        for node in 0..count - 1 {
            if !edges.iter().any(|(from, _)| *from == node) {
                edges.push((node, count - 1));
            }
        }
        let name = |node: usize| format!("n{node}");
        let functions = (0..count).map(|node| Node {
            name: name(node),
            function: None,
            takes: Takes::Event,
        });
        let spec = Spec {
            functions: functions.collect(),
            edges: edges.iter().map(|(a, b)| (name(*a), name(*b))).collect(),
            fused: None,
        };
        Topology::new(spec).expect("one sink and no cycle by construction")
    }

    proptest! {
        #[test]
        fn every_node_starts_once_and_after_all_that_it_waits_for(
            count in 1usize..12,
            picks in prop::collection::vec((0usize..12, 0usize..12), 0..40),
            order in prop::collection::vec(any::<prop::sample::Index>(), 12),
        ) {
            let topology = dag(count, &picks);
            let mut progress = Progress::new(&topology);
            let mut running: Vec<usize> = topology.sources().collect();
            let mut answered = Vec::new();
            let mut started = running.clone();
            for pick in order {
                if running.is_empty() {
                    break;
                }
                let node = running.swap_remove(pick.index(running.len()));
                prop_assert!(topology.upstream[node].iter().all(|up| answered.contains(up)));
                answered.push(node);
                progress.answered(node, |next| {
                    running.push(next);
                    started.push(next);
                });
            }
            prop_assert_eq!(answered.len(), count, "all ran");
            prop_assert_eq!(answered.last(), Some(&topology.sink), "the sink is last");
            started.sort_unstable();
            prop_assert_eq!(started, (0..count).collect::<Vec<_>>(), "each started once");
        }
    }
}
