//! Roles, and the policies of each.

use serde_json::{Value, json};
use squall_access::{NewRole, Role};

use super::{Answer, Call, escaped, tag_shapes, timestamp};
use crate::awsquery::QueryError;

impl Call<'_> {
    pub(super) async fn create_role(&self) -> Answer {
        if self.form.has("PermissionsBoundary") {
            return Err(QueryError::not_implemented("PermissionsBoundary"));
        }
        let new = NewRole {
            name: self.form.required("RoleName")?.to_owned(),
            path: self.form.text("Path").map(str::to_owned),
            description: self.form.text("Description").map(str::to_owned),
            trust: self.form.required("AssumeRolePolicyDocument")?.to_owned(),
            session_secs_max: self.form.parsed("MaxSessionDuration")?,
            tags: self.form.tags(),
        };
        let role = self.roles.create(new).await?;
        Ok(json!({ "Role": self.shape(&role, true) }))
    }

    pub(super) fn get_role(&self) -> Answer {
        Ok(json!({ "Role": self.shape(&self.role()?, true) }))
    }

    pub(super) fn list_roles(&self) -> Answer {
        let prefix = self.form.text("PathPrefix").unwrap_or("/");
        let mut roles = self.roles.list();
        roles.retain(|role| role.path.starts_with(prefix));
        self.page("Roles", roles, |role| &role.name, |role| self.shape(role, false))
    }

    pub(super) async fn update_role(&self) -> Answer {
        let description = self.form.text("Description").map(str::to_owned);
        let (has_description, secs) = (
            self.form.has("Description"),
            self.form.parsed("MaxSessionDuration")?,
        );
        let update = |role: &mut Role| {
            if has_description {
                role.set_description(description)?;
            }
            secs.map_or(Ok(()), |secs| role.set_session_secs_max(secs))
        };
        self.roles.change(self.form.required("RoleName")?, update).await?;
        Ok(json!({}))
    }

    pub(super) async fn update_role_description(&self) -> Answer {
        let description = self.form.text("Description").map(str::to_owned);
        let update = |role: &mut Role| {
            role.set_description(description)?;
            Ok(role.clone())
        };
        let role = self.roles.change(self.form.required("RoleName")?, update).await?;
        Ok(json!({ "Role": self.shape(&role, true) }))
    }

    pub(super) async fn update_assume_role_policy(&self) -> Answer {
        let document = self.form.required("PolicyDocument")?.to_owned();
        let update = |role: &mut Role| role.set_trust(document);
        self.roles.change(self.form.required("RoleName")?, update).await?;
        Ok(Value::Null)
    }

    pub(super) async fn delete_role(&self) -> Answer {
        self.roles.delete(self.form.required("RoleName")?).await?;
        Ok(Value::Null)
    }

    pub(super) async fn tag_role(&self) -> Answer {
        let tags = self.form.tags();
        let name = self.form.required("RoleName")?;
        self.roles.change(name, |role| role.tag(tags)).await?;
        Ok(Value::Null)
    }

    pub(super) async fn untag_role(&self) -> Answer {
        let keys = self.form.list("TagKeys");
        let untag = |role: &mut Role| {
            role.tags.retain(|key, _| !keys.contains(key));
            Ok(())
        };
        self.roles.change(self.form.required("RoleName")?, untag).await?;
        Ok(Value::Null)
    }

    pub(super) fn list_role_tags(&self) -> Answer {
        let tags: Vec<(String, String)> = self.role()?.tags.into_iter().collect();
        let shape = |(key, value): &(String, String)| json!({ "Key": key, "Value": value });
        self.page("Tags", tags, |(key, _)| key, shape)
    }

    /// There are no instances of machines here, so no role is in a profile of one.
    pub(super) fn list_instance_profiles_for_role(&self) -> Answer {
        self.role()?;
        Ok(json!({ "InstanceProfiles": [], "IsTruncated": false }))
    }

    pub(super) async fn put_role_policy(&self) -> Answer {
        let name = self.form.required("PolicyName")?;
        let document = self.form.required("PolicyDocument")?.to_owned();
        let put = |role: &mut Role| role.put_policy(name, document);
        self.roles.change(self.form.required("RoleName")?, put).await?;
        Ok(Value::Null)
    }

    pub(super) fn get_role_policy(&self) -> Answer {
        let (role, name) = (self.role()?, self.form.required("PolicyName")?);
        let policies = role.own_policies();
        let absent = || {
            let text = format!("The role policy with name {name} cannot be found.");
            QueryError::new(http::StatusCode::NOT_FOUND, "NoSuchEntity", text)
        };
        let document = policies.get(name).ok_or_else(absent)?;
        Ok(json!({ "RoleName": role.name, "PolicyName": name, "PolicyDocument": escaped(document) }))
    }

    pub(super) fn list_role_policies(&self) -> Answer {
        let names: Vec<String> = self.role()?.own_policies().into_keys().collect();
        self.page("PolicyNames", names, |name| name, |name| json!(name))
    }

    pub(super) async fn delete_role_policy(&self) -> Answer {
        let name = self.form.required("PolicyName")?;
        let delete = |role: &mut Role| role.delete_policy(name);
        self.roles.change(self.form.required("RoleName")?, delete).await?;
        Ok(Value::Null)
    }

    pub(super) async fn attach_role_policy(&self) -> Answer {
        let (name, arn) = (self.form.required("RoleName")?, self.form.required("PolicyArn")?);
        self.roles.attach(name, arn).await?;
        Ok(Value::Null)
    }

    pub(super) async fn detach_role_policy(&self) -> Answer {
        let arn = self.form.required("PolicyArn")?;
        let name = self.form.required("RoleName")?;
        self.roles.change(name, |role| role.detach(arn)).await?;
        Ok(Value::Null)
    }

    pub(super) fn list_attached_role_policies(&self) -> Answer {
        let arns: Vec<String> = self.role()?.attached.into_iter().collect();
        let shape = |arn: &String| {
            let name = arn.rsplit('/').next().unwrap_or(arn);
            json!({ "PolicyName": name, "PolicyArn": arn })
        };
        self.page("AttachedPolicies", arns, |arn| arn, shape)
    }

    fn role(&self) -> Result<Role, QueryError> {
        let name = self.form.required("RoleName")?;
        let absent = || {
            let text = format!("The role with name {name} cannot be found.");
            QueryError::new(http::StatusCode::NOT_FOUND, "NoSuchEntity", text)
        };
        // A name, and not an ARN that ends in one.
        let role = self.roles.get(name).filter(|role| role.name == name);
        role.ok_or_else(absent)
    }

    /// As on AWS, a list shows no labels and no longest session.
    fn shape(&self, role: &Role, is_whole: bool) -> Value {
        let mut shape = json!({
            "Path": role.path,
            "RoleName": role.name,
            "RoleId": role.id,
            "Arn": self.roles.arn(role),
            "CreateDate": timestamp(role.created_ms),
            "AssumeRolePolicyDocument": escaped(&self.roles.trust_document(role)),
            "Description": role.description,
            "MaxSessionDuration": role.session_secs_max,
        });
        if is_whole {
            shape["RoleLastUsed"] = json!({});
            if !role.tags.is_empty() {
                shape["Tags"] = json!(tag_shapes(&role.tags));
            }
        }
        shape
    }
}
