//! Tags of objects and buckets.

use s3s::dto::{
    DeleteBucketTaggingInput, DeleteBucketTaggingOutput, DeleteObjectTaggingInput, DeleteObjectTaggingOutput,
    GetBucketTaggingInput, GetBucketTaggingOutput, GetObjectTaggingInput, GetObjectTaggingOutput,
    PutBucketTaggingInput, PutBucketTaggingOutput, PutObjectTaggingInput, PutObjectTaggingOutput, Tag,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::{Face, error};

type Tags = Vec<(String, String)>;

const OBJECT_TAGS_MAX: usize = 10;
const BUCKET_TAGS_MAX: usize = 50;
const NAME_CHARS_MAX: usize = 128;
const VALUE_CHARS_MAX: usize = 256;

/// Tags from the header `x-amz-tagging`: a form.
pub(super) fn of_header(text: &str) -> S3Result<Tags> {
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        percent_encoding::percent_decode_str(&text)
            .decode_utf8()
            .map(std::borrow::Cow::into_owned)
    };
    let mut tags = Tags::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match (decode(name), decode(value)) {
            (Ok(name), Ok(value)) => tags.push((name, value)),
            _ => return Err(s3_error!(InvalidTag, "The header 'x-amz-tagging' is not UTF-8")),
        }
    }
    check(tags, OBJECT_TAGS_MAX)
}

fn of_set(set: Vec<Tag>, count_max: usize) -> S3Result<Tags> {
    let tags = set
        .into_iter()
        .map(|tag| (tag.key.unwrap_or_default(), tag.value.unwrap_or_default()));
    check(tags.collect(), count_max)
}

fn check(tags: Tags, count_max: usize) -> S3Result<Tags> {
    if tags.len() > count_max {
        let text = format!("There may be at most {count_max} tags");
        return Err(error::custom("BadRequest", http::StatusCode::BAD_REQUEST, text));
    }
    for (place, (name, value)) in tags.iter().enumerate() {
        if name.is_empty() || name.chars().count() > NAME_CHARS_MAX || value.chars().count() > VALUE_CHARS_MAX
        {
            return Err(s3_error!(
                InvalidTag,
                "A tag has a key of 1 to {NAME_CHARS_MAX} characters, and a value of at most {VALUE_CHARS_MAX}"
            ));
        }
        if tags[..place].iter().any(|(other, _)| other == name) {
            return Err(s3_error!(
                InvalidTag,
                "Cannot provide multiple Tags with the same key"
            ));
        }
    }
    Ok(tags)
}

fn set(tags: Tags) -> Vec<Tag> {
    let tag = |(name, value)| Tag {
        key: Some(name),
        value: Some(value),
    };
    tags.into_iter().map(tag).collect()
}

impl Face {
    pub(super) async fn get_tags(
        &self,
        request: S3Request<GetObjectTaggingInput>,
    ) -> S3Result<S3Response<GetObjectTaggingOutput>> {
        let input = request.input;
        let found = self
            .objects()
            .get(&input.bucket, &input.key)
            .await
            .map_err(error::of)?;
        Ok(S3Response::new(GetObjectTaggingOutput {
            tag_set: set(found.record.attributes.tags),
            version_id: None,
        }))
    }

    pub(super) async fn put_tags(
        &self,
        request: S3Request<PutObjectTaggingInput>,
    ) -> S3Result<S3Response<PutObjectTaggingOutput>> {
        let input = request.input;
        let tags = of_set(input.tagging.tag_set, OBJECT_TAGS_MAX)?;
        let written = self.objects().set_tags(&input.bucket, &input.key, tags).await;
        written.map_err(error::of)?;
        Ok(S3Response::new(PutObjectTaggingOutput::default()))
    }

    pub(super) async fn delete_tags(
        &self,
        request: S3Request<DeleteObjectTaggingInput>,
    ) -> S3Result<S3Response<DeleteObjectTaggingOutput>> {
        let input = request.input;
        let written = self
            .objects()
            .set_tags(&input.bucket, &input.key, Tags::new())
            .await;
        written.map_err(error::of)?;
        Ok(S3Response::new(DeleteObjectTaggingOutput::default()))
    }

    pub(super) fn get_bucket_tags(
        &self,
        request: &S3Request<GetBucketTaggingInput>,
    ) -> S3Result<S3Response<GetBucketTaggingOutput>> {
        let tags = self
            .objects()
            .bucket_tags(&request.input.bucket)
            .map_err(error::of)?;
        if tags.is_empty() {
            return Err(s3_error!(NoSuchTagSet, "The TagSet does not exist"));
        }
        Ok(S3Response::new(GetBucketTaggingOutput { tag_set: set(tags) }))
    }

    pub(super) async fn put_bucket_tags(
        &self,
        request: S3Request<PutBucketTaggingInput>,
    ) -> S3Result<S3Response<PutBucketTaggingOutput>> {
        let tags = of_set(request.input.tagging.tag_set, BUCKET_TAGS_MAX)?;
        let written = self.objects().set_bucket_tags(&request.input.bucket, tags).await;
        written.map_err(error::of)?;
        Ok(S3Response::new(PutBucketTaggingOutput {}))
    }

    pub(super) async fn delete_bucket_tags(
        &self,
        request: S3Request<DeleteBucketTaggingInput>,
    ) -> S3Result<S3Response<DeleteBucketTaggingOutput>> {
        let written = self
            .objects()
            .set_bucket_tags(&request.input.bucket, Tags::new())
            .await;
        written.map_err(error::of)?;
        Ok(S3Response::new(DeleteBucketTaggingOutput {}))
    }
}
