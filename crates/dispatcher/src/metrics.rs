//! What is counted of each function, and how it is shown to Prometheus.
//!
//! `call` counts every call once, when it ends; a scrape adds what is going on. A series is there from a function's
//! first call to its deletion, so their number is bounded by that of functions.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Unit;
use squall_types::{FunctionName, InvokeError, Outcome};

use crate::dispatcher::Dispatcher;
use crate::stats::FunctionStats;

/// Seconds: from a warm call to the longest that a function may run.
const DURATION_BOUNDS: [f64; 17] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0,
];

/// The counters of all functions.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    functions: RwLock<HashMap<FunctionName, Arc<Counters>>>,
}

/// The counters of one function, all its versions together.
#[derive(Debug)]
pub(crate) struct Counters {
    invocations: Counter,
    errors: Counter,
    throttles: Counter,
    faults: Counter,
    cold_starts: Counter,
    pub(crate) accepted: Counter,
    pub(crate) given_up: Counter,
    durations: Histogram,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            invocations: Counter::default(),
            errors: Counter::default(),
            throttles: Counter::default(),
            faults: Counter::default(),
            cold_starts: Counter::default(),
            accepted: Counter::default(),
            given_up: Counter::default(),
            durations: Histogram::new(DURATION_BOUNDS),
        }
    }
}

impl Counters {
    /// Counts a call that ended.
    pub(crate) fn note(&self, ended: &Result<Outcome, InvokeError>) {
        match ended {
            Ok(outcome) => {
                self.invocations.inc();
                self.durations.observe(outcome.usage.duration.as_secs_f64());
                if outcome.result.is_err() {
                    self.errors.inc();
                }
                if outcome.usage.init_duration.is_some() {
                    self.cold_starts.inc();
                }
            }
            Err(InvokeError::Throttled { .. }) => {
                self.throttles.inc();
            }
            Err(InvokeError::Platform(_) | InvokeError::Preparing { .. }) => {
                self.faults.inc();
            }
            // Refused before it could be a call.
            Err(_) => {}
        }
    }
}

impl Metrics {
    /// The counters of a function.
    pub(crate) fn of(&self, name: &FunctionName) -> Arc<Counters> {
        let known = self.functions.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(counters) = known.get(name) {
            return counters.clone();
        }
        drop(known);
        let mut functions = self.functions.write().unwrap_or_else(PoisonError::into_inner);
        functions.entry(name.clone()).or_default().clone()
    }

    /// Forgets a function that was deleted.
    pub(crate) fn forget(&self, name: &FunctionName) {
        let mut functions = self.functions.write().unwrap_or_else(PoisonError::into_inner);
        functions.remove(name);
    }

    /// In the order of their names.
    fn all(&self) -> Vec<(FunctionName, Arc<Counters>)> {
        let functions = self.functions.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = functions
            .iter()
            .map(|(name, counters)| (name.clone(), counters.clone()))
            .collect();
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        all
    }
}

type CounterOf = fn(&Counters) -> &Counter;

/// Name, help, and which.
const COUNTERS: [(&str, &str, CounterOf); 7] = [
    (
        "invocations",
        "Calls that ran, well or not, attempts at accepted events included.",
        |counters| &counters.invocations,
    ),
    (
        "errors",
        "Invocations on which the function failed.",
        |counters| &counters.errors,
    ),
    (
        "throttles",
        "Calls that met a limit and did not run.",
        |counters| &counters.throttles,
    ),
    (
        "faults",
        "Calls that did not run because of a fault of the platform.",
        |counters| &counters.faults,
    ),
    (
        "cold_starts",
        "Invocations that waited for an instance of their own to start.",
        |counters| &counters.cold_starts,
    ),
    (
        "events_accepted",
        "Events that were taken to run later.",
        |counters| &counters.accepted,
    ),
    (
        "events_given_up",
        "Accepted events that were given up.",
        |counters| &counters.given_up,
    ),
];

type GaugeOf = fn(&FunctionStats) -> f64;

/// Name, help, unit, and which. What is nothing is shown too, so that a series does not come and go.
#[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 of anything")]
const GAUGES: [(&str, &str, Option<Unit>, GaugeOf); 3] = [
    (
        "calls_waiting",
        "Calls that wait for an instance.",
        None,
        |stats| stats.waiting as f64,
    ),
    (
        "events_queued",
        "Accepted events that have not run to their end.",
        None,
        |stats| stats.queued_events as f64,
    ),
    (
        "oldest_event_age",
        "Age of the oldest accepted event that waits.",
        Some(Unit::Seconds),
        |stats| stats.oldest_event_age.map_or(0.0, |age| age.as_secs_f64()),
    ),
];

/// What the dispatcher knows, for a registry of metrics.
pub(crate) struct DispatcherMetrics(pub(crate) Dispatcher);

impl fmt::Debug for DispatcherMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DispatcherMetrics")
    }
}

