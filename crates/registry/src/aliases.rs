//! Aliases: names that point at a version, or at two with weights.

use squall_types::{AliasName, FunctionName, Qualifier, Version};

use crate::functions::{new_revision_id, page};
use crate::registry::{Edit, Registry};
use crate::state::not_found;
use crate::{Alias, CreateAlias, Page, RegistryError, UpdateAlias};

type Result<T, E = RegistryError> = std::result::Result<T, E>;

impl Registry {
    /// Makes an alias.
    ///
    /// # Errors
    /// When the version is not there, the weight is not one, or the name is taken.
    pub async fn create_alias(&self, function: &FunctionName, request: CreateAlias) -> Result<Alias> {
        let arn = self
            .home()
            .function_arn(function, Some(&Qualifier::Alias(request.name.clone())));
        self.change(function, move |edit| {
            if edit.record.aliases.contains_key(&request.name) {
                return Err(RegistryError::Conflict(format!("Alias already exists: {arn}")));
            }
            let alias = Alias {
                name: request.name,
                version: request.version,
                additional: request.additional,
                description: request.description.unwrap_or_default(),
                revision_id: new_revision_id(),
            };
            put(edit, alias)
        })
        .await
    }

    /// An alias by its name.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    pub fn alias(&self, function: &FunctionName, alias: &AliasName) -> Result<Alias> {
        let held = self.held(function)?;
        held.record
            .aliases
            .get(alias)
            .cloned()
            .ok_or_else(|| self.no_alias(function, alias))
    }

    /// Points an alias elsewhere.
    ///
    /// # Errors
    /// As [`create_alias`](Self::create_alias); and when the revision id is not the current one.
    pub async fn update_alias(
        &self,
        function: &FunctionName,
        alias: &AliasName,
        request: UpdateAlias,
    ) -> Result<Alias> {
        let (name, absent) = (alias.clone(), self.no_alias(function, alias));
        self.change(function, move |edit| {
            let mut alias = edit.record.aliases.get(&name).cloned().ok_or(absent)?;
            if request
                .revision_id
                .is_some_and(|given| given != alias.revision_id)
            {
                return Err(RegistryError::PreconditionFailed);
            }
            alias.version = request.version.unwrap_or(alias.version);
            alias.additional = request.additional.unwrap_or(alias.additional);
            alias.description = request.description.unwrap_or(alias.description);
            alias.revision_id = new_revision_id();
            put(edit, alias)
        })
        .await
    }

    /// Removes an alias, and its URL with it.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] where the function is not there; an alias that is not there is removed already.
    pub async fn delete_alias(&self, function: &FunctionName, alias: &AliasName) -> Result<()> {
        let alias = alias.clone();
        self.change(function, move |edit| {
            edit.record.aliases.remove(&alias);
            edit.record.urls.retain(|url| url.alias.as_ref() != Some(&alias));
            edit.record.event_invoke.remove(alias.as_str());
            edit.record.policies.remove(alias.as_str());
            Ok(())
        })
        .await
    }

    /// Aliases by name; only those that point at `version`, where it is given.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`]; [`RegistryError::InvalidParameter`] for a marker that no page gave.
    pub fn list_aliases(
        &self,
        function: &FunctionName,
        version: Option<Version>,
        marker: Option<&str>,
        max_items: usize,
    ) -> Result<Page<Alias>> {
        let held = self.held(function)?;
        let aliases = held.record.aliases.values();
        let aliases = aliases.filter(|alias| version.is_none_or(|version| alias.version == version));
        page(aliases, |alias| alias.name.to_string(), marker, max_items)
    }

    fn no_alias(&self, function: &FunctionName, alias: &AliasName) -> RegistryError {
        let arn = self
            .home()
            .function_arn(function, Some(&Qualifier::Alias(alias.clone())));
        RegistryError::NotFound(format!("Cannot find alias arn: {arn}"))
    }
}

fn put(edit: &mut Edit, alias: Alias) -> Result<Alias> {
    let exists = |number: u64| edit.versions.contains_key(&number);
    if let Version::Published(number) = alias.version
        && !exists(number)
    {
        let name = &edit.record.latest.config.name;
        return Err(not_found(&format!("{name}:{number}")));
    }
    if let Some((second, weight)) = alias.additional {
        check_weight(&alias, second, weight)?;
        if !exists(second) {
            return Err(not_found(&format!("{}:{second}", edit.record.latest.config.name)));
        }
    }
    edit.record.aliases.insert(alias.name.clone(), alias.clone());
    Ok(alias)
}

fn check_weight(alias: &Alias, second: u64, weight: f64) -> Result<()> {
    let refuse = |text: &str| Err(RegistryError::InvalidParameter(text.to_owned()));
    if !(0.0..=1.0).contains(&weight) {
        return refuse("Invalid weight. The weight of an additional version is between 0.0 and 1.0.");
    }
    match alias.version {
        Version::Latest => refuse("$LATEST is not supported for an alias pointing to more than 1 version"),
        Version::Published(first) if first == second => {
            refuse("Invalid function version: the two versions of an alias must differ.")
        }
        Version::Published(_) => Ok(()),
    }
}
