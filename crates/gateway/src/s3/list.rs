//! Listing objects, in both versions of the operation.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::dto::{
    CommonPrefix, EncodingType, ListObjectsInput, ListObjectsOutput, ListObjectsV2Input, ListObjectsV2Output,
    Object, ObjectStorageClass,
};
use s3s::{S3Request, S3Response, S3Result};
use squall_objects::{Listed, Listing, ObjectEntry, Page};

use super::buckets::owner;
use super::{Face, attributes, body, error};

/// The most entries of a page.
const ENTRIES_MAX: i32 = 1000;
/// What a key keeps where it is encoded, as S3 does it.
const IN_XML: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'*')
    .remove(b'/');

/// Writes keys as the client asked for them.
#[derive(Clone, Copy)]
pub(super) struct Encode(bool);

impl Encode {
    pub(super) fn of(encoding: Option<&EncodingType>) -> S3Result<Self> {
        match encoding.map(EncodingType::as_str) {
            None => Ok(Self(false)),
            Some(EncodingType::URL) => Ok(Self(true)),
            Some(_) => Err(error::invalid("Invalid Encoding Method specified in Request")),
        }
    }

    pub(super) fn text(self, key: &str) -> String {
        match self.0 {
            true => utf8_percent_encode(key, IN_XML).to_string(),
            false => key.to_owned(),
        }
    }

    pub(super) fn prefix(self, prefix: &str) -> CommonPrefix {
        CommonPrefix {
            prefix: Some(self.text(prefix)),
        }
    }
}

/// How many entries are asked for.
pub(super) fn limit(said: Option<i32>, name: &str) -> S3Result<usize> {
    let count = said.unwrap_or(ENTRIES_MAX).min(ENTRIES_MAX);
    usize::try_from(count).map_err(|_| {
        error::invalid(format!(
            "Argument {name} must be an integer between 0 and 2147483647"
        ))
    })
}

/// What a page has, as both versions write it.
struct Shaped {
    contents: Vec<Object>,
    prefixes: Vec<CommonPrefix>,
    last: Option<String>,
    has_more: bool,
}

impl Face {
    pub(super) async fn list_v1(
        &self,
        request: S3Request<ListObjectsInput>,
    ) -> S3Result<S3Response<ListObjectsOutput>> {
        let input = request.input;
        let encode = Encode::of(input.encoding_type.as_ref())?;
        let text = |part: &Option<String>| part.clone().unwrap_or_default();
        let (prefix, delimiter, marker) = (text(&input.prefix), text(&input.delimiter), text(&input.marker));
        let limit = limit(input.max_keys, "maxKeys")?;
        let shaped = self
            .page(
                &input.bucket,
                (&prefix, &delimiter, &marker),
                limit,
                (encode, true),
            )
            .await?;
        // S3 tells the next marker where keys are rolled up; elsewhere clients take the last key. It never hurts.
        let next = shaped
            .last
            .filter(|_| shaped.has_more)
            .map(|last| encode.text(&last));
        Ok(S3Response::new(ListObjectsOutput {
            name: Some(input.bucket),
            prefix: Some(encode.text(&prefix)),
            marker: Some(encode.text(&marker)),
            max_keys: Some(i32::try_from(limit).unwrap_or(ENTRIES_MAX)),
            is_truncated: Some(shaped.has_more),
            contents: Some(shaped.contents),
            common_prefixes: Some(shaped.prefixes),
            delimiter: input.delimiter.map(|delimiter| encode.text(&delimiter)),
            next_marker: next,
            encoding_type: input.encoding_type,
            request_charged: None,
        }))
    }

    pub(super) async fn list_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input;
        let encode = Encode::of(input.encoding_type.as_ref())?;
        let text = |part: &Option<String>| part.clone().unwrap_or_default();
        let (prefix, delimiter) = (text(&input.prefix), text(&input.delimiter));
        let after = match &input.continuation_token {
            Some(token) => read_token(token)?,
            None => text(&input.start_after),
        };
        let limit = limit(input.max_keys, "maxKeys")?;
        let with_owner = input.fetch_owner == Some(true);
        let shaped = self
            .page(
                &input.bucket,
                (&prefix, &delimiter, &after),
                limit,
                (encode, with_owner),
            )
            .await?;
        let count = shaped.contents.len() + shaped.prefixes.len();
        let next = shaped
            .last
            .filter(|_| shaped.has_more)
            .map(|last| URL_SAFE_NO_PAD.encode(last));
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: Some(encode.text(&prefix)),
            max_keys: Some(i32::try_from(limit).unwrap_or(ENTRIES_MAX)),
            key_count: i32::try_from(count).ok(),
            continuation_token: input.continuation_token,
            is_truncated: Some(shaped.has_more),
            next_continuation_token: next,
            contents: Some(shaped.contents),
            common_prefixes: Some(shaped.prefixes),
            delimiter: input.delimiter.map(|delimiter| encode.text(&delimiter)),
            encoding_type: input.encoding_type,
            start_after: input.start_after.map(|after| encode.text(&after)),
            request_charged: None,
        }))
    }

    async fn page(
        &self,
        bucket: &str,
        (prefix, delimiter, after): (&str, &str, &str),
        limit: usize,
        (encode, with_owner): (Encode, bool),
    ) -> S3Result<Shaped> {
        let listing = Listing {
            prefix,
            delimiter,
            after,
            limit,
        };
        let page = match limit {
            // Nothing is asked for, so nothing is left out.
            0 => self.objects().check_bucket(bucket).map(|()| Page {
                entries: Vec::new(),
                has_more: false,
            }),
            _ => self.objects().list(bucket, listing).await,
        };
        let page = page.map_err(error::of)?;
        let mut shaped = Shaped {
            contents: Vec::new(),
            prefixes: Vec::new(),
            last: None,
            has_more: page.has_more,
        };
        for entry in page.entries {
            match entry {
                Listed::One(ObjectEntry { key, record }) => {
                    shaped.contents.push(Object {
                        checksum_algorithm: record
                            .checksum
                            .as_ref()
                            .map(|checksum| vec![checksum.algorithm.name().to_owned().into()]),
                        checksum_type: record.checksum.as_ref().map(body::kind),
                        e_tag: Some(attributes::etag(&record.etag)),
                        key: Some(encode.text(&key)),
                        last_modified: Some(attributes::time(record.modified_ms)),
                        owner: with_owner.then(|| owner(self.home())),
                        restore_status: None,
                        size: i64::try_from(record.bytes).ok(),
                        storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
                    });
                    shaped.last = Some(key);
                }
                Listed::Prefix(prefix) => {
                    shaped.prefixes.push(encode.prefix(&prefix));
                    shaped.last = Some(prefix);
                }
            }
        }
        Ok(shaped)
    }
}

fn read_token(token: &str) -> S3Result<String> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    text.ok_or_else(|| error::invalid("The continuation token provided is incorrect"))
}
