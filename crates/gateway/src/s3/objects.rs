//! Objects: put, get, head, copy, delete.

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use http::StatusCode;
use s3s::dto::{
    ChecksumMode, CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopySource, DeleteObjectInput,
    DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, DeletedObject, ETagCondition, Error,
    GetObjectInput, GetObjectOutput, HeadObjectInput, HeadObjectOutput, MetadataDirective, PutObjectInput,
    PutObjectOutput, Range, TaggingDirective, Timestamp,
};
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};
use squall_objects::{Found, NewObject, ObjectRecord, ObjectsError, Reading};

use super::attributes::{self, said, tell};
use super::body::{self, Coming, sums, tell_sum};
use super::{Face, caller, error, object_arn};
use crate::authenticate::Authentic;
use crate::gateway::Gateway;

/// How often an object that changes between being found and being opened is found anew.
const ATTEMPTS_MAX: usize = 100;
/// The most keys of a DeleteObjects, and how many are deleted at once.
const KEYS_MAX: usize = 1000;
const DELETED_AT_ONCE: usize = 64;

/// What conditional headers demand of an object that is read.
pub(super) struct Wishes<'a> {
    pub(super) if_match: Option<&'a ETagCondition>,
    pub(super) if_none_match: Option<&'a ETagCondition>,
    pub(super) if_modified_since: Option<&'a Timestamp>,
    pub(super) if_unmodified_since: Option<&'a Timestamp>,
}

impl Wishes<'_> {
    /// Checks them in the order of RFC 9110, 13.2.2. `is_copy`: what is not modified is a refusal, too.
    pub(super) fn check(&self, record: &ObjectRecord, is_copy: bool) -> S3Result<()> {
        let fits =
            |condition: &ETagCondition| condition.as_etag().is_none_or(|etag| etag.value() == record.etag);
        // HTTP's dates have no fractions.
        let modified = attributes::time(record.modified_ms.div_euclid(1000) * 1000);
        let failed = || {
            s3_error!(
                PreconditionFailed,
                "At least one of the pre-conditions you specified did not hold"
            )
        };
        let unmodified = match is_copy {
            true => failed(),
            false => not_modified(record),
        };
        match self.if_match {
            Some(condition) if !fits(condition) => return Err(failed()),
            None if self.if_unmodified_since.is_some_and(|since| modified > *since) => return Err(failed()),
            _ => {}
        }
        match self.if_none_match {
            Some(condition) if fits(condition) => Err(unmodified),
            None if self.if_modified_since.is_some_and(|since| modified <= *since) => Err(unmodified),
            _ => Ok(()),
        }
    }
}

fn not_modified(record: &ObjectRecord) -> S3Error {
    let mut error = S3Error::new(S3ErrorCode::NotModified);
    if let Ok(etag) = attributes::etag(&record.etag).to_http_header() {
        error.set_headers([(http::header::ETAG, etag)].into_iter().collect());
    }
    error
}

/// Which bytes a request asks for, and how the answer names them.
fn bytes_asked(
    record: &ObjectRecord,
    range: Option<Range>,
    part: Option<i32>,
) -> S3Result<(std::ops::Range<u64>, Option<String>)> {
    let unsatisfiable = || {
        let mut error = s3_error!(InvalidRange, "The requested range is not satisfiable");
        if let Ok(value) = format!("bytes */{}", record.bytes).parse() {
            error.set_headers([(http::header::CONTENT_RANGE, value)].into_iter().collect());
        }
        error
    };
    let asked = match (range, part) {
        (Some(_), Some(_)) => {
            return Err(s3_error!(
                InvalidRequest,
                "Cannot specify both Range header and partNumber query parameter"
            ));
        }
        (None, None) => return Ok((0..record.bytes, None)),
        (Some(range), None) => range.check(record.bytes).map_err(|_| unsatisfiable())?,
        (None, Some(number)) => {
            let number = usize::try_from(number).unwrap_or(0);
            let whole = (number == 1 && record.parts().is_none()).then_some(0..record.bytes);
            let part = whole.or_else(|| record.parts().and_then(|_| record.part(number)));
            part.ok_or_else(|| {
                let text = "The requested partnumber is not satisfiable";
                error::custom("InvalidPartNumber", StatusCode::RANGE_NOT_SATISFIABLE, text)
            })?
        }
    };
    if asked.is_empty() {
        return Ok((asked, None));
    }
    let told = format!("bytes {}-{}/{}", asked.start, asked.end - 1, record.bytes);
    Ok((asked, Some(told)))
}

