//! IAM's API: roles and policies. A form in, XML out; the action is in the form.
//!
//! [`serve`] reads the request and calls the action. Roles and policies are in `access::Roles`, which `squall roles`
//! changes, too; this module knows names, shapes and errors.

mod error;
mod policies;
mod roles;

use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use squall_access::Roles;
use squall_types::RequestId;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::authenticate::authenticate;
use crate::authorize::Asked;
use crate::awsquery::{self, Form, QueryError};
use crate::error::ApiError;
use crate::gateway::Gateway;
use crate::page;
use crate::reply::Body;

const SERVICES: &[&str] = &["iam"];
const NAMESPACE: &str = "https://iam.amazonaws.com/doc/2010-05-08/";
/// A document of the longest, escaped by a form as badly as can be.
const REQUEST_BYTES_MAX: usize = 512 * 1024;
const PAGE_ITEMS_DEFAULT: usize = 100;
/// What IAM has beside roles and policies: actions that name one of these are known, and not here.
const NOT_IMPLEMENTED: [&str; 28] = [
    "AccessKey",
    "Account",
    "ClientID",
    "ContextKeys",
    "CredentialReport",
    "Credential",
    "DelegationRequest",
    "EntitiesForPolicy",
    "GenerateOrganizations",
    "Group",
    "InstanceProfile",
    "LastAccessed",
    "LoginProfile",
    "MFA",
    "OpenIDConnect",
    "Organizations",
    "Password",
    "PermissionsBoundary",
    "PoliciesGrantingServiceAccess",
    "SAML",
    "SSHPublicKey",
    "SecurityToken",
    "ServerCertificate",
    "ServiceLinkedRole",
    "SigningCertificate",
    "Simulate",
    "User",
    "ServiceSpecific",
];

/// One authenticated request.
struct Call<'a> {
    roles: &'a Roles,
    form: Form,
}

type Answer = Result<Value, QueryError>;

/// Answers a request to IAM's API.
pub(crate) async fn serve(gateway: &Arc<Gateway>, request: Request<Incoming>) -> Response<Body> {
    let request_id = RequestId::random();
    let (action, answer) = perform(gateway, request, request_id).await;
    awsquery::respond(NAMESPACE, &action, answer, request_id)
}

async fn perform(gateway: &Gateway, request: Request<Incoming>, request_id: RequestId) -> (String, Answer) {
    let (head, body) = request.into_parts();
    let too_large = || ApiError::validation("The request is too large");
    let authentic = match authenticate(gateway, &head, body, SERVICES, REQUEST_BYTES_MAX, too_large).await {
        Ok(authentic) => authentic,
        Err(error) => return (String::new(), Err(error.into())),
    };
    let form = match Form::read(head.uri.query().unwrap_or(""), authentic.peek()) {
        Ok(form) => form,
        Err(error) => return (String::new(), Err(error)),
    };
    let action = form.action().to_owned();
    tracing::debug!(operation = action, %request_id, key = authentic.access_key_id, "called");
    if let Err(error) = authentic.authorize(gateway, &asked(gateway, &form)) {
        return (action, Err(error.into()));
    }
    let call = Call {
        roles: &gateway.access.roles,
        form,
    };
    let answer = call.perform(&action).await;
    (action, answer)
}

/// What a request is in the language of policies.
fn asked(gateway: &Gateway, form: &Form) -> Asked<'static> {
    let (account, roles) = (&gateway.config.home.account, &gateway.access.roles);
    let action = form.action();
    let path = form.text("Path").unwrap_or("/");
    let resource = match (
        form.text("RoleName"),
        form.text("PolicyArn"),
        form.text("PolicyName"),
    ) {
        (Some(name), ..) => match roles.get(name) {
            Some(role) => roles.arn(&role),
            None => format!("arn:aws:iam::{account}:role{path}{name}"),
        },
        (None, Some(arn), _) => arn.to_owned(),
        (None, None, Some(name)) => format!("arn:aws:iam::{account}:policy{path}{name}"),
        (None, None, None) => "*".to_owned(),
    };
    Asked::on(format!("iam:{action}"), resource)
}

