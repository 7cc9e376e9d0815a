//! Which server a command talks to, and with which key.
//!
//! In this order: `--data-dir`; the AWS variables that `squall env` prints; `SQUALL_DATA_DIR`; `./.squall`.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use http::uri::Authority;

use crate::{credentials, endpoint};

const DATA_DIR: &str = "./.squall";

/// The flag that all commands share.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ServerArgs {
    /// Talk to the server of this data directory [default: AWS_ENDPOINT_URL and keys of the environment, else ./.squall].
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

impl ServerArgs {
    /// The data directory, where the environment's AWS variables do not count.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.data_dir
            .clone()
            .or_else(|| variable("SQUALL_DATA_DIR").map(PathBuf::from))
            .unwrap_or_else(|| PathBuf::from(DATA_DIR))
    }
}

/// A server and the key to sign requests with.
#[derive(Clone)]
pub(crate) struct Target {
    /// `http://HOST:PORT`, or `https://`.
    pub(crate) endpoint: String,
    /// Public: names the key.
    pub(crate) access_key_id: String,
    /// Secret: signs.
    pub(crate) secret_access_key: String,
    /// That the signature is for.
    pub(crate) region: String,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target")
            .field("endpoint", &self.endpoint)
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

impl Target {
    /// Where the flag and the environment point.
    ///
    /// # Errors
    /// When the environment names a server but no key, or the data directory has no running server.
    pub(crate) fn find(args: &ServerArgs) -> anyhow::Result<Self> {
        let named = variable("AWS_ENDPOINT_URL_LAMBDA").or_else(|| variable("AWS_ENDPOINT_URL"));
        match named {
            Some(endpoint) if args.data_dir.is_none() => Self::of_variables(endpoint, variable),
            _ => Self::of_data_dir(&args.data_dir()),
        }
    }

    fn of_variables(endpoint: String, variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        let (Some(access_key_id), Some(secret_access_key)) =
            (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY"))
        else {
            bail!(
                "the environment names the server `{endpoint}` but no key: type `eval \"$(squall env)\"` where it runs, \
                 or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            );
        };
        Ok(Self {
            endpoint,
            access_key_id,
            secret_access_key,
            region: variable("AWS_REGION")
                .or_else(|| variable("AWS_DEFAULT_REGION"))
                .unwrap_or_else(|| "us-east-1".to_owned()),
        })
    }

    /// The server that runs on `data_dir`, as its files say.
    ///
    /// # Errors
    /// When none does.
    pub(crate) fn of_data_dir(data_dir: &Path) -> anyhow::Result<Self> {
        let none = || {
            format!(
                "no server runs on the data directory `{0}`: start one with `squall up --data-dir {0}`, \
                 or name the right directory with --data-dir",
                data_dir.display()
            )
        };
        let endpoint = endpoint::read(data_dir)?.with_context(none)?;
        let key = credentials::read(data_dir)?.with_context(none)?;
        Ok(Self {
            endpoint,
            access_key_id: key.access_key_id,
            secret_access_key: key.secret_access_key,
            region: key.region,
        })
    }

    /// `HOST:PORT`, for the Host header.
    ///
    /// # Errors
    /// When the endpoint is neither an `http://` nor an `https://` address.
    pub(crate) fn authority(&self) -> anyhow::Result<String> {
        Ok(self.named()?.as_str().to_owned())
    }

    /// Host and port, for a connection; the port of HTTP or HTTPS where none is named.
    ///
    /// # Errors
    /// As [`Target::authority`].
    pub(crate) fn address(&self) -> anyhow::Result<(String, u16)> {
        let authority = self.named()?;
        let port = if self.endpoint.starts_with("https") {
            443
        } else {
            80
        };
        let host = authority.host().trim_matches(['[', ']']);
        Ok((host.to_owned(), authority.port_u16().unwrap_or(port)))
    }

    fn named(&self) -> anyhow::Result<Authority> {
        let wrong = || {
            format!(
                "`{}` is not a server's address: write http://HOST:PORT or https://HOST:PORT",
                self.endpoint
            )
        };
        let uri: http::Uri = self.endpoint.parse().with_context(wrong)?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            bail!("{}", wrong());
        }
        uri.authority().cloned().with_context(wrong)
    }
}

/// A variable that is set to nothing counts as not set, as in AWS's SDKs.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_directory_without_a_server_says_what_to_type() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let error = Target::of_data_dir(dir.path())
            .expect_err("nothing runs there")
            .to_string();
        assert!(error.contains("squall up --data-dir"), "{error}");
    }

    #[test]
    fn the_environment_needs_a_key_beside_the_address() {
        let endpoint = || "http://127.0.0.1:9400".to_owned();
        let error = Target::of_variables(endpoint(), |_| None).expect_err("there is no key");
        assert!(error.to_string().contains("squall env"), "{error}");
        let found = Target::of_variables(endpoint(), |name| Some(name.to_lowercase())).expect("complete");
        assert_eq!(found.access_key_id, "aws_access_key_id");
        assert_eq!(found.region, "aws_region");
    }

    #[test]
    fn only_http_with_or_without_tls_is_spoken() {
        let check = |endpoint: &str| {
            let target = Target {
                endpoint: endpoint.to_owned(),
                access_key_id: String::new(),
                secret_access_key: String::new(),
                region: String::new(),
            };
            target.authority().ok()
        };
        assert_eq!(check("http://127.0.0.1:9400").as_deref(), Some("127.0.0.1:9400"));
        assert_eq!(check("http://[::1]:9400/").as_deref(), Some("[::1]:9400"));
        assert_eq!(check("https://a.example:9400").as_deref(), Some("a.example:9400"));
        assert_eq!(check("ftp://127.0.0.1:9400"), None);
        assert_eq!(check("127.0.0.1:9400"), None);
    }
}