/// The object that a copy is made of. Others than those of a bucket by its name are not offered.
pub(super) fn source(source: &CopySource) -> S3Result<(&str, &str)> {
    match source {
        CopySource::Bucket {
            bucket,
            key,
            version_id,
        } => match version_id.as_deref() {
            None | Some("null") => Ok((bucket, key)),
            Some(_) => Err(error::invalid("Invalid version id specified")),
        },
        _ => Err(error::unsupported("Copying from an access point")),
    }
}

/// What of an object whose checksum was asked for is told: nothing of a part of its bytes.
fn checksum_asked<'r>(
    record: &'r ObjectRecord,
    mode: Option<&ChecksumMode>,
    is_whole: bool,
) -> Option<&'r squall_objects::Checksum> {
    let is_asked = mode.is_some_and(|mode| mode.as_str() == ChecksumMode::ENABLED);
    record.checksum.as_ref().filter(|_| is_asked && is_whole)
}

fn count(number: usize) -> Option<i32> {
    i32::try_from(number).ok()
}

fn length(bytes: u64) -> Option<i64> {
    i64::try_from(bytes).ok()
}

impl Face {
    pub(super) async fn get(
        &self,
        request: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        let input = request.input;
        let wishes = Wishes {
            if_match: input.if_match.as_ref(),
            if_none_match: input.if_none_match.as_ref(),
            if_modified_since: input.if_modified_since.as_ref(),
            if_unmodified_since: input.if_unmodified_since.as_ref(),
        };
        let (bucket, key) = (&input.bucket, &input.key);
        for _ in 0..ATTEMPTS_MAX {
            let found = self.objects().get(bucket, key).await.map_err(error::of)?;
            wishes.check(&found.record, false)?;
            let (bytes, told) = bytes_asked(&found.record, input.range, input.part_number)?;
            let read = self.objects().read(bucket, key, &found, bytes.clone()).await;
            let Some(reading) = read.map_err(error::of)? else {
                continue;
            };
            let record = &found.record;
            let mut output = GetObjectOutput {
                content_length: length(bytes.end - bytes.start),
                parts_count: input.part_number.and_then(|_| record.parts()).and_then(count),
                tag_count: count(record.attributes.tags.len()).filter(|tags| *tags > 0),
                ..GetObjectOutput::default()
            };
            tell!(output, record);
            let checksum = checksum_asked(record, input.checksum_mode.as_ref(), told.is_none());
            output.checksum_type = checksum.map(body::kind);
            tell_sum!(output, checksum);
            output.content_range = told;
            output.body = Some(body::outgoing(reading));
            return Ok(S3Response::new(output));
        }
        Err(error::of(ObjectsError::Busy))
    }

    pub(super) async fn look_at(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let input = request.input;
        let wishes = Wishes {
            if_match: input.if_match.as_ref(),
            if_none_match: input.if_none_match.as_ref(),
            if_modified_since: input.if_modified_since.as_ref(),
            if_unmodified_since: input.if_unmodified_since.as_ref(),
        };
        let found = self
            .objects()
            .get(&input.bucket, &input.key)
            .await
            .map_err(error::of)?;
        let record = &found.record;
        wishes.check(record, false)?;
        let (bytes, told) = bytes_asked(record, input.range, input.part_number)?;
        let mut output = HeadObjectOutput {
            content_length: length(bytes.end - bytes.start),
            parts_count: input.part_number.and_then(|_| record.parts()).and_then(count),
            ..HeadObjectOutput::default()
        };
        tell!(output, record);
        let checksum = checksum_asked(record, input.checksum_mode.as_ref(), told.is_none());
        output.checksum_type = checksum.map(body::kind);
        tell_sum!(output, checksum);
        let is_part = told.is_some();
        output.content_range = told;
        let mut response = S3Response::new(output);
        if is_part {
            response.status = Some(StatusCode::PARTIAL_CONTENT);
        }
        Ok(response)
    }