impl Collector for DispatcherMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let functions = self.0.inner().metrics.all();
        for (name, help, counter_of) in COUNTERS {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (function, counters) in &functions {
                let labels = [("function", function.as_str())];
                counter_of(counters).encode(family.encode_family(&labels)?)?;
            }
        }
        let help = "From an event's arrival at an instance to its answer.";
        let mut family =
            encoder.encode_descriptor("duration", help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for (function, counters) in &functions {
            let labels = [("function", function.as_str())];
            counters.durations.encode(family.encode_family(&labels)?)?;
        }
        self.encode_stats(encoder, functions)
    }
}

impl DispatcherMetrics {
    fn encode_stats(
        &self,
        mut encoder: DescriptorEncoder<'_>,
        counted: Vec<(FunctionName, Arc<Counters>)>,
    ) -> fmt::Result {
        let mut stats = self.0.stats();
        for (name, _) in counted {
            stats.functions.entry(name).or_default();
        }
        for (name, help, unit, gauge_of) in &GAUGES {
            let mut family = encoder.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
            for (function, stats) in &stats.functions {
                let labels = [("function", function.as_str())];
                ConstGauge::new(gauge_of(stats)).encode(family.encode_family(&labels)?)?;
            }
        }
        let help = "Instances that live.";
        let mut family = encoder.encode_descriptor("instances", help, None, MetricType::Gauge)?;
        for (function, stats) in &stats.functions {
            for (state, number) in [
                ("idle", stats.idle),
                ("busy", stats.busy),
                ("starting", stats.starting),
            ] {
                let labels = [("function", function.as_str()), ("state", state)];
                ConstGauge::new(number).encode(family.encode_family(&labels)?)?;
            }
        }
        let (help, failed) = (
            "Events that were given up and are kept.",
            self.0.inner().queue.failed().len(),
        );
        let family = encoder.encode_descriptor("failed_events_kept", help, None, MetricType::Gauge)?;
        ConstGauge::new(failed).encode(family)?;
        let help = "Calls in flight, waiting or running, over all functions.";
        let family = encoder.encode_descriptor("calls_in_flight", help, None, MetricType::Gauge)?;
        ConstGauge::new(stats.in_flight).encode(family)
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text;
    use prometheus_client::registry::Registry;
    use squall_types::Invoke;

    use super::*;
    use crate::tests::fake::*;

    fn scrape(world: &World) -> String {
        let mut registry = Registry::with_prefix("squall");
        registry.register_collector(Box::new(DispatcherMetrics(world.dispatcher.clone())));
        let mut text = String::new();
        text::encode(&mut text, &registry).expect("a string takes all");
        text
    }

    #[track_caller]
    fn check(text: &str, lines: &[&str]) {
        for line in lines {
            assert!(
                text.lines().any(|found| found == *line),
                "no `{line}` in:\n{text}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn calls_are_counted_by_how_they_ended() {
        let world = world(Script::act(Act::Raise)).await;
        world.put("g", Script::act(Act::Echo(TENTH)), Some(0));
        world.call("f").await.unwrap();
        world.call("f").await.unwrap();
        world.call("g").await.unwrap_err();
        world.call("absent").await.unwrap_err();
        world.put("g", Script::act(Act::Echo(TENTH)), None);
        world.call("g").await.unwrap();
        let text = scrape(&world);
        check(
            &text,
            &[
                r#"squall_invocations_total{function="f"} 2"#,
                r#"squall_errors_total{function="f"} 2"#,
                r#"squall_cold_starts_total{function="f"} 1"#,
                r#"squall_throttles_total{function="g"} 1"#,
                r#"squall_invocations_total{function="g"} 1"#,
                r#"squall_errors_total{function="g"} 0"#,
                r#"squall_duration_seconds_count{function="g"} 1"#,
                r#"squall_duration_seconds_bucket{le="0.05",function="g"} 0"#,
                r#"squall_duration_seconds_bucket{le="0.25",function="g"} 1"#,
                r#"squall_instances{function="f",state="idle"} 1"#,
                "squall_calls_in_flight 0",
            ],
        );
        assert!(!text.contains("absent"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_events_show_their_number_and_age() {
        let world = world_with(crate::DispatcherConfig::default(), 1000).await;
        world.put("f", Script::act(Act::Echo(TENTH)), Some(0));
        world.dispatcher.accept(event("f")).await.unwrap();
        world.dispatcher.accept(event("f")).await.unwrap();
        pass(MINUTE).await;
        let text = scrape(&world);
        check(
            &text,
            &[
                r#"squall_events_accepted_total{function="f"} 2"#,
                r#"squall_events_queued{function="f"} 2.0"#,
                r#"squall_events_given_up_total{function="f"} 0"#,
            ],
        );
        let age = text
            .lines()
            .find_map(|line| line.strip_prefix(r#"squall_oldest_event_age_seconds{function="f"} "#));
        assert!(
            age.expect("an age").parse::<f64>().expect("a number") >= 60.0,
            "{text}"
        );
        world.delete("f");
        pass(MINUTE).await;
        assert!(!scrape(&world).contains("_total{function=\"f\"}"));
        check(&scrape(&world), &["squall_failed_events_kept 2"]);
    }
}
