//! Multipart uploads.

use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, CompleteMultipartUploadInput,
    CompleteMultipartUploadOutput, CompletedPart, CopyPartResult, CreateMultipartUploadInput,
    CreateMultipartUploadOutput, ETag, Initiator, ListMultipartUploadsInput, ListMultipartUploadsOutput,
    ListPartsInput, ListPartsOutput, MultipartUpload, Part, Range, StorageClass, UploadPartCopyInput,
    UploadPartCopyOutput, UploadPartInput, UploadPartOutput,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};
use squall_objects::{
    ChecksumKind, Complete, CompletePart, Listed, Listing, NewUpload, PART_NUMBER_MAX, UploadId,
};

use super::attributes::{self, said};
use super::body::{self, Coming, sums, tell_sum};
use super::buckets::owner;
use super::list::{Encode, limit};
use super::{Face, caller, error, object_arn, objects};
use crate::scheme::Scheme;

fn id(text: &str) -> S3Result<UploadId> {
    text.parse().map_err(error::of)
}

fn number(said: i32) -> S3Result<u16> {
    let number = u16::try_from(said)
        .ok()
        .filter(|number| (1..=PART_NUMBER_MAX).contains(number));
    number.ok_or_else(|| {
        error::invalid(format!(
            "Part number must be an integer between 1 and {PART_NUMBER_MAX}, inclusive"
        ))
    })
}

fn kind(said: Option<&s3s::dto::ChecksumType>) -> Option<ChecksumKind> {
    said.map(|kind| match kind.as_str() {
        s3s::dto::ChecksumType::FULL_OBJECT => ChecksumKind::FullObject,
        _ => ChecksumKind::Composite,
    })
}

fn part(mut said: CompletedPart) -> S3Result<CompletePart> {
    let malformed = || s3_error!(MalformedXML, "A part has a PartNumber and an ETag");
    let checksum = body::one_sum(sums!(said))?;
    Ok(CompletePart {
        number: number(said.part_number.ok_or_else(malformed)?)?,
        etag: said.e_tag.map(ETag::into_value).ok_or_else(malformed)?,
        checksum: checksum.map(|(_, value)| value),
    })
}

