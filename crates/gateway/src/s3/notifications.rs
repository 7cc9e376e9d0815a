//! Notifications: whom a bucket tells about its changes.
//!
//! A function must let S3 call it by its policy, as on AWS, or the caller must be one who may call it: whoever sets a
//! notification calls the function in the end. The same of a queue, which has no policy here.

use s3s::dto::{
    Event, FilterRule, FilterRuleName, GetBucketNotificationConfigurationInput,
    GetBucketNotificationConfigurationOutput, LambdaFunctionConfiguration, NotificationConfigurationFilter,
    PutBucketNotificationConfigurationInput, QueueConfiguration, S3KeyFilter,
};
use s3s::{S3Error, S3Request, S3Response, S3Result, s3_error};
use squall_access::{Policy, Principal, Request};
use squall_objects::{Filter, Notification, Notifications, Target};
use squall_types::{Deliver, Delivery, FunctionRef, RequestId};

use super::{Face, caller, error};
use crate::authenticate::Authentic;

/// Who calls a function for a bucket.
const SERVICE: &str = "s3.amazonaws.com";

impl Face {
    pub(super) fn get_notifications(
        &self,
        request: &S3Request<GetBucketNotificationConfigurationInput>,
    ) -> S3Result<S3Response<GetBucketNotificationConfigurationOutput>> {
        let all = self
            .objects()
            .notifications(&request.input.bucket)
            .map_err(error::of)?;
        let events = |one: &Notification| one.events.iter().cloned().map(Event::from).collect();
        let of = |kind: Target| all.iter().filter(move |one| one.kind == kind);
        let functions: Vec<_> = of(Target::Function)
            .map(|one| LambdaFunctionConfiguration {
                events: events(one),
                filter: told(&one.filter),
                id: Some(one.id.clone()),
                lambda_function_arn: one.target.clone(),
            })
            .collect();
        let queues: Vec<_> = of(Target::Queue)
            .map(|one| QueueConfiguration {
                events: events(one),
                filter: told(&one.filter),
                id: Some(one.id.clone()),
                queue_arn: one.target.clone(),
            })
            .collect();
        Ok(S3Response::new(GetBucketNotificationConfigurationOutput {
            lambda_function_configurations: (!functions.is_empty()).then_some(functions),
            queue_configurations: (!queues.is_empty()).then_some(queues),
            ..GetBucketNotificationConfigurationOutput::default()
        }))
    }

    pub(super) async fn put_notifications(
        &self,
        request: S3Request<PutBucketNotificationConfigurationInput>,
    ) -> S3Result<S3Response<s3s::dto::PutBucketNotificationConfigurationOutput>> {
        let caller = caller(&request)?;
        let input = request.input;
        self.objects().check_bucket(&input.bucket).map_err(error::of)?;
        let said = input.notification_configuration;
        if said.event_bridge_configuration.is_some() {
            return Err(error::unsupported("A notification to EventBridge"));
        }
        if said.topic_configurations.is_some_and(|topics| !topics.is_empty()) {
            return Err(error::unsupported("A notification to SNS"));
        }
        let functions = said
            .lambda_function_configurations
            .unwrap_or_default()
            .into_iter();
        let functions = functions.map(|one| {
            notification(
                one.id,
                one.lambda_function_arn,
                Target::Function,
                (one.events, one.filter),
            )
        });
        let queues = said.queue_configurations.unwrap_or_default().into_iter();
        let queues =
            queues.map(|one| notification(one.id, one.queue_arn, Target::Queue, (one.events, one.filter)));
        let all: Notifications = functions.chain(queues).collect::<S3Result<_>>()?;
        for one in &all {
            self.check_target(&caller, &input.bucket, one)?;
        }
        let before = self.objects().notifications(&input.bucket).map_err(error::of)?;
        let set = self.objects().set_notifications(&input.bucket, all.clone()).await;
        set.map_err(error::of)?;
        let new = all
            .iter()
            .filter(|one| one.kind == Target::Queue && !before.contains(one));
        for one in new {
            self.send_test(&input.bucket, &one.target).await;
        }
        Ok(S3Response::new(
            s3s::dto::PutBucketNotificationConfigurationOutput {},
        ))
    }

