//! The shape of a DAG: which functions, and whose results go where. Checked once, when it is registered.

use serde::{Deserialize, Serialize};
use squall_types::{FunctionRef, Qualifier, RevisionId};

/// The most functions of a DAG.
pub const FUNCTIONS_MAX: usize = 256;
/// The most edges of a DAG.
pub const EDGES_MAX: usize = 1024;

/// What a function gets as its event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Takes {
    /// A JSON document: the argument, or an array of the arguments where there are several. Any Lambda function does.
    #[default]
    Event,
    /// The arguments as [`write_arguments`](super::write_arguments) forms them: what a client's functions take.
    Arguments,
}

/// One function of a DAG, as its owner writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Its name within the DAG.
    pub name: String,
    /// The function that runs, with an optional qualifier; by default the one of that name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// What it gets.
    #[serde(default)]
    pub takes: Takes,
}

/// A DAG, as its owner writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The functions.
    pub functions: Vec<Node>,
    /// From whose result to whose argument, by name. A function's arguments come in the order of its edges.
    #[serde(default)]
    pub edges: Vec<(String, String)>,
    /// One function that does what all of them do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fused: Option<Fused>,
}

/// A function that holds all functions of a DAG, and runs them one after the other in its one process. It takes the
/// arguments of a run as [`write_inputs`](super::write_inputs) forms them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fused {
    /// It, with an optional qualifier.
    pub function: String,
    /// What the DAG's functions were when it was made of them, in their order, and last what it was itself: GetFunction
    /// says it in `squall-revision`. Where one has changed since, a run runs the functions by themselves.
    pub revisions: Vec<RevisionId>,
}

/// Why a DAG is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopologyError {
    /// Nothing to run.
    #[error("a DAG has at least one function")]
    Empty,
    /// More than a DAG may have.
    #[error("the DAG has {found} {what}, at most {max} are allowed")]
    TooMany {
        /// Functions or edges.
        what: &'static str,
        /// How many it has.
        found: usize,
        /// How many it may have.
        max: usize,
    },
    /// Two functions have one name.
    #[error("the DAG names the function `{0}` twice: give each a name of its own")]
    Twice(String),
    /// Not a function's name, or not its reference.
    #[error("{0}")]
    Name(String),
    /// A function that cannot be held by another.
    #[error("`{function}` {why}, and so cannot be fused")]
    NotFusible {
        /// Its name within the DAG.
        function: String,
        /// Why.
        why: &'static str,
    },
    /// Not one revision for each function and the one that holds them.
    #[error("a fused DAG of {0} functions has a revision for each and one for the function that holds them")]
    Revisions(usize),
    /// An edge from or to what is not in the DAG.
    #[error("an edge names `{0}`, which is not a function of the DAG")]
    UnknownEnd(String),
    /// The same edge twice.
    #[error("the edge from `{0}` to `{1}` is there twice")]
    EdgeTwice(String, String),
    /// Results would go around without end.
    #[error("the DAG has a cycle: {}", .0.join(" → "))]
    Cycle(Vec<String>),
    /// More than one function whose result goes nowhere.
    #[error("the DAG has {} sinks, {}: exactly one function's result is the answer", .0.len(), quoted(.0))]
    Sinks(Vec<String>),
}

fn quoted(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

/// A DAG that can run: no cycle, one sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// As it was written.
    pub spec: Spec,
    /// The function of each node.
    pub(crate) targets: Vec<FunctionRef>,
    /// The function that holds them all.
    pub(crate) fused: Option<FunctionRef>,
    /// Whose results each node gets, in the order of the edges.
    pub(crate) upstream: Vec<Vec<usize>>,
    /// Who gets each node's result.
    pub(crate) downstream: Vec<Vec<usize>>,
    /// Whose result is the answer.
    pub(crate) sink: usize,
}

impl Topology {
    /// Checks a DAG.
    ///
    /// # Errors
    /// Its first fault.
    pub fn new(spec: Spec) -> Result<Self, TopologyError> {
        let count = spec.functions.len();
        if count == 0 {
            return Err(TopologyError::Empty);
        }
        check_count("functions", count, FUNCTIONS_MAX)?;
        check_count("edges", spec.edges.len(), EDGES_MAX)?;
        let targets = targets(&spec)?;
        let fused = fused(&spec, &targets)?;
        let mut topology = Self {
            targets,
            fused,
            upstream: vec![Vec::new(); count],
            downstream: vec![Vec::new(); count],
            sink: 0,
            spec,
        };
        topology.connect()?;
        topology.check_acyclic()?;
        topology.sink = topology.only_sink()?;
        Ok(topology)
    }

