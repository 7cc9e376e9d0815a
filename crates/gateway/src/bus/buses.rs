//! Buses themselves, and the tags of buses and rules.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};
use squall_events::bus::Bus;
use squall_types::Home;

use super::input::{self, BUS_NAME, Paging, Tag};
use super::{Answer, Call, with_next};
use crate::awsjson::JsonError;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CreateBus {
    name: Option<String>,
    description: Option<String>,
    #[serde(default)]
    tags: Vec<Tag>,
    event_source_name: Option<Value>,
    kms_key_identifier: Option<Value>,
    dead_letter_config: Option<Value>,
    log_config: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OneBus {
    name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListBuses {
    name_prefix: Option<String>,
    #[serde(flatten)]
    paging: Paging,
}

#[derive(Debug, Deserialize)]
struct TagRequest {
    #[serde(rename = "ResourceARN")]
    arn: Option<String>,
    #[serde(rename = "Tags", default)]
    tags: Vec<Tag>,
    #[serde(rename = "TagKeys", default)]
    keys: Vec<String>,
}

/// What tags are on.
enum Tagged {
    Bus(String),
    Rule { bus: String, name: String },
}

impl Call<'_> {
    pub(super) async fn create_bus(&self) -> Answer {
        let input: CreateBus = self.input()?;
        let name = input::required("name", input.name.as_deref(), &BUS_NAME)?;
        input::optional(
            input.description.as_deref(),
            &input::text("description", (0, 512)),
        )?;
        input::refuse_unsupported(&[
            ("EventSourceName", &input.event_source_name),
            ("KmsKeyIdentifier", &input.kms_key_identifier),
            ("DeadLetterConfig", &input.dead_letter_config),
            ("LogConfig", &input.log_config),
        ])?;
        let description = input.description.as_deref().unwrap_or("");
        let tags = input::tags(input.tags)?;
        self.buses.create_bus(name, description, tags).await?;
        let mut shape = json!({ "EventBusArn": Bus::arn(self.buses.home(), name) });
        if !description.is_empty() {
            shape["Description"] = description.into();
        }
        Ok(shape)
    }

    pub(super) fn describe_bus(&self) -> Answer {
        let input: OneBus = self.input()?;
        let name = self.bus(input.name.as_deref())?;
        Ok(shape(self.buses.home(), &self.buses.bus(&name)?))
    }

    pub(super) fn list_buses(&self) -> Answer {
        let input: ListBuses = self.input()?;
        let all = self.buses.list_buses(input.name_prefix.as_deref().unwrap_or(""));
        let (page, next) = input.paging.cut(all, |bus| &bus.name)?;
        let home = self.buses.home();
        let page: Vec<Value> = page.iter().map(|bus| shape(home, bus)).collect();
        Ok(with_next(json!({ "EventBuses": page }), next))
    }

    pub(super) async fn delete_bus(&self) -> Answer {
        let input: OneBus = self.input()?;
        let name = input::required("name", input.name.as_deref(), &BUS_NAME)?;
        self.buses.delete_bus(name).await?;
        Ok(Value::Null)
    }

    pub(super) async fn tag(&self) -> Answer {
        let input: TagRequest = self.input()?;
        let tagged = self.tagged(input.arn.as_deref())?;
        let new = input::tags(input.tags)?;
        let mut all = self.tags_of(&tagged)?;
        all.extend(new.clone());
        input::check_tags(&all)?;
        self.change_tags(&tagged, |tags| tags.extend(new)).await
    }

    pub(super) async fn untag(&self) -> Answer {
        let input: TagRequest = self.input()?;
        let tagged = self.tagged(input.arn.as_deref())?;
        self.change_tags(&tagged, |tags| tags.retain(|key, _| !input.keys.contains(key)))
            .await
    }

    pub(super) fn list_tags(&self) -> Answer {
        let input: TagRequest = self.input()?;
        let tags = self.tags_of(&self.tagged(input.arn.as_deref())?)?;
        let tags = tags
            .iter()
            .map(|(key, value)| json!({ "Key": key, "Value": value }));
        Ok(json!({ "Tags": tags.collect::<Vec<Value>>() }))
    }

    fn tags_of(&self, tagged: &Tagged) -> Result<BTreeMap<String, String>, JsonError> {
        Ok(match tagged {
            Tagged::Bus(name) => self.buses.bus(name)?.tags,
            Tagged::Rule { bus, name } => self.buses.rule(bus, name)?.tags,
        })
    }

    async fn change_tags(
        &self,
        tagged: &Tagged,
        change: impl FnOnce(&mut BTreeMap<String, String>) + Send,
    ) -> Answer {
        match tagged {
            Tagged::Bus(name) => self.buses.tag_bus(name, change).await?,
            Tagged::Rule { bus, name } => self.buses.tag_rule(bus, name, change).await?,
        }
        Ok(json!({}))
    }

    /// `…:event-bus/NAME`, `…:rule/NAME` on the default bus, `…:rule/BUS/NAME`.
    fn tagged(&self, arn: Option<&str>) -> Result<Tagged, JsonError> {
        let arn = input::required("resourceARN", arn, &input::text("resourceARN", (1, 1600)))?;
        let absent = || JsonError::not_found(format!("Resource {arn} does not exist."));
        let Home { account, region } = self.buses.home();
        let resource = arn.strip_prefix(&format!("arn:aws:events:{region}:{account}:"));
        let (kind, name) = resource
            .and_then(|resource| resource.split_once('/'))
            .ok_or_else(absent)?;
        match kind {
            "event-bus" => Ok(Tagged::Bus(name.to_owned())),
            "rule" => {
                let (bus, name) = name
                    .rsplit_once('/')
                    .unwrap_or((squall_events::bus::DEFAULT_BUS, name));
                Ok(Tagged::Rule {
                    bus: bus.to_owned(),
                    name: name.to_owned(),
                })
            }
            _ => Err(absent()),
        }
    }
}

fn shape(home: &Home, bus: &Bus) -> Value {
    let mut shape = json!({
        "Name": bus.name,
        "Arn": Bus::arn(home, &bus.name),
        "CreationTime": bus.created_ms / 1000,
        "LastModifiedTime": bus.modified_ms / 1000,
    });
    if !bus.description.is_empty() {
        shape["Description"] = bus.description.as_str().into();
    }
    shape
}
