//! Notifications: whom a bucket tells about its changes, and what it says.
//!
//! What is to be told is written in the batch that makes the change, by whoever implements [`Announce`]: this crate knows
//! no outbox. Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html>.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::json;
use squall_store::{Batch, Committed, StoreError};
use squall_types::{Home, RequestId};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use crate::error::ObjectsError;
use crate::record::ObjectRecord;

/// The events that a bucket can tell of.
const EVENTS: [&str; 8] = [
    "s3:ObjectCreated:*",
    "s3:ObjectCreated:Put",
    "s3:ObjectCreated:Post",
    "s3:ObjectCreated:Copy",
    "s3:ObjectCreated:CompleteMultipartUpload",
    "s3:ObjectRemoved:*",
    "s3:ObjectRemoved:Delete",
    "s3:ObjectRemoved:DeleteMarkerCreated",
];
/// The most notifications of a bucket.
const NOTIFICATIONS_MAX: usize = 100;
const TIME: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// All notifications of a bucket.
pub type Notifications = Vec<Notification>;

/// Whom to tell what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// Names it within its bucket.
    pub id: String,
    /// The ARN of a function or a queue.
    pub target: String,
    /// Which of both.
    pub kind: Target,
    /// As in `s3:ObjectCreated:*`.
    pub events: Vec<String>,
    /// Of which objects.
    #[serde(default)]
    pub filter: Filter,
}

/// What a notification goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// A function, called asynchronously.
    Function,
    /// A queue.
    Queue,
}

/// Which keys a notification is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// What they start with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// What they end with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suffix: Option<String>,
}

/// Who made a change.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// The ARN of who called.
    pub principal: String,
    /// The address that the request came from.
    pub address: String,
    /// The request's id.
    pub request_id: String,
}

/// Something to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Names the delivery.
    pub id: RequestId,
    /// The target's ARN.
    pub target: String,
    /// The event, in JSON.
    pub body: String,
    /// The bucket's ARN.
    pub source: String,
}

/// Why a batch with notices was not committed.
#[derive(Debug)]
pub enum CommitError {
    /// There is no room for more notices now.
    Full,
    /// As the store says.
    Store(StoreError),
}

/// Commits a batch together with what is to be told of it.
#[async_trait]
pub trait Announce: Send + Sync + 'static {
    /// Commits the batch, and sees to it that every notice reaches its target if the batch is committed, and only then.
    ///
    /// # Errors
    /// [`CommitError::Full`]: nothing was written.
    async fn commit(&self, batch: Batch, notices: Vec<Notice>) -> Result<Committed, CommitError>;
}

/// What happened to an object.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Change<'a> {
    pub(crate) bucket: &'a str,
    pub(crate) key: &'a str,
    /// As in `ObjectCreated:Put`.
    pub(crate) event: &'static str,
    /// What it is now; `None` where it is gone.
    pub(crate) object: Option<&'a ObjectRecord>,
    pub(crate) at_ms: i64,
    /// Of two changes of one key, the later one has the larger.
    pub(crate) sequencer: u64,
}

impl Notification {
    fn is_about(&self, change: &Change<'_>) -> bool {
        let matches = |event: &String| {
            let event = event.strip_prefix("s3:").unwrap_or(event);
            match event.strip_suffix('*') {
                Some(start) => change.event.starts_with(start),
                None => change.event == event,
            }
        };
        let Filter { prefix, suffix } = &self.filter;
        self.events.iter().any(matches)
            && prefix
                .as_ref()
                .is_none_or(|prefix| change.key.starts_with(prefix))
            && suffix.as_ref().is_none_or(|suffix| change.key.ends_with(suffix))
    }

    /// Whether one change could be told by both, which S3 does not allow.
    fn overlaps(&self, other: &Self) -> bool {
        let stem = |event: &str| event.trim_end_matches('*').to_owned();
        let share = |one: &String, two: &String| {
            let (a, b) = (stem(one), stem(two));
            (a.starts_with(&b) && two.ends_with('*')) || (b.starts_with(&a) && one.ends_with('*')) || a == b
        };
        let text = |part: &Option<String>| part.clone().unwrap_or_default();
        let (a, b) = (text(&self.filter.prefix), text(&other.filter.prefix));
        let (c, d) = (text(&self.filter.suffix), text(&other.filter.suffix));
        self.events
            .iter()
            .any(|one| other.events.iter().any(|two| share(one, two)))
            && (a.starts_with(&b) || b.starts_with(&a))
            && (c.ends_with(&d) || d.ends_with(&c))
    }
}

/// Whether a bucket may have these notifications. Whether their targets exist is for the caller to ask.
pub(crate) fn check(notifications: &[Notification]) -> Result<(), ObjectsError> {
    let invalid = |text: String| Err(ObjectsError::Invalid(text));
    if notifications.len() > NOTIFICATIONS_MAX {
        return invalid(format!("A bucket has at most {NOTIFICATIONS_MAX} notifications"));
    }
    for (place, one) in notifications.iter().enumerate() {
        if let Some(event) = one.events.iter().find(|event| !EVENTS.contains(&event.as_str())) {
            return invalid(format!("The event `{event}` is not supported for notifications"));
        }
        if one.events.is_empty() {
            return invalid("A notification is about at least one event".to_owned());
        }
        if one.id.len() > 255 {
            return invalid("A notification's Id has at most 255 bytes".to_owned());
        }
        for other in &notifications[..place] {
            if one.id == other.id {
                return invalid("Two notifications have the same Id".to_owned());
            }
            if one.overlaps(other) {
                return invalid(
                    "Configurations overlap. Configurations on the same bucket cannot share a common event type."
                        .to_owned(),
                );
            }
        }
    }
    Ok(())
}