    pub(super) async fn put(
        &self,
        mut request: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        let caller = caller(&request)?;
        let input = &mut request.input;
        if input.tagging.is_some() {
            self.permit_tags(&caller, &input.bucket, &input.key)?;
        }
        let new = NewObject {
            attributes: said!(input).attributes()?,
            condition: attributes::condition(input.if_match.as_ref(), input.if_none_match.as_ref())?,
            origin: self.origin(&caller),
        };
        let (bucket, key) = (input.bucket.clone(), input.key.clone());
        self.objects()
            .check_put(&bucket, &key, &new.condition)
            .await
            .map_err(error::of)?;
        let coming = Coming {
            body: input.body.take(),
            bytes: input.content_length,
            md5: input.content_md5.take(),
            sums: sums!(input),
            algorithm: body::algorithm(input.checksum_algorithm.as_ref())?,
            trailers: request.trailing_headers.take(),
        };
        let received = coming.receive(self.objects(), &request.headers).await?;
        let put = self.objects().put(&bucket, &key, received, new).await;
        let record = put.map_err(error::of)?;
        let mut output = PutObjectOutput {
            checksum_type: record.checksum.as_ref().map(body::kind),
            e_tag: Some(attributes::etag(&record.etag)),
            ..PutObjectOutput::default()
        };
        tell_sum!(output, &record.checksum);
        Ok(S3Response::new(output))
    }

    pub(super) async fn copy(
        &self,
        mut request: S3Request<CopyObjectInput>,
    ) -> S3Result<S3Response<CopyObjectOutput>> {
        let caller = caller(&request)?;
        let input = &mut request.input;
        let (from_bucket, from_key) = source(&input.copy_source)?;
        self.permit(&caller, "s3:GetObject", object_arn(from_bucket, from_key))?;
        let found = self
            .objects()
            .get(from_bucket, from_key)
            .await
            .map_err(error::of)?;
        let wishes = Wishes {
            if_match: input.copy_source_if_match.as_ref(),
            if_none_match: input.copy_source_if_none_match.as_ref(),
            if_modified_since: input.copy_source_if_modified_since.as_ref(),
            if_unmodified_since: input.copy_source_if_unmodified_since.as_ref(),
        };
        wishes.check(&found.record, true)?;
        let is = |directive: Option<&str>| directive == Some("REPLACE");
        let anew = is(input.metadata_directive.as_ref().map(MetadataDirective::as_str));
        let tags_anew = is(input.tagging_directive.as_ref().map(TaggingDirective::as_str));
        let said = said!(input).attributes()?;
        let same = (from_bucket, from_key) == (input.bucket.as_str(), input.key.as_str());
        if same && !anew && !tags_anew {
            return Err(s3_error!(
                InvalidRequest,
                "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes."
            ));
        }
        let mut kept = found.record.attributes.clone();
        if tags_anew {
            self.permit_tags(&caller, &input.bucket, &input.key)?;
            kept.tags.clone_from(&said.tags);
        }
        if anew {
            kept.headers = said.headers;
            kept.metadata = said.metadata;
        }
        let new = NewObject {
            attributes: kept,
            condition: squall_objects::Condition::default(),
            origin: self.origin(&caller),
        };
        let algorithm = body::algorithm(input.checksum_algorithm.as_ref())?;
        let (from, to) = (
            (from_bucket, from_key),
            (input.bucket.as_str(), input.key.as_str()),
        );
        let copied = self.objects().copy(from, &found, to, new, algorithm).await;
        let record = copied.map_err(error::of)?;
        let mut result = CopyObjectResult {
            e_tag: Some(attributes::etag(&record.etag)),
            last_modified: Some(attributes::time(record.modified_ms)),
            checksum_type: record.checksum.as_ref().map(body::kind),
            ..CopyObjectResult::default()
        };
        tell_sum!(result, &record.checksum);
        Ok(S3Response::new(CopyObjectOutput {
            copy_object_result: Some(result),
            ..CopyObjectOutput::default()
        }))
    }