    /// One function alone.
    pub fn single(target: &FunctionRef, takes: Takes) -> Self {
        let node = Node {
            name: target.to_string(),
            function: None,
            takes,
        };
        Self {
            spec: Spec {
                functions: vec![node],
                edges: Vec::new(),
                fused: None,
            },
            targets: vec![target.clone()],
            fused: None,
            upstream: vec![Vec::new()],
            downstream: vec![Vec::new()],
            sink: 0,
        }
    }

    /// The node of that name; the empty name is the only source's.
    pub(crate) fn node(&self, name: &str) -> Option<usize> {
        if name.is_empty() {
            let mut sources = self.sources();
            return sources.next().filter(|_| sources.next().is_none());
        }
        self.spec.functions.iter().position(|node| node.name == name)
    }

    pub(crate) fn sources(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.upstream.len()).filter(|node| self.upstream[*node].is_empty())
    }

    pub(crate) fn name(&self, node: usize) -> &str {
        &self.spec.functions[node].name
    }

    fn connect(&mut self) -> Result<(), TopologyError> {
        for (from, to) in &self.spec.edges {
            let end = |name: &String| {
                let is_it = |node: &Node| node.name == *name;
                let found = self.spec.functions.iter().position(is_it);
                found.ok_or_else(|| TopologyError::UnknownEnd(name.clone()))
            };
            let (source, target) = (end(from)?, end(to)?);
            if self.downstream[source].contains(&target) {
                return Err(TopologyError::EdgeTwice(from.clone(), to.clone()));
            }
            self.downstream[source].push(target);
            self.upstream[target].push(source);
        }
        Ok(())
    }

    /// Takes away what waits for nobody, again and again; what is left waits for itself.
    fn check_acyclic(&self) -> Result<(), TopologyError> {
        let mut waiting: Vec<usize> = self.upstream.iter().map(Vec::len).collect();
        let mut free: Vec<usize> = self.sources().collect();
        let mut left = waiting.len();
        while let Some(node) = free.pop() {
            left -= 1;
            for next in &self.downstream[node] {
                waiting[*next] -= 1;
                if waiting[*next] == 0 {
                    free.push(*next);
                }
            }
        }
        if left == 0 {
            return Ok(());
        }
        Err(TopologyError::Cycle(self.cycle(&waiting)))
    }

    /// Names along one cycle. Whoever still waits has somebody upstream who does: going up must come around.
    fn cycle(&self, waiting: &[usize]) -> Vec<String> {
        let mut path = vec![waiting.iter().position(|count| *count > 0).unwrap_or_default()];
        loop {
            let last = path[path.len() - 1];
            let Some(up) = self.upstream[last].iter().find(|up| waiting[**up] > 0) else {
                break;
            };
            let seen = path.iter().position(|node| node == up);
            path.push(*up);
            if let Some(start) = seen {
                path.drain(..start);
                break;
            }
        }
        path.iter()
            .rev()
            .map(|node| self.name(*node).to_owned())
            .collect()
    }

    fn only_sink(&self) -> Result<usize, TopologyError> {
        let is_sink = |node: &usize| self.downstream[*node].is_empty();
        let sinks: Vec<usize> = (0..self.downstream.len()).filter(is_sink).collect();
        match sinks.as_slice() {
            [sink] => Ok(*sink),
            _ => {
                let names = sinks.iter().map(|node| self.name(*node).to_owned());
                Err(TopologyError::Sinks(names.collect()))
            }
        }
    }
}

fn check_count(what: &'static str, found: usize, max: usize) -> Result<(), TopologyError> {
    if found > max {
        return Err(TopologyError::TooMany { what, found, max });
    }
    Ok(())
}

fn targets(spec: &Spec) -> Result<Vec<FunctionRef>, TopologyError> {
    let mut names = std::collections::HashSet::new();
    let mut targets = Vec::with_capacity(spec.functions.len());
    for node in &spec.functions {
        if node.name.is_empty() || node.name.len() > 170 {
            let text = format!("`{}` is not a name of 1 to 170 characters", node.name);
            return Err(TopologyError::Name(text));
        }
        if !names.insert(&node.name) {
            return Err(TopologyError::Twice(node.name.clone()));
        }
        let function = node.function.as_ref().unwrap_or(&node.name);
        let target = function.parse::<FunctionRef>();
        targets.push(target.map_err(|error| TopologyError::Name(error.to_string()))?);
    }
    Ok(targets)
}