    /// Whether the target is there, and may be told.
    fn check_target(&self, caller: &Authentic, bucket: &str, one: &Notification) -> S3Result<()> {
        let unable = |why: &dyn std::fmt::Display| -> S3Error {
            s3_error!(
                InvalidArgument,
                "Unable to validate the following destination configurations: {}: {why}",
                one.target
            )
        };
        let service = match one.kind {
            Target::Function => "lambda",
            Target::Queue => "sqs",
        };
        if one.target.split(':').nth(2) != Some(service) {
            return Err(error::invalid("The ARN is not well formed"));
        }
        if one.kind == Target::Queue && one.target.ends_with(".fifo") {
            return Err(unable(&"FIFO queues take no notifications"));
        }
        self.gateway
            .engines
            .deliver
            .check(&one.target)
            .map_err(|error| unable(&error))?;
        if one.kind == Target::Function && self.function_lets(bucket, &one.target)? {
            return Ok(());
        }
        let permitted = caller.permit_target(&self.gateway, &one.target);
        permitted.map_err(|denied| unable(&denied.message()))
    }

    /// Whether a function's policy lets S3 call it for a bucket.
    fn function_lets(&self, bucket: &str, arn: &str) -> S3Result<bool> {
        let Ok(function) = arn.parse::<FunctionRef>() else {
            return Ok(false);
        };
        let kept = self.gateway.registry.policy(&function);
        let read = kept.map(|kept| Policy::of_resource(&kept.document().to_string()));
        let Some(policy) = read.transpose().map_err(error::platform)? else {
            return Ok(false);
        };
        let account = &self.home().account;
        let service = Principal {
            arn: SERVICE.to_owned(),
            account: account.clone(),
        };
        let source = squall_objects::arn(bucket);
        let request = Request {
            action: "lambda:InvokeFunction",
            resource: arn,
            account,
            context: &[("aws:SourceArn", &source), ("aws:SourceAccount", account)],
        };
        Ok(squall_access::decide(&service, &[], Some(&policy), request).is_ok())
    }

    /// Tells a queue, once, that it will be told, as S3 does. It is no event of the bucket: nobody tries again.
    async fn send_test(&self, bucket: &str, queue: &str) {
        let body = serde_json::json!({
            "Service": "Amazon S3",
            "Event": "s3:TestEvent",
            "Time": squall_objects::timestamp(now_ms()),
            "Bucket": bucket,
            "RequestId": self.request_id.to_string(),
            "HostId": self.request_id.to_string(),
        });
        let message = Delivery {
            body: body.to_string().into(),
            id: Some(RequestId::random()),
            ..Delivery::default()
        };
        if let Err(error) = self.gateway.engines.deliver.deliver(queue, message).await {
            tracing::info!(%error, queue, "a queue did not take the test of a notification");
        }
    }
}

fn now_ms() -> i64 {
    let now = time::OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
    i64::try_from(now).unwrap_or(i64::MAX)
}

fn notification(
    id: Option<String>,
    target: String,
    kind: Target,
    (events, filter): (Vec<Event>, Option<NotificationConfigurationFilter>),
) -> S3Result<Notification> {
    let rules = filter
        .and_then(|filter| filter.key)
        .and_then(|key| key.filter_rules)
        .unwrap_or_default();
    let mut filter = Filter::default();
    for FilterRule { name, value } in rules {
        let name = name
            .map(|name| name.as_str().to_ascii_lowercase())
            .unwrap_or_default();
        let place = match name.as_str() {
            "prefix" => &mut filter.prefix,
            "suffix" => &mut filter.suffix,
            _ => return Err(error::invalid("filter rule name must be either prefix or suffix")),
        };
        if place.is_some() {
            return Err(error::invalid(format!(
                "Cannot specify more than one {name} rule in a filter."
            )));
        }
        *place = Some(value.unwrap_or_default());
    }
    Ok(Notification {
        id: id
            .filter(|id| !id.is_empty())
            .unwrap_or_else(|| RequestId::random().to_string()),
        target,
        kind,
        events: events
            .into_iter()
            .map(|event| event.as_ref().to_owned())
            .collect(),
        filter,
    })
}

fn told(filter: &Filter) -> Option<NotificationConfigurationFilter> {
    let rule = |name, value: &Option<String>| {
        value.clone().map(|value| FilterRule {
            name: Some(FilterRuleName::from_static(name)),
            value: Some(value),
        })
    };
    let prefix = rule(FilterRuleName::PREFIX, &filter.prefix);
    let suffix = rule(FilterRuleName::SUFFIX, &filter.suffix);
    let rules: Vec<FilterRule> = prefix.into_iter().chain(suffix).collect();
    (!rules.is_empty()).then_some(NotificationConfigurationFilter {
        key: Some(S3KeyFilter {
            filter_rules: Some(rules),
        }),
    })
}
