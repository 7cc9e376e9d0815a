//! What an uploader says about an object, from the members that three operations have, and back into two answers.

use s3s::dto::{ETag, ETagCondition, Timestamp, TimestampFormat};
use s3s::{S3Result, s3_error};
use squall_objects::{Attributes, Condition, ObjectRecord};

use super::error::{invalid, unsupported};
use super::tags;

/// The most bytes of the user's own metadata.
const METADATA_BYTES_MAX: usize = 2048;
/// What S3 says where nobody said anything.
pub(super) const CONTENT_TYPE_DEFAULT: &str = "binary/octet-stream";

/// The members of an input that say what an object is.
pub(super) struct Said {
    pub(super) headers: [(&'static str, Option<String>); 5],
    pub(super) expires: Option<Timestamp>,
    pub(super) metadata: Option<s3s::dto::Metadata>,
    pub(super) tagging: Option<String>,
}

/// Takes them out of an input.
macro_rules! said {
    ($input:expr) => {
        $crate::s3::attributes::Said {
            headers: [
                ("content-type", $input.content_type.take()),
                ("cache-control", $input.cache_control.take()),
                ("content-disposition", $input.content_disposition.take()),
                ("content-encoding", $input.content_encoding.take()),
                ("content-language", $input.content_language.take()),
            ],
            expires: $input.expires.take(),
            metadata: $input.metadata.take(),
            tagging: $input.tagging.take(),
        }
    };
}
pub(super) use said;

impl Said {
    pub(super) fn attributes(self) -> S3Result<Attributes> {
        let mut attributes = Attributes::default();
        for (name, value) in self.headers {
            let value = match name {
                // How the body was sent, and not what it is.
                "content-encoding" => value.and_then(|value| without_chunks(&value)),
                _ => value,
            };
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                attributes.headers.insert(name.to_owned(), value);
            }
        }
        if let Some(expires) = self.expires {
            attributes
                .headers
                .insert("expires".to_owned(), http_date(&expires)?);
        }
        attributes.metadata = self.metadata.unwrap_or_default().into_iter().collect();
        let bytes: usize = attributes
            .metadata
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        if bytes > METADATA_BYTES_MAX {
            return Err(s3_error!(
                MetadataTooLarge,
                "Your metadata headers exceed the maximum allowed metadata size"
            ));
        }
        if let Some(tagging) = self.tagging {
            attributes.tags = tags::of_header(&tagging)?;
        }
        Ok(attributes)
    }
}

fn without_chunks(encoding: &str) -> Option<String> {
    let kept: Vec<&str> = encoding
        .split(',')
        .map(str::trim)
        .filter(|one| *one != "aws-chunked")
        .collect();
    (!kept.is_empty()).then(|| kept.join(","))
}

fn http_date(at: &Timestamp) -> S3Result<String> {
    let mut text = Vec::new();
    at.format(TimestampFormat::HttpDate, &mut text)
        .map_err(|_| invalid("Invalid Expires"))?;
    String::from_utf8(text).map_err(|_| invalid("Invalid Expires"))
}

/// What conditional headers demand of an object that is written.
pub(super) fn condition(
    if_match: Option<&ETagCondition>,
    if_none_match: Option<&ETagCondition>,
) -> S3Result<Condition> {
    let absent = match if_none_match {
        None => false,
        Some(ETagCondition::Any) => true,
        Some(ETagCondition::ETag(_)) => return Err(unsupported("If-None-Match with an ETag, of a write,")),
    };
    let etag = if_match.map(|condition| match condition {
        ETagCondition::Any => "*".to_owned(),
        ETagCondition::ETag(etag) => etag.value().to_owned(),
    });
    Ok(Condition { absent, etag })
}

/// An ETag as answers have it.
pub(super) fn etag(text: &str) -> ETag {
    ETag::Strong(text.to_owned())
}

/// Milliseconds since 1970 as answers have them.
pub(super) fn time(ms: i64) -> Timestamp {
    let at = time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000);
    at.map(Timestamp::from).unwrap_or_default()
}

/// Sets the members of an answer that say what an object is.
macro_rules! tell {
    ($output:expr, $record:expr) => {{
        let record: &squall_objects::ObjectRecord = $record;
        let header = |name: &str| record.attributes.headers.get(name).cloned();
        $output.accept_ranges = Some("bytes".to_owned());
        $output.e_tag = Some($crate::s3::attributes::etag(&record.etag));
        $output.last_modified = Some($crate::s3::attributes::time(record.modified_ms));
        let content_type = header("content-type");
        $output.content_type =
            Some(content_type.unwrap_or_else(|| $crate::s3::attributes::CONTENT_TYPE_DEFAULT.to_owned()));
        $output.cache_control = header("cache-control");
        $output.content_disposition = header("content-disposition");
        $output.content_encoding = header("content-encoding");
        $output.content_language = header("content-language");
        $output.expires = $crate::s3::attributes::expires(record);
        let metadata = &record.attributes.metadata;
        $output.metadata = (!metadata.is_empty()).then(|| metadata.clone().into_iter().collect());
    }};
}
pub(super) use tell;

pub(super) fn expires(record: &ObjectRecord) -> Option<Timestamp> {
    let text = record.attributes.headers.get("expires")?;
    Timestamp::parse(TimestampFormat::HttpDate, text).ok()
}