fn fused(spec: &Spec, targets: &[FunctionRef]) -> Result<Option<FunctionRef>, TopologyError> {
    let Some(fused) = &spec.fused else { return Ok(None) };
    for (node, target) in spec.functions.iter().zip(targets) {
        let why = match (node.takes, &target.qualifier) {
            (Takes::Event, _) => "takes JSON events",
            (_, Some(Qualifier::Alias(_))) => "is an alias",
            _ => continue,
        };
        let function = node.name.clone();
        return Err(TopologyError::NotFusible { function, why });
    }
    if fused.revisions.len() != targets.len() + 1 {
        return Err(TopologyError::Revisions(targets.len()));
    }
    let target = fused.function.parse::<FunctionRef>();
    target
        .map(Some)
        .map_err(|error| TopologyError::Name(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(names: &[&str], edges: &[(&str, &str)]) -> Spec {
        let node = |name: &&str| Node {
            name: (*name).to_owned(),
            function: None,
            takes: Takes::Event,
        };
        Spec {
            functions: names.iter().map(node).collect(),
            edges: edges
                .iter()
                .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
                .collect(),
            fused: None,
        }
    }

    #[track_caller]
    fn check(names: &[&str], edges: &[(&str, &str)], complaint: &str) {
        let error = Topology::new(spec(names, edges)).expect_err("it is wrong");
        assert_eq!(error.to_string(), complaint);
    }

    #[test]
    fn a_wrong_dag_is_refused_in_words_for_its_owner() {
        check(&[], &[], "a DAG has at least one function");
        check(&["a"], &[("a", "a")], "the DAG has a cycle: a → a");
        check(
            &["s", "a", "b", "c"],
            &[("s", "a"), ("a", "b"), ("b", "c"), ("c", "a")],
            "the DAG has a cycle: a → b → c → a",
        );
        check(
            &["a", "b", "c"],
            &[("a", "b"), ("a", "c")],
            "the DAG has 2 sinks, `b`, `c`: exactly one function's result is the answer",
        );
        check(
            &["a", "b"],
            &[("a", "x")],
            "an edge names `x`, which is not a function of the DAG",
        );
        check(
            &["a", "b"],
            &[("a", "b"), ("a", "b")],
            "the edge from `a` to `b` is there twice",
        );
        check(
            &["a", "a"],
            &[],
            "the DAG names the function `a` twice: give each a name of its own",
        );
        check(
            &["a b"],
            &[],
            "`a b` is not a function name: use 1 to 64 of letters, digits, `-` and `_`",
        );
    }

    #[test]
    fn what_cannot_be_fused_is_refused_in_words_for_its_owner() {
        let check = |name: &str, takes, revisions, complaint: &str| {
            let mut spec = spec(&[name], &[]);
            spec.functions[0].takes = takes;
            spec.fused = Some(Fused {
                function: "f".to_owned(),
                revisions: vec![RevisionId::random(); revisions],
            });
            let error = Topology::new(spec).expect_err("it is wrong");
            assert_eq!(error.to_string(), complaint);
        };
        check(
            "a",
            Takes::Event,
            2,
            "`a` takes JSON events, and so cannot be fused",
        );
        check(
            "a:live",
            Takes::Arguments,
            2,
            "`a:live` is an alias, and so cannot be fused",
        );
        check(
            "a",
            Takes::Arguments,
            1,
            "a fused DAG of 1 functions has a revision for each and one for the function that holds them",
        );
    }

    #[test]
    fn many_sources_are_fine_and_the_empty_name_means_the_only_one() {
        let fan_in = Topology::new(spec(&["a", "b", "c"], &[("b", "c"), ("a", "c")])).expect("a DAG");
        assert_eq!(fan_in.sink, 2);
        assert_eq!(fan_in.upstream[2], [1, 0], "in the order of the edges");
        assert_eq!(fan_in.node(""), None);
        let line = Topology::new(spec(&["a", "b"], &[("b", "a")])).expect("a DAG");
        assert_eq!(line.node(""), Some(1));
    }
}
