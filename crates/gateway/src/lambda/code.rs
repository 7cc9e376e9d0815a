//! A function's code: what the request brings, or an object that the caller may read.

use squall_objects::ObjectsError;
use squall_registry::CodeSource;

use super::Call;
use super::input::{Code, Package};
use crate::authorize::Asked;
use crate::error::ApiError;
use crate::s3;

/// The largest package, as of one that comes with its request.
const PACKAGE_BYTES_MAX: u64 = 52_428_800;

impl Call<'_> {
    pub(super) async fn code(&self, code: Code) -> Result<CodeSource, ApiError> {
        match code.package()? {
            Package::Sent(zip) => Ok(CodeSource::Zip(zip)),
            Package::Object { bucket, key } => self.code_of_object(&bucket, &key).await,
        }
    }

    async fn code_of_object(&self, bucket: &str, key: &str) -> Result<CodeSource, ApiError> {
        let arn = format!("{}/{key}", squall_objects::arn(bucket));
        self.caller
            .permit(self.gateway, &Asked::on("s3:GetObject", arn))?;
        let refused = |code: &str, message: &str| {
            ApiError::invalid_parameter(format!(
                "Error occurred while GetObject. S3 Error Code: {code}. S3 Error Message: {message}"
            ))
        };
        match s3::whole(self.gateway, (bucket, key), PACKAGE_BYTES_MAX).await {
            Ok(Some(zip)) => Ok(CodeSource::Zip(zip)),
            Ok(None) => Err(ApiError::invalid_parameter(format!(
                "Zipped size must be smaller than {PACKAGE_BYTES_MAX} bytes"
            ))),
            Err(error @ ObjectsError::NoSuchKey) => Err(refused("NoSuchKey", &error.to_string())),
            Err(error @ ObjectsError::NoSuchBucket) => Err(refused("NoSuchBucket", &error.to_string())),
            Err(ObjectsError::Platform(details)) => Err(ApiError::platform(details)),
            Err(error) => Err(refused("InvalidRequest", &error.to_string())),
        }
    }
}