    pub(super) async fn delete(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        let caller = caller(&request)?;
        let input = request.input;
        if input.if_match.is_some()
            || input.if_match_size.is_some()
            || input.if_match_last_modified_time.is_some()
        {
            return Err(error::unsupported("A conditional DeleteObject"));
        }
        let deleted = self
            .objects()
            .delete(&input.bucket, &input.key, self.origin(&caller))
            .await;
        deleted.map_err(error::of)?;
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    pub(super) async fn delete_many(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let caller = caller(&request)?;
        let input = request.input;
        if input.delete.objects.len() > KEYS_MAX || input.delete.objects.is_empty() {
            return Err(s3_error!(
                MalformedXML,
                "The XML you provided was not well-formed or did not validate against our published schema"
            ));
        }
        let (bucket, caller) = (&input.bucket, &caller);
        let one = |wanted: s3s::dto::ObjectIdentifier| async move {
            let deleted = self.delete_one(caller, bucket, &wanted).await;
            (wanted.key, deleted)
        };
        let each = futures_util::stream::iter(input.delete.objects).map(one);
        let mut each = std::pin::pin!(each.buffered(DELETED_AT_ONCE));
        let (mut deleted, mut errors) = (Vec::new(), Vec::new());
        while let Some((key, done)) = each.next().await {
            match done {
                Ok(()) if input.delete.quiet == Some(true) => {}
                Ok(()) => deleted.push(DeletedObject {
                    key: Some(key),
                    ..DeletedObject::default()
                }),
                Err(error) => errors.push(Error {
                    code: Some(error.code().as_str().to_owned()),
                    message: error.message().map(str::to_owned),
                    key: Some(key),
                    version_id: None,
                }),
            }
        }
        Ok(S3Response::new(DeleteObjectsOutput {
            deleted: Some(deleted),
            errors: Some(errors),
            request_charged: None,
        }))
    }

    async fn delete_one(
        &self,
        caller: &Authentic,
        bucket: &str,
        wanted: &s3s::dto::ObjectIdentifier,
    ) -> S3Result<()> {
        self.permit(caller, "s3:DeleteObject", object_arn(bucket, &wanted.key))?;
        if wanted
            .version_id
            .as_deref()
            .is_some_and(|version| version != "null")
        {
            return Err(s3_error!(NoSuchVersion, "The specified version does not exist."));
        }
        if wanted.e_tag.is_some() || wanted.size.is_some() || wanted.last_modified_time.is_some() {
            return Err(error::unsupported("A conditional deletion"));
        }
        let deleted = self
            .objects()
            .delete(bucket, &wanted.key, self.origin(caller))
            .await;
        deleted.map_err(error::of)
    }
}

/// All bytes of an object, for those who need them in memory. `None` where they are more than `bytes_max`.
///
/// # Errors
/// As the engine says.
pub(crate) async fn whole(
    gateway: &Gateway,
    (bucket, key): (&str, &str),
    bytes_max: u64,
) -> Result<Option<Bytes>, ObjectsError> {
    let objects = &gateway.engines.objects;
    for _ in 0..ATTEMPTS_MAX {
        let found: Found = objects.get(bucket, key).await?;
        if found.record.bytes > bytes_max {
            return Ok(None);
        }
        if let Some(reading) = objects.read(bucket, key, &found, 0..found.record.bytes).await? {
            return collect(reading).await.map(Some);
        }
    }
    Err(ObjectsError::Busy)
}

async fn collect(mut reading: Reading) -> Result<Bytes, ObjectsError> {
    let mut bytes = BytesMut::new();
    while let Some(piece) = reading.next().await {
        let piece =
            piece.map_err(|error| ObjectsError::Platform(format!("could not read a body: {error}")))?;
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes.freeze())
}
