//! STS's API: who calls, and credentials of a role for whom it trusts. A form in, XML out.

use std::sync::Arc;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::{Value, json};
use squall_access::AssumeError;
use squall_types::RequestId;

use crate::authenticate::{Authentic, authenticate};
use crate::authorize::Asked;
use crate::awsquery::{self, Form, QueryError};
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::iam::timestamp;
use crate::reply::Body;

const SERVICES: &[&str] = &["sts"];
const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";
const REQUEST_BYTES_MAX: usize = 64 * 1024;
const DURATION_SECS_DEFAULT: u32 = 3600;
const DURATION_SECS: std::ops::RangeInclusive<u32> = 900..=43_200;
/// What STS has beside what is answered here.
const NOT_IMPLEMENTED: [&str; 9] = [
    "AssumeRoleWithSAML",
    "AssumeRoleWithWebIdentity",
    "AssumeRoot",
    "DecodeAuthorizationMessage",
    "GetAccessKeyInfo",
    "GetDelegatedAccessToken",
    "GetFederationToken",
    "GetSessionToken",
    "GetWebIdentityToken",
];
/// Members of AssumeRole that would make the credentials weaker, or be shown to others: none may be passed over.
const UNSUPPORTED: [&str; 8] = [
    "Policy",
    "PolicyArns.member.1.arn",
    "ProvidedContexts.member.1.ProviderArn",
    "SerialNumber",
    "SourceIdentity",
    "Tags.member.1.Key",
    "TokenCode",
    "TransitiveTagKeys.member.1",
];

type Answer = Result<Value, QueryError>;

/// Answers a request to STS's API.
pub(crate) async fn serve(gateway: &Arc<Gateway>, request: Request<Incoming>) -> Response<Body> {
    let request_id = RequestId::random();
    let (head, body) = request.into_parts();
    let too_large = || ApiError::validation("The request is too large");
    let authentic = authenticate(gateway, &head, body, SERVICES, REQUEST_BYTES_MAX, too_large).await;
    let read = authentic.map_err(QueryError::from).and_then(|authentic| {
        let form = Form::read(head.uri.query().unwrap_or(""), authentic.peek())?;
        Ok((authentic, form))
    });
    let (action, answer) = match read {
        Err(error) => (String::new(), Err(error)),
        Ok((authentic, form)) => {
            let action = form.action().to_owned();
            tracing::debug!(operation = action, %request_id, key = authentic.access_key_id, "called");
            (action, perform(gateway, &authentic, &form).await)
        }
    };
    awsquery::respond(NAMESPACE, &action, answer, request_id)
}

async fn perform(gateway: &Gateway, authentic: &Authentic, form: &Form) -> Answer {
    match form.action() {
        // Everybody may know who they are: no policy is asked.
        "GetCallerIdentity" => Ok(caller_identity(gateway, authentic)),
        "AssumeRole" => assume_role(gateway, authentic, form).await,
        other if NOT_IMPLEMENTED.contains(&other) => Err(QueryError::not_implemented(other)),
        other => Err(QueryError::unknown("STS", other)),
    }
}

fn caller_identity(gateway: &Gateway, authentic: &Authentic) -> Value {
    let principal = authentic.caller.principal();
    let assumed = gateway.access.roles.assumed(&authentic.access_key_id);
    let session = gateway.access.sessions.get(&authentic.access_key_id);
    let user_id = match (assumed, session) {
        (Some(assumed), _) => assumed.user_id,
        (None, Some(session)) => {
            // The role's name is behind `assumed-role/`.
            let role = principal.arn.split('/').nth(1).unwrap_or("");
            let role = gateway.access.roles.get(role);
            format!(
                "{}:{}",
                role.map_or_else(|| "AROA".to_owned(), |role| role.id),
                session.function
            )
        }
        (None, None) if authentic.caller.is_root() => principal.account.clone(),
        (None, None) => authentic.access_key_id.clone(),
    };
    json!({ "Arn": principal.arn, "Account": principal.account, "UserId": user_id })
}

async fn assume_role(gateway: &Gateway, authentic: &Authentic, form: &Form) -> Answer {
    if let Some(member) = UNSUPPORTED.iter().find(|member| form.has(member)) {
        let member = member.split('.').next().unwrap_or(member);
        return Err(QueryError::not_implemented(&format!("{member} of AssumeRole")));
    }
    let arn = form.required("RoleArn")?;
    let name = form.required("RoleSessionName")?;
    let is_of_names = |letter: char| letter.is_ascii_alphanumeric() || "_+=,.@-".contains(letter);
    if !(2..=64).contains(&name.len()) || !name.chars().all(is_of_names) {
        return Err(QueryError::validation(format!(
            "1 validation error detected: Value '{name}' at 'roleSessionName' failed to satisfy constraint: \
             Member must satisfy regular expression pattern: [\\w+=,.@-]{{2,64}}"
        )));
    }
    let secs = form.parsed("DurationSeconds")?.unwrap_or(DURATION_SECS_DEFAULT);
    if !DURATION_SECS.contains(&secs) {
        return Err(QueryError::validation(format!(
            "1 validation error detected: Value '{secs}' at 'durationSeconds' failed to satisfy constraint: \
             Member must have value between {} and {}",
            DURATION_SECS.start(),
            DURATION_SECS.end()
        )));
    }
    let external_id = form.text("ExternalId").map(|id| ("sts:ExternalId", id));
    let asked = Asked {
        context: external_id.as_slice(),
        ..Asked::on("sts:AssumeRole", arn)
    };
    authentic.permit_assume(gateway, &asked)?;
    let given = gateway.access.roles.assume(arn, name, secs).await?;
    Ok(json!({
        "Credentials": {
            "AccessKeyId": given.key.id,
            "SecretAccessKey": given.key.secret,
            "SessionToken": given.token,
            "Expiration": timestamp(given.until_ms),
        },
        "AssumedRoleUser": { "AssumedRoleId": given.user_id, "Arn": given.principal.arn },
    }))
}

impl From<AssumeError> for QueryError {
    fn from(error: AssumeError) -> Self {
        let text = error.to_string();
        match error {
            AssumeError::Denied(_) => Self::new(StatusCode::FORBIDDEN, "AccessDenied", text),
            AssumeError::TooLong => Self::validation(text),
            AssumeError::TooMany => Self::new(StatusCode::BAD_REQUEST, "Throttling", text),
            AssumeError::Platform(details) => ApiError::platform(details).into(),
        }
    }
}
