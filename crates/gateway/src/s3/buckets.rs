//! Buckets.

use s3s::dto::{
    Bucket, BucketLocationConstraint, CreateBucketInput, CreateBucketOutput, DeleteBucketInput,
    DeleteBucketOutput, GetBucketLocationInput, GetBucketLocationOutput, HeadBucketInput, HeadBucketOutput,
    ListBucketsInput, ListBucketsOutput, Owner,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};
use squall_types::Home;

use super::{Face, attributes, error};

/// The region whose name S3 does not tell.
const REGION_UNNAMED: &str = "us-east-1";
const BUCKETS_PER_PAGE: usize = 10_000;

/// Who owns all buckets.
pub(super) fn owner(home: &Home) -> Owner {
    Owner {
        display_name: None,
        id: Some(home.account.clone()),
    }
}

impl Face {
    pub(super) async fn make_bucket(
        &self,
        request: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        let input = request.input;
        let configuration = input.create_bucket_configuration.unwrap_or_default();
        if configuration.bucket.is_some() || configuration.location.is_some() {
            return Err(error::unsupported("A directory bucket"));
        }
        let region = configuration.location_constraint;
        let region = region
            .as_ref()
            .map_or(REGION_UNNAMED, BucketLocationConstraint::as_str);
        if region != self.home().region {
            return Err(s3_error!(
                IllegalLocationConstraintException,
                "The {region} location constraint is incompatible for the region specific endpoint this request was sent to."
            ));
        }
        self.objects()
            .create_bucket(&input.bucket, Vec::new())
            .await
            .map_err(error::of)?;
        Ok(S3Response::new(CreateBucketOutput {
            location: Some(format!("/{}", input.bucket)),
        }))
    }

    pub(super) async fn drop_bucket(
        &self,
        request: S3Request<DeleteBucketInput>,
    ) -> S3Result<S3Response<DeleteBucketOutput>> {
        self.objects()
            .delete_bucket(&request.input.bucket)
            .await
            .map_err(error::of)?;
        Ok(S3Response::new(DeleteBucketOutput {}))
    }

    pub(super) fn look_at_bucket(
        &self,
        request: &S3Request<HeadBucketInput>,
    ) -> S3Result<S3Response<HeadBucketOutput>> {
        self.objects()
            .check_bucket(&request.input.bucket)
            .map_err(error::of)?;
        Ok(S3Response::new(HeadBucketOutput {
            bucket_region: Some(self.home().region.clone()),
            ..HeadBucketOutput::default()
        }))
    }

    pub(super) fn locate_bucket(
        &self,
        request: &S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        self.objects()
            .check_bucket(&request.input.bucket)
            .map_err(error::of)?;
        let region = &self.home().region;
        let told = (region != REGION_UNNAMED).then(|| BucketLocationConstraint::from(region.clone()));
        Ok(S3Response::new(GetBucketLocationOutput {
            location_constraint: told,
        }))
    }

    pub(super) fn name_buckets(
        &self,
        request: S3Request<ListBucketsInput>,
    ) -> S3Result<S3Response<ListBucketsOutput>> {
        let input = request.input;
        let limit = usize::try_from(input.max_buckets.unwrap_or(10_000))
            .unwrap_or(0)
            .min(BUCKETS_PER_PAGE);
        if limit == 0 {
            return Err(error::invalid("max-buckets must be between 1 and 10000"));
        }
        let after = input.continuation_token.unwrap_or_default();
        let prefix = input.prefix.clone().unwrap_or_default();
        let elsewhere = input
            .bucket_region
            .is_some_and(|region| region != self.home().region);
        let mut all = self.objects().list_buckets().into_iter();
        let mut fitting = all
            .by_ref()
            .filter(|bucket| !elsewhere && bucket.name > after && bucket.name.starts_with(&prefix));
        let page: Vec<_> = fitting.by_ref().take(limit).collect();
        let has_more = fitting.next().is_some();
        let last = page.last().map(|bucket| bucket.name.clone());
        let buckets = page.into_iter().map(|bucket| Bucket {
            bucket_region: Some(self.home().region.clone()),
            creation_date: Some(attributes::time(bucket.created_ms)),
            name: Some(bucket.name),
        });
        Ok(S3Response::new(ListBucketsOutput {
            buckets: Some(buckets.collect()),
            continuation_token: last.filter(|_| has_more),
            owner: Some(owner(self.home())),
            prefix: input.prefix,
        }))
    }
}
