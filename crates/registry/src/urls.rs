//! Function URLs: a function's (or an alias's) own HTTP address.

use std::collections::BTreeMap;

use squall_types::{AliasName, FunctionName, Qualifier};
use uuid::Uuid;

use crate::functions::{now_ms, page};
use crate::registry::Registry;
use crate::{Cors, FunctionUrl, FunctionUrlSettings, InvokeMode, Page, RegistryError, UrlAuthType};

type Result<T, E = RegistryError> = std::result::Result<T, E>;

const MAX_AGE_SECS_MAX: u32 = 86_400;

impl Registry {
    /// Gives a function (or one of its aliases) an address.
    ///
    /// # Errors
    /// A conflict when it has one; [`RegistryError::NotFound`] for an alias that is not there.
    pub async fn create_url(
        &self,
        function: &FunctionName,
        qualifier: Option<&Qualifier>,
        settings: FunctionUrlSettings,
    ) -> Result<FunctionUrl> {
        let alias = alias_of(qualifier)?;
        let now = now_ms();
        let url = FunctionUrl {
            id: Uuid::new_v4().simple().to_string(),
            function: function.clone(),
            alias: alias.clone(),
            auth_type: settings.auth_type.unwrap_or(UrlAuthType::AwsIam),
            cors: settings.cors.map(check_cors).transpose()?,
            invoke_mode: settings.invoke_mode.unwrap_or(InvokeMode::Buffered),
            created_ms: now,
            last_modified_ms: now,
        };
        let arn = self.home().function_arn(function, qualifier);
        self.change(function, move |edit| {
            if alias
                .as_ref()
                .is_some_and(|alias| !edit.record.aliases.contains_key(alias))
            {
                return Err(RegistryError::NotFound(format!("Function not found: {arn}")));
            }
            if edit.record.urls.iter().any(|url| url.alias == alias) {
                return Err(RegistryError::Conflict(format!(
                    "Failed to create function url config for [functionArn = {arn}]. \
                     Error message:  FunctionUrlConfig exists for this Lambda function"
                )));
            }
            edit.record.urls.push(url.clone());
            Ok(url)
        })
        .await
    }

    /// The address of a function (or of one of its aliases).
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    pub fn url(&self, function: &FunctionName, qualifier: Option<&Qualifier>) -> Result<FunctionUrl> {
        let alias = alias_of(qualifier)?;
        let held = self.held(function)?;
        held.record
            .urls
            .iter()
            .find(|url| url.alias == alias)
            .cloned()
            .ok_or_else(no_url)
    }

    /// Changes who may call, or from where.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    pub async fn update_url(
        &self,
        function: &FunctionName,
        qualifier: Option<&Qualifier>,
        settings: FunctionUrlSettings,
    ) -> Result<FunctionUrl> {
        let alias = alias_of(qualifier)?;
        let cors = settings.cors.map(check_cors).transpose()?;
        self.change(function, move |edit| {
            let url = edit
                .record
                .urls
                .iter_mut()
                .find(|url| url.alias == alias)
                .ok_or_else(no_url)?;
            url.auth_type = settings.auth_type.unwrap_or(url.auth_type);
            url.invoke_mode = settings.invoke_mode.unwrap_or(url.invoke_mode);
            url.cors = cors.or(url.cors.take());
            url.last_modified_ms = now_ms();
            Ok(url.clone())
        })
        .await
    }

    /// Takes the address away; another one later has another id.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    pub async fn delete_url(&self, function: &FunctionName, qualifier: Option<&Qualifier>) -> Result<()> {
        let alias = alias_of(qualifier)?;
        self.change(function, move |edit| {
            let before = edit.record.urls.len();
            edit.record.urls.retain(|url| url.alias != alias);
            if edit.record.urls.len() == before {
                Err(no_url())
            } else {
                Ok(())
            }
        })
        .await
    }

    /// All addresses of a function.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`]; [`RegistryError::InvalidParameter`] for a marker that no page gave.
    pub fn list_urls(
        &self,
        function: &FunctionName,
        marker: Option<&str>,
        max_items: usize,
    ) -> Result<Page<FunctionUrl>> {
        let held = self.held(function)?;
        let urls: BTreeMap<&str, &FunctionUrl> = held
            .record
            .urls
            .iter()
            .map(|url| (url.id.as_str(), url))
            .collect();
        page(urls.into_values(), |url| url.id.clone(), marker, max_items)
    }
}

fn no_url() -> RegistryError {
    RegistryError::NotFound("The resource you requested does not exist.".to_owned())
}

fn alias_of(qualifier: Option<&Qualifier>) -> Result<Option<AliasName>> {
    match qualifier {
        None => Ok(None),
        Some(Qualifier::Alias(alias)) => Ok(Some(alias.clone())),
        Some(other) => Err(RegistryError::Validation(format!(
            "1 validation error detected: Value '{other}' at 'qualifier' failed to satisfy constraint: \
             Member must satisfy regular expression pattern: ((?!^\\d+$)^[0-9a-zA-Z-_]+$)"
        ))),
    }
}

fn check_cors(cors: Cors) -> Result<Cors> {
    if let Some(secs) = cors.max_age_secs.filter(|secs| *secs > MAX_AGE_SECS_MAX) {
        return Err(RegistryError::Validation(format!(
            "1 validation error detected: Value '{secs}' at 'cors.maxAge' failed to satisfy constraint: \
             Member must have value less than or equal to {MAX_AGE_SECS_MAX}"
        )));
    }
    let lists = [
        ("allowHeaders", &cors.allow_headers, 100, 1024),
        ("allowMethods", &cors.allow_methods, 6, 6),
        ("allowOrigins", &cors.allow_origins, 100, 253),
        ("exposeHeaders", &cors.expose_headers, 100, 1024),
    ];
    for (field, list, items_max, chars_max) in lists {
        let Some(list) = list else { continue };
        if list.len() > items_max || list.iter().any(|item| item.len() > chars_max) {
            return Err(RegistryError::Validation(format!(
                "1 validation error detected: Value at 'cors.{field}' failed to satisfy constraint: \
                 Member must have at most {items_max} items of at most {chars_max} characters"
            )));
        }
    }
    Ok(cors)
}
