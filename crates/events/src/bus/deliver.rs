//! Buses as the targets of others: destinations of functions, schedules, rules of other buses.

use async_trait::async_trait;
use squall_types::{Deliver, DeliverError, Delivery, RequestId};

use super::put::HOPS;
use super::{BusError, Buses, event};

/// Buses that an event may come through. Two that feed each other must not do so for ever.
const HOPS_MAX: u32 = 5;

impl Buses {
    fn bus_of<'a>(&self, arn: &'a str) -> Result<&'a str, DeliverError> {
        let mut parts = arn.splitn(6, ':');
        let resource = parts
            .nth(5)
            .and_then(|resource| resource.strip_prefix("event-bus/"));
        let name = resource.ok_or_else(|| DeliverError::Unsupported(arn.to_owned()))?;
        match arn == super::Bus::arn(self.home(), name) && self.bus(name).is_ok() {
            true => Ok(name),
            false => Err(DeliverError::NotFound(arn.to_owned())),
        }
    }
}

#[async_trait]
impl Deliver for Buses {
    fn check(&self, arn: &str) -> Result<(), DeliverError> {
        self.bus_of(arn).map(drop)
    }

    async fn deliver(&self, arn: &str, message: Delivery) -> Result<(), DeliverError> {
        let bus = self.bus_of(arn)?;
        let hops = message.attributes.get(HOPS).and_then(|hops| hops.parse().ok());
        let hops: u32 = hops.unwrap_or(0);
        if hops > HOPS_MAX {
            return Err(DeliverError::Refused(format!(
                "the event has come through more than {HOPS_MAX} buses: do their rules form a circle?"
            )));
        }
        let attribute = |name: &str| message.attributes.get(name).cloned();
        let event = event::of_message(&message.body, attribute).map_err(DeliverError::Refused)?;
        let id = message.id.unwrap_or_else(RequestId::random);
        self.put_one(bus, &event, id, hops)
            .await
            .map_err(|error| match error {
                BusError::NotFound(_) => DeliverError::NotFound(arn.to_owned()),
                other => DeliverError::Unavailable(other.to_string()),
            })
    }
}
