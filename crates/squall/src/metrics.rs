//! `GET /squall/v1/metrics`: what the engines count, gathered into one text for Prometheus.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use squall_dispatcher::Dispatcher;
use squall_events::queue::{QueueView, Queues};
use squall_gateway::WriteMetrics;

/// Writes all metrics of a server.
pub(crate) fn writer(dispatcher: &Dispatcher, queues: &Queues) -> WriteMetrics {
    let mut registry = Registry::with_prefix("squall");
    registry.register_collector(dispatcher.metrics());
    registry.register_collector(Box::new(QueueMetrics(queues.clone())));
    Arc::new(move || {
        let mut written = String::new();
        text::encode(&mut written, &registry).expect("a string takes all");
        written
    })
}

/// How full queues are.
struct QueueMetrics(Queues);

impl fmt::Debug for QueueMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("QueueMetrics")
    }
}

impl Collector for QueueMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // One that was deleted since it was named is left out.
        let names = self.0.names("").into_iter();
        let views: Vec<QueueView> = names.filter_map(|name| self.0.view(&name).ok()).collect();
        let help = "Messages of a queue.";
        let mut family = encoder.encode_descriptor("queue_messages", help, None, MetricType::Gauge)?;
        for view in &views {
            for (state, number) in [
                ("ready", view.counts.ready),
                ("in_flight", view.counts.in_flight),
                ("delayed", view.counts.delayed),
            ] {
                let labels = [("queue", view.name.as_str()), ("state", state)];
                ConstGauge::new(number).encode(family.encode_family(&labels)?)?;
            }
        }
        let help = "Age of a queue's oldest message that was not deleted.";
        let unit = Some(&Unit::Seconds);
        let mut family =
            encoder.encode_descriptor("queue_oldest_message_age", help, unit, MetricType::Gauge)?;
        let now = SystemTime::now();
        for view in &views {
            let labels = [("queue", view.name.as_str())];
            ConstGauge::new(oldest_age_secs(view, now)).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

fn oldest_age_secs(view: &QueueView, now: SystemTime) -> f64 {
    let Some(sent) = view.oldest_sent else { return 0.0 };
    let sent = UNIX_EPOCH + sent;
    now.duration_since(sent).unwrap_or_default().as_secs_f64()
}
