//! Who may do what with S3: the keys, sessions and roles that all services have.

use std::sync::Arc;

use http::HeaderMap;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{S3Auth, SecretKey};
use s3s::path::S3Path;
use s3s::{S3Result, s3_error};

use super::error::{denied, invalid, unsupported};
use super::object_arn;
use crate::authenticate::Authentic;
use crate::authorize::Asked;
use crate::gateway::Gateway;

/// The secrets that signatures are verified with.
pub(super) struct Secrets(pub(super) Arc<Gateway>);

#[async_trait::async_trait]
impl S3Auth for Secrets {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        let access = &self.0.access;
        let of_key = access.keys.signing(access_key).map(|(secret, _)| secret);
        let of_session = || {
            access
                .sessions
                .get(access_key)
                .map(|session| session.secret.clone())
        };
        let of_role = || access.roles.assumed(access_key).map(|assumed| assumed.secret);
        let secret = of_key.or_else(of_session).or_else(of_role);
        secret.map(SecretKey::from).ok_or_else(|| {
            s3_error!(
                InvalidAccessKeyId,
                "The AWS Access Key Id you provided does not exist in our records."
            )
        })
    }
}

/// Decides, once the signature is verified and before a body is read.
pub(super) struct Decisions(pub(super) Arc<Gateway>);

#[async_trait::async_trait]
impl S3Access for Decisions {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        let credentials = context
            .credentials()
            .map(|credentials| credentials.access_key.clone());
        let key = credentials.ok_or_else(|| s3_error!(AccessDenied, "Access Denied"))?;
        let token = token(context.headers(), context.uri());
        let caller = Authentic::of_stream(&self.0, &key, token, context.extensions_mut());
        let caller = caller.ok_or_else(|| {
            s3_error!(
                InvalidToken,
                "The provided token is malformed or otherwise invalid."
            )
        })?;
        let operation = context.s3_op().name();
        tracing::debug!(operation, key, "called");
        let action = action(operation).ok_or_else(|| unsupported(operation))?;
        if action != PER_KEY {
            let resource = match context.s3_path() {
                S3Path::Root => "*".to_owned(),
                S3Path::Bucket { bucket } => squall_objects::arn(bucket),
                S3Path::Object { bucket, key } => object_arn(bucket, key),
            };
            let permitted = caller.permit(&self.0, &Asked::on(action, resource));
            permitted.map_err(|error| denied(&error))?;
        }
        check_wishes(context.headers(), &self.0.config.home.account)?;
        check_version(context.uri())?;
        context.extensions_mut().insert(Arc::new(caller));
        Ok(())
    }
}

/// The operation asks for each key that it is about.
const PER_KEY: &str = "";

/// What an operation is in the language of policies; `None` for those that are not offered.
fn action(operation: &str) -> Option<&'static str> {
    Some(match operation {
        "ListBuckets" => "s3:ListAllMyBuckets",
        "CreateBucket" => "s3:CreateBucket",
        "DeleteBucket" => "s3:DeleteBucket",
        "HeadBucket" | "ListObjects" | "ListObjectsV2" => "s3:ListBucket",
        "GetBucketLocation" => "s3:GetBucketLocation",
        "GetBucketVersioning" => "s3:GetBucketVersioning",
        "GetBucketNotificationConfiguration" => "s3:GetBucketNotification",
        "PutBucketNotificationConfiguration" => "s3:PutBucketNotification",
        "GetBucketTagging" => "s3:GetBucketTagging",
        "PutBucketTagging" | "DeleteBucketTagging" => "s3:PutBucketTagging",
        "GetObject" | "HeadObject" => "s3:GetObject",
        "PutObject"
        | "CopyObject"
        | "CreateMultipartUpload"
        | "UploadPart"
        | "UploadPartCopy"
        | "CompleteMultipartUpload" => "s3:PutObject",
        "DeleteObject" => "s3:DeleteObject",
        "DeleteObjects" => PER_KEY,
        "GetObjectTagging" => "s3:GetObjectTagging",
        "PutObjectTagging" => "s3:PutObjectTagging",
        "DeleteObjectTagging" => "s3:DeleteObjectTagging",
        "AbortMultipartUpload" => "s3:AbortMultipartUpload",
        "ListParts" => "s3:ListMultipartUploadParts",
        "ListMultipartUploads" => "s3:ListBucketMultipartUploads",
        _ => return None,
    })
}

/// The session token, in a header or, of a presigned request, in the query.
fn token(headers: &HeaderMap, uri: &http::Uri) -> Option<String> {
    if let Some(value) = headers.get("x-amz-security-token") {
        return value.to_str().ok().map(str::to_owned);
    }
    in_query(uri, "X-Amz-Security-Token")
}

fn in_query(uri: &http::Uri, name: &str) -> Option<String> {
    let mut pairs = uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(found, _)| *found == name)?;
    Some(
        percent_encoding::percent_decode_str(value)
            .decode_utf8_lossy()
            .into_owned(),
    )
}

/// Headers that ask for something that is not offered: silence would be a yes.
const REFUSED: [&str; 7] = [
    "x-amz-server-side-encryption",
    "x-amz-copy-source-server-side-encryption",
    "x-amz-object-lock-",
    "x-amz-grant-",
    "x-amz-website-redirect-location",
    "x-amz-write-offset-bytes",
    "x-amz-mfa",
];

fn check_wishes(headers: &HeaderMap, account: &str) -> S3Result<()> {
    let mut names = headers.keys().map(http::HeaderName::as_str);
    if let Some(name) = names.find(|name| REFUSED.iter().any(|refused| name.starts_with(refused))) {
        return Err(unsupported(&format!("The header {name}")));
    }
    let value = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or(""));
    if let Some(acl) =
        value("x-amz-acl").filter(|acl| !["private", "bucket-owner-full-control"].contains(acl))
    {
        return Err(unsupported(&format!("The ACL {acl}")));
    }
    if let Some(class) = value("x-amz-storage-class").filter(|class| *class != "STANDARD") {
        return Err(unsupported(&format!("The storage class {class}")));
    }
    if value("x-amz-bucket-object-lock-enabled").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Err(unsupported("Object Lock"));
    }
    for name in [
        "x-amz-expected-bucket-owner",
        "x-amz-source-expected-bucket-owner",
    ] {
        if value(name).is_some_and(|owner| owner != account) {
            return Err(s3_error!(AccessDenied, "Access Denied"));
        }
    }
    Ok(())
}

/// Objects have one version, which S3 calls `null`.
fn check_version(uri: &http::Uri) -> S3Result<()> {
    match in_query(uri, "versionId") {
        Some(version) if version != "null" => Err(invalid("Invalid version id specified")),
        _ => Ok(()),
    }
}