impl Face {
    pub(super) async fn begin_upload(
        &self,
        mut request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let caller = caller(&request)?;
        let input = &mut request.input;
        if input.tagging.is_some() {
            self.permit_tags(&caller, &input.bucket, &input.key)?;
        }
        let new = NewUpload {
            attributes: said!(input).attributes()?,
            algorithm: body::algorithm(input.checksum_algorithm.as_ref())?,
            kind: kind(input.checksum_type.as_ref()),
        };
        let begun = self.objects().create_upload(&input.bucket, &input.key, new).await;
        let id = begun.map_err(error::of)?;
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(input.bucket.clone()),
            key: Some(input.key.clone()),
            upload_id: Some(id.to_string()),
            checksum_algorithm: input.checksum_algorithm.take(),
            checksum_type: input.checksum_type.take(),
            ..CreateMultipartUploadOutput::default()
        }))
    }

    pub(super) async fn take_part(
        &self,
        mut request: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        let input = &mut request.input;
        let (bucket, key) = (input.bucket.clone(), input.key.clone());
        let (id, number) = (id(&input.upload_id)?, number(input.part_number)?);
        let upload = self
            .objects()
            .upload(&bucket, &key, id)
            .await
            .map_err(error::of)?;
        let coming = Coming {
            body: input.body.take(),
            bytes: input.content_length,
            md5: input.content_md5.take(),
            sums: sums!(input),
            algorithm: upload.algorithm,
            trailers: request.trailing_headers.take(),
        };
        let received = coming.receive(self.objects(), &request.headers).await?;
        let put = self
            .objects()
            .put_part((&bucket, &key), id, number, received)
            .await;
        let part = put.map_err(error::of)?;
        let mut output = UploadPartOutput {
            e_tag: Some(attributes::etag(&part.etag)),
            ..UploadPartOutput::default()
        };
        tell_sum!(output, &part.checksum);
        Ok(S3Response::new(output))
    }

    pub(super) async fn copy_part(
        &self,
        request: S3Request<UploadPartCopyInput>,
    ) -> S3Result<S3Response<UploadPartCopyOutput>> {
        let caller = caller(&request)?;
        let input = request.input;
        let from = objects::source(&input.copy_source)?;
        self.permit(&caller, "s3:GetObject", object_arn(from.0, from.1))?;
        let (id, number) = (id(&input.upload_id)?, number(input.part_number)?);
        let upload = self
            .objects()
            .upload(&input.bucket, &input.key, id)
            .await
            .map_err(error::of)?;
        let found = self.objects().get(from.0, from.1).await.map_err(error::of)?;
        let wishes = objects::Wishes {
            if_match: input.copy_source_if_match.as_ref(),
            if_none_match: input.copy_source_if_none_match.as_ref(),
            if_modified_since: input.copy_source_if_modified_since.as_ref(),
            if_unmodified_since: input.copy_source_if_unmodified_since.as_ref(),
        };
        wishes.check(&found.record, true)?;
        let bytes = found.record.bytes;
        let range = match &input.copy_source_range {
            None => 0..bytes,
            Some(text) => {
                let range = Range::parse(text).ok();
                let range = range
                    .filter(|range| matches!(range, Range::Int { last: Some(last), .. } if *last < bytes));
                let range = range.and_then(|range| range.check(bytes).ok());
                range.ok_or_else(|| {
                    error::invalid(format!(
                        "Range specified is not valid for source object of size: {bytes}"
                    ))
                })?
            }
        };
        let received = self
            .objects()
            .copy_part(from, &found, range, upload.algorithm)
            .await;
        let received = received.map_err(error::of)?;
        let put = self
            .objects()
            .put_part((&input.bucket, &input.key), id, number, received)
            .await;
        let part = put.map_err(error::of)?;
        let mut result = CopyPartResult {
            e_tag: Some(attributes::etag(&part.etag)),
            last_modified: Some(attributes::time(part.modified_ms)),
            ..CopyPartResult::default()
        };
        tell_sum!(result, &part.checksum);
        Ok(S3Response::new(UploadPartCopyOutput {
            copy_part_result: Some(result),
            ..UploadPartCopyOutput::default()
        }))
    }

    pub(super) async fn complete_upload(
        &self,
        mut request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let caller = caller(&request)?;
        let input = &mut request.input;
        let parts = input
            .multipart_upload
            .take()
            .and_then(|upload| upload.parts)
            .unwrap_or_default();
        let parts: Vec<CompletePart> = parts.into_iter().map(part).collect::<S3Result<_>>()?;
        if parts.is_empty() {
            return Err(s3_error!(
                MalformedXML,
                "The XML you provided was not well-formed or did not validate against our published schema"
            ));
        }
        let bytes = input.mpu_object_size.map(u64::try_from).transpose();
        let complete = Complete {
            parts,
            checksum: body::one_sum(sums!(input))?.map(|(_, value)| value),
            bytes: bytes.map_err(|_| error::invalid("Invalid x-amz-mp-object-size"))?,
            condition: attributes::condition(input.if_match.as_ref(), input.if_none_match.as_ref())?,
            origin: self.origin(&caller),
        };
        let (bucket, key) = (input.bucket.clone(), input.key.clone());
        let completed = self
            .objects()
            .complete_upload(&bucket, &key, id(&input.upload_id)?, complete)
            .await;
        let record = completed.map_err(error::of)?;
        let host = request
            .headers
            .get(http::header::HOST)
            .and_then(|host| host.to_str().ok())
            .unwrap_or("localhost");
        let scheme = Scheme::of(&request.extensions).as_str();
        let mut output = CompleteMultipartUploadOutput {
            location: Some(format!("{scheme}://{host}/{bucket}/{key}")),
            bucket: Some(bucket),
            key: Some(key),
            e_tag: Some(attributes::etag(&record.etag)),
            checksum_type: record.checksum.as_ref().map(body::kind),
            ..CompleteMultipartUploadOutput::default()
        };
        tell_sum!(output, &record.checksum);
        Ok(S3Response::new(output))
    }

    pub(super) async fn abort_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let input = request.input;
        let aborted = self
            .objects()
            .abort_upload(&input.bucket, &input.key, id(&input.upload_id)?)
            .await;
        aborted.map_err(error::of)?;
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }

    pub(super) async fn name_parts(
        &self,
        request: S3Request<ListPartsInput>,
    ) -> S3Result<S3Response<ListPartsOutput>> {
        let input = request.input;
        let id = id(&input.upload_id)?;
        let after = u16::try_from(input.part_number_marker.unwrap_or(0));
        let after = after.map_err(|_| error::invalid("Invalid part-number-marker"))?;
        let limit = limit(input.max_parts, "max-parts")?;
        let place = (input.bucket.as_str(), input.key.as_str());
        let upload = self
            .objects()
            .upload(place.0, place.1, id)
            .await
            .map_err(error::of)?;
        let (page, has_more) = self
            .objects()
            .list_parts(place, id, after, limit)
            .await
            .map_err(error::of)?;
        let last = page.last().map(|(number, _)| i32::from(*number));
        let parts = page.into_iter().map(|(number, record)| {
            let mut part = Part {
                e_tag: Some(attributes::etag(&record.etag)),
                last_modified: Some(attributes::time(record.modified_ms)),
                part_number: Some(i32::from(number)),
                size: i64::try_from(record.bytes()).ok(),
                ..Part::default()
            };
            tell_sum!(part, &record.checksum);
            part
        });
        Ok(S3Response::new(ListPartsOutput {
            parts: Some(parts.collect()),
            bucket: Some(input.bucket.clone()),
            key: Some(input.key.clone()),
            upload_id: Some(input.upload_id.clone()),
            checksum_algorithm: upload
                .algorithm
                .map(|algorithm| algorithm.name().to_owned().into()),
            is_truncated: Some(has_more),
            max_parts: i32::try_from(limit).ok(),
            part_number_marker: input.part_number_marker,
            next_part_number_marker: last.filter(|_| has_more),
            initiator: Some(Initiator {
                id: Some(self.home().account.clone()),
                display_name: None,
            }),
            owner: Some(owner(self.home())),
            storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
            ..ListPartsOutput::default()
        }))
    }

    pub(super) async fn name_uploads(
        &self,
        request: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        let input = request.input;
        let encode = Encode::of(input.encoding_type.as_ref())?;
        let text = |part: &Option<String>| part.clone().unwrap_or_default();
        let (prefix, delimiter, after) = (
            text(&input.prefix),
            text(&input.delimiter),
            text(&input.key_marker),
        );
        let marker = input
            .upload_id_marker
            .as_deref()
            .filter(|marker| !marker.is_empty());
        let after_id = marker.filter(|_| !after.is_empty()).map(id).transpose()?;
        let limit = limit(input.max_uploads, "max-uploads")?.max(1);
        let listing = Listing {
            prefix: &prefix,
            delimiter: &delimiter,
            after: &after,
            limit,
        };
        let page = self
            .objects()
            .list_uploads(&input.bucket, listing, after_id)
            .await
            .map_err(error::of)?;
        let mut output = ListMultipartUploadsOutput {
            is_truncated: Some(page.has_more),
            max_uploads: i32::try_from(limit).ok(),
            ..ListMultipartUploadsOutput::default()
        };
        let (mut uploads, mut prefixes, mut last) = (Vec::new(), Vec::new(), (String::new(), None));
        for entry in page.entries {
            match entry {
                Listed::One(upload) => {
                    last = (upload.key.clone(), Some(upload.id.to_string()));
                    uploads.push(MultipartUpload {
                        initiated: Some(attributes::time(upload.record.created_ms)),
                        key: Some(encode.text(&upload.key)),
                        upload_id: Some(upload.id.to_string()),
                        owner: Some(owner(self.home())),
                        storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
                        ..MultipartUpload::default()
                    });
                }
                Listed::Prefix(prefix) => {
                    prefixes.push(encode.prefix(&prefix));
                    last = (prefix, None);
                }
            }
        }
        if page.has_more {
            output.next_key_marker = Some(encode.text(&last.0));
            output.next_upload_id_marker = last.1;
        }
        output.uploads = Some(uploads);
        output.common_prefixes = Some(prefixes);
        output.bucket = Some(input.bucket);
        output.prefix = Some(encode.text(&prefix));
        output.delimiter = input.delimiter;
        output.key_marker = Some(encode.text(&after));
        output.upload_id_marker = input.upload_id_marker;
        output.encoding_type = input.encoding_type;
        Ok(S3Response::new(output))
    }
}