/// What is to be told of a change.
pub(crate) fn notices(
    notifications: &[Notification],
    change: &Change<'_>,
    origin: &Origin,
    home: &Home,
) -> Vec<Notice> {
    let about = notifications.iter().filter(|one| one.is_about(change));
    about
        .map(|one| Notice {
            id: RequestId::random(),
            target: one.target.clone(),
            body: body(&one.id, change, origin, home),
            source: arn(change.bucket),
        })
        .collect()
}

/// A bucket's ARN.
pub fn arn(bucket: &str) -> String {
    format!("arn:aws:s3:::{bucket}")
}

/// The time as events and XML have it.
pub fn timestamp(ms: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000);
    let text = at.ok().and_then(|at| at.format(TIME).ok());
    text.unwrap_or_else(|| "1970-01-01T00:00:00.000Z".to_owned())
}

fn body(id: &str, change: &Change<'_>, origin: &Origin, home: &Home) -> String {
    let mut object = json!({
        "key": encode(change.key),
        "sequencer": format!("{:016X}", change.sequencer),
    });
    if let Some(record) = change.object {
        object["size"] = json!(record.bytes);
        object["eTag"] = json!(record.etag);
    }
    json!({ "Records": [{
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": home.region,
        "eventTime": timestamp(change.at_ms),
        "eventName": change.event,
        "userIdentity": { "principalId": format!("AWS:{}", origin.principal) },
        "requestParameters": { "sourceIPAddress": origin.address },
        "responseElements": { "x-amz-request-id": origin.request_id, "x-amz-id-2": origin.request_id },
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": id,
            "bucket": {
                "name": change.bucket,
                "ownerIdentity": { "principalId": home.account },
                "arn": arn(change.bucket),
            },
            "object": object,
        },
    }]})
    .to_string()
}

/// A key as it stands in events: like a form's field, but with its slashes.
fn encode(key: &str) -> String {
    use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
    const FORM: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'*')
        .remove(b'/')
        .remove(b' ');
    utf8_percent_encode(key, FORM).to_string().replace(' ', "+")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notification(id: &str, event: &str, prefix: &str, suffix: &str) -> Notification {
        let part = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Notification {
            id: id.to_owned(),
            target: "arn:aws:sqs:us-east-1:000000000000:q".to_owned(),
            kind: Target::Queue,
            events: vec![event.to_owned()],
            filter: Filter {
                prefix: part(prefix),
                suffix: part(suffix),
            },
        }
    }

    fn told(notification: Notification, event: &'static str, key: &str) -> Vec<Notice> {
        let change = Change {
            bucket: "photos",
            key,
            event,
            object: None,
            at_ms: 1_700_000_000_123,
            sequencer: 0xab,
        };
        notices(&[notification], &change, &Origin::default(), &Home::default())
    }

    #[test]
    fn the_event_and_both_filters_must_fit() {
        let created = || notification("n", "s3:ObjectCreated:*", "in/", ".png");
        assert_eq!(told(created(), "ObjectCreated:Put", "in/a.png").len(), 1);
        assert_eq!(told(created(), "ObjectCreated:Copy", "in/a.png").len(), 1);
        for (event, key) in [
            ("ObjectRemoved:Delete", "in/a.png"),
            ("ObjectCreated:Put", "out/a.png"),
            ("ObjectCreated:Put", "in/a.jpg"),
        ] {
            assert_eq!(told(created(), event, key), [], "{event} {key}");
        }
        let put = notification("n", "s3:ObjectCreated:Put", "", "");
        assert_eq!(told(put.clone(), "ObjectCreated:Put", "k").len(), 1);
        assert_eq!(told(put, "ObjectCreated:Copy", "k").len(), 0);
    }

    #[test]
    fn an_event_says_what_s3_says() {
        let told = told(
            notification("n", "s3:ObjectRemoved:*", "", ""),
            "ObjectRemoved:Delete",
            "a b/\u{e4}+.png",
        );
        let event: serde_json::Value = serde_json::from_str(&told[0].body).expect("JSON");
        let record = &event["Records"][0];
        assert_eq!(record["eventTime"], "2023-11-14T22:13:20.123Z");
        assert_eq!(record["eventName"], "ObjectRemoved:Delete");
        assert_eq!(
            record["s3"]["object"],
            json!({ "key": "a+b/%C3%A4%2B.png", "sequencer": "00000000000000AB" })
        );
        assert_eq!(record["s3"]["bucket"]["arn"], "arn:aws:s3:::photos");
        assert_eq!(told[0].source, "arn:aws:s3:::photos");
    }

    #[test]
    fn overlapping_notifications_are_refused() {
        let all = notification("a", "s3:ObjectCreated:*", "", "");
        let put = notification("b", "s3:ObjectCreated:Put", "in/", "");
        let removed = notification("c", "s3:ObjectRemoved:*", "", "");
        let (png, jpg) = (
            notification("d", "s3:ObjectCreated:*", "in/", ".png"),
            notification("e", "s3:ObjectCreated:*", "in/", ".jpg"),
        );
        assert_eq!(check(&[all.clone(), removed.clone()]), Ok(()));
        assert_eq!(check(&[png.clone(), jpg, removed.clone()]), Ok(()));
        for both in [[all.clone(), put.clone()], [put, png.clone()], [all.clone(), png]] {
            assert!(matches!(check(&both), Err(ObjectsError::Invalid(text)) if text.contains("overlap")));
        }
        assert!(
            check(&[
                all.clone(),
                Notification {
                    id: "a".into(),
                    ..removed
                }
            ])
            .is_err()
        );
        assert!(check(&[notification("f", "s3:ObjectTagging:*", "", "")]).is_err());
    }
}
