//! Policies that roles share, and their versions.

use serde_json::{Value, json};
use squall_access::{NewPolicy, PolicyView, SharedPolicy};

use super::{Answer, Call, escaped, tag_shapes, timestamp};
use crate::awsquery::QueryError;

impl Call<'_> {
    pub(super) async fn create_policy(&self) -> Answer {
        let new = NewPolicy {
            name: self.form.required("PolicyName")?.to_owned(),
            path: self.form.text("Path").map(str::to_owned),
            description: self.form.text("Description").map(str::to_owned),
            document: self.form.required("PolicyDocument")?.to_owned(),
            tags: self.form.tags(),
        };
        let made = self.roles.create_policy(new).await?;
        Ok(json!({ "Policy": shape(&made) }))
    }

    pub(super) fn get_policy(&self) -> Answer {
        Ok(json!({ "Policy": shape(&self.policy()?) }))
    }

    pub(super) fn list_policies(&self) -> Answer {
        let scope = self.form.text("Scope").unwrap_or("All");
        if !["All", "AWS", "Local"].contains(&scope) {
            return Err(QueryError::validation(format!(
                "1 validation error detected: Value '{scope}' at 'scope' failed to satisfy constraint: \
                 Member must satisfy enum value set: [All, AWS, Local]"
            )));
        }
        let only_attached = self.form.parsed("OnlyAttached")?.unwrap_or(false);
        let prefix = self.form.text("PathPrefix").unwrap_or("/");
        let mut policies = self.roles.list_policies();
        policies.retain(|view| {
            let in_scope = scope == "All" || view.is_aws == (scope == "AWS");
            in_scope && view.policy.path.starts_with(prefix) && (!only_attached || view.attachments > 0)
        });
        self.page("Policies", policies, |view| &view.arn, shape)
    }

    pub(super) async fn delete_policy(&self) -> Answer {
        self.roles.delete_policy(self.form.required("PolicyArn")?).await?;
        Ok(Value::Null)
    }

    pub(super) async fn create_policy_version(&self) -> Answer {
        let document = self.form.required("PolicyDocument")?.to_owned();
        let is_default = self.form.parsed("SetAsDefault")?.unwrap_or(false);
        let arn = self.form.required("PolicyArn")?;
        let add = |policy: &mut SharedPolicy| policy.add_version(document, is_default);
        let number = self.roles.change_policy(arn, add).await?;
        Ok(json!({ "PolicyVersion": version(&self.policy()?.policy, number, false)? }))
    }

    pub(super) fn get_policy_version(&self) -> Answer {
        let (view, number) = (self.policy()?, self.version_number()?);
        Ok(json!({ "PolicyVersion": version(&view.policy, number, true)? }))
    }

    pub(super) fn list_policy_versions(&self) -> Answer {
        let policy = self.policy()?.policy;
        let numbers = policy.versions.keys().rev();
        let versions: Vec<Value> = numbers
            .map(|number| version(&policy, *number, false))
            .collect::<Result<_, _>>()?;
        Ok(json!({ "Versions": versions, "IsTruncated": false }))
    }

    pub(super) async fn delete_policy_version(&self) -> Answer {
        let (arn, number) = (self.form.required("PolicyArn")?, self.version_number()?);
        let delete = |policy: &mut SharedPolicy| policy.delete_version(number);
        self.roles.change_policy(arn, delete).await?;
        Ok(Value::Null)
    }

    pub(super) async fn set_default_policy_version(&self) -> Answer {
        let (arn, number) = (self.form.required("PolicyArn")?, self.version_number()?);
        let set = |policy: &mut SharedPolicy| policy.set_default_version(number);
        self.roles.change_policy(arn, set).await?;
        Ok(Value::Null)
    }

    pub(super) async fn tag_policy(&self) -> Answer {
        let tags = self.form.tags();
        let arn = self.form.required("PolicyArn")?;
        self.roles.change_policy(arn, |policy| policy.tag(tags)).await?;
        Ok(Value::Null)
    }

    pub(super) async fn untag_policy(&self) -> Answer {
        let keys = self.form.list("TagKeys");
        let untag = |policy: &mut SharedPolicy| {
            policy.tags.retain(|key, _| !keys.contains(key));
            Ok(())
        };
        let arn = self.form.required("PolicyArn")?;
        self.roles.change_policy(arn, untag).await?;
        Ok(Value::Null)
    }

    pub(super) fn list_policy_tags(&self) -> Answer {
        let tags: Vec<(String, String)> = self.policy()?.policy.tags.into_iter().collect();
        let shape = |(key, value): &(String, String)| json!({ "Key": key, "Value": value });
        self.page("Tags", tags, |(key, _)| key, shape)
    }

    fn policy(&self) -> Result<PolicyView, QueryError> {
        Ok(self.roles.policy(self.form.required("PolicyArn")?)?)
    }

    /// The number in `v2`.
    fn version_number(&self) -> Result<u32, QueryError> {
        let text = self.form.required("VersionId")?;
        let number = text.strip_prefix('v').and_then(|number| number.parse().ok());
        number.ok_or_else(|| {
            QueryError::validation(format!(
                "1 validation error detected: Value '{text}' at 'versionId' failed to satisfy constraint: \
                 Member must satisfy regular expression pattern: v[1-9][0-9]*(\\.[A-Za-z0-9-]*)?"
            ))
        })
    }
}

fn shape(view: &PolicyView) -> Value {
    let policy = &view.policy;
    let mut shape = json!({
        "PolicyName": policy.name,
        "PolicyId": policy.id,
        "Arn": view.arn,
        "Path": policy.path,
        "DefaultVersionId": format!("v{}", policy.default_version),
        "AttachmentCount": view.attachments,
        "PermissionsBoundaryUsageCount": 0,
        "IsAttachable": true,
        "Description": policy.description,
        "CreateDate": timestamp(policy.created_ms),
        "UpdateDate": timestamp(policy.updated_ms),
    });
    if !policy.tags.is_empty() {
        shape["Tags"] = json!(tag_shapes(&policy.tags));
    }
    shape
}

fn version(policy: &SharedPolicy, number: u32, with_document: bool) -> Result<Value, QueryError> {
    let (document, created_ms) = policy.version(number)?;
    let document = with_document.then(|| escaped(document));
    Ok(json!({
        "Document": document,
        "VersionId": format!("v{number}"),
        "IsDefaultVersion": number == policy.default_version,
        "CreateDate": timestamp(*created_ms),
    }))
}