impl Call<'_> {
    async fn perform(&self, action: &str) -> Answer {
        match action {
            "CreateRole" => self.create_role().await,
            "GetRole" => self.get_role(),
            "ListRoles" => self.list_roles(),
            "UpdateRole" => self.update_role().await,
            "UpdateRoleDescription" => self.update_role_description().await,
            "UpdateAssumeRolePolicy" => self.update_assume_role_policy().await,
            "DeleteRole" => self.delete_role().await,
            "TagRole" => self.tag_role().await,
            "UntagRole" => self.untag_role().await,
            "ListRoleTags" => self.list_role_tags(),
            "ListInstanceProfilesForRole" => self.list_instance_profiles_for_role(),
            "PutRolePolicy" => self.put_role_policy().await,
            "GetRolePolicy" => self.get_role_policy(),
            "ListRolePolicies" => self.list_role_policies(),
            "DeleteRolePolicy" => self.delete_role_policy().await,
            "AttachRolePolicy" => self.attach_role_policy().await,
            "DetachRolePolicy" => self.detach_role_policy().await,
            "ListAttachedRolePolicies" => self.list_attached_role_policies(),
            "CreatePolicy" => self.create_policy().await,
            "GetPolicy" => self.get_policy(),
            "ListPolicies" => self.list_policies(),
            "DeletePolicy" => self.delete_policy().await,
            "CreatePolicyVersion" => self.create_policy_version().await,
            "GetPolicyVersion" => self.get_policy_version(),
            "ListPolicyVersions" => self.list_policy_versions(),
            "DeletePolicyVersion" => self.delete_policy_version().await,
            "SetDefaultPolicyVersion" => self.set_default_policy_version().await,
            "TagPolicy" => self.tag_policy().await,
            "UntagPolicy" => self.untag_policy().await,
            "ListPolicyTags" => self.list_policy_tags(),
            "" => Err(QueryError::unknown("IAM", "")),
            other if NOT_IMPLEMENTED.iter().any(|what| other.contains(what)) => {
                Err(QueryError::not_implemented(other))
            }
            other => Err(QueryError::unknown("IAM", other)),
        }
    }

    /// A page of a list under its name, with what comes behind it.
    fn page<T>(
        &self,
        member: &str,
        items: Vec<T>,
        name: impl Fn(&T) -> &str,
        shape: impl Fn(&T) -> Value,
    ) -> Answer {
        let limit = self.form.parsed("MaxItems")?.unwrap_or(PAGE_ITEMS_DEFAULT);
        if !(1..=1000).contains(&limit) {
            return Err(QueryError::validation(format!(
                "1 validation error detected: Value '{limit}' at 'maxItems' failed to satisfy constraint: \
                 Member must have value between 1 and 1000"
            )));
        }
        let invalid = || QueryError::validation("Invalid Marker.");
        let marker = self.form.text("Marker");
        let after = marker
            .map(|marker| page::name(marker).ok_or_else(invalid))
            .transpose()?;
        let (items, next) = page::cut(items, name, after.as_deref(), limit);
        let items: Vec<Value> = items.iter().map(shape).collect();
        Ok(json!({ member: items, "IsTruncated": next.is_some(), "Marker": next }))
    }
}

/// A document as IAM hands it out.
fn escaped(document: &str) -> String {
    utf8_percent_encode(document, NON_ALPHANUMERIC).to_string()
}

/// `2026-11-24T03:15:00Z`.
pub(crate) fn timestamp(ms: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp(ms / 1000).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    at.format(&Rfc3339).unwrap_or_default()
}

/// Labels as IAM writes them.
fn tag_shapes(tags: &std::collections::BTreeMap<String, String>) -> Vec<Value> {
    let shapes = tags
        .iter()
        .map(|(key, value)| json!({ "Key": key, "Value": value }));
    shapes.collect()
}
