//! IAM's names for what was refused. Source: botocore's service model.

use http::StatusCode;
use squall_access::RoleError;

use crate::awsquery::QueryError;
use crate::error::ApiError;

impl From<RoleError> for QueryError {
    fn from(error: RoleError) -> Self {
        let text = error.to_string();
        let (status, code) = match error {
            RoleError::Absent(_) => (StatusCode::NOT_FOUND, "NoSuchEntity"),
            RoleError::Exists(_) => (StatusCode::CONFLICT, "EntityAlreadyExists"),
            RoleError::InUse(_) => (StatusCode::CONFLICT, "DeleteConflict"),
            RoleError::LimitExceeded(_) => (StatusCode::CONFLICT, "LimitExceeded"),
            RoleError::Malformed(_) => (StatusCode::BAD_REQUEST, "MalformedPolicyDocument"),
            RoleError::Invalid(_) => (StatusCode::BAD_REQUEST, "ValidationError"),
            RoleError::Unmodifiable(_) => (StatusCode::BAD_REQUEST, "UnmodifiableEntity"),
            RoleError::Platform(details) => return ApiError::platform(details).into(),
        };
        Self::new(status, code, text)
    }
}
