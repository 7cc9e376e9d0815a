//! `squall up`'s own words: what can be set on the command line or in the environment.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use squall_runtime_process::WallsWanted;

/// How a server is started. Every flag can be given as `SQUALL_…` in the environment.
#[derive(Debug, Clone, Args)]
pub(crate) struct UpArgs {
    /// Address to listen on; port 0 picks a free one, written to DATA_DIR/endpoint.
    #[arg(
        long,
        env = "SQUALL_LISTEN",
        default_value = "127.0.0.1:9400",
        value_name = "ADDRESS"
    )]
    pub(crate) listen: SocketAddr,

    /// Speak HTTPS: PEM file with the certificate and then its chain. SIGHUP reads it and its key again.
    #[arg(long, env = "SQUALL_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,

    /// PEM file with the key of --tls-cert.
    #[arg(long, env = "SQUALL_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,

    /// Address by which others reach this server, where it is not --listen: the name in its certificate, say.
    #[arg(long, env = "SQUALL_PUBLIC_URL", value_name = "URL", value_parser = parse_public_url)]
    pub(crate) public_url: Option<String>,

    /// Folder for everything that is kept; made if it is not there.
    #[arg(
        long,
        env = "SQUALL_DATA_DIR",
        default_value = "./.squall",
        value_name = "DIR"
    )]
    pub(crate) data_dir: PathBuf,

    /// File with the key that seals functions' configurations in the store; made if it is not there
    /// [default: DATA_DIR/seal.key]
    #[arg(long, env = "SQUALL_SEAL_KEY", value_name = "FILE")]
    pub(crate) seal_key: Option<PathBuf>,

    /// Stop an instance that has been idle for this long.
    #[arg(long, env = "SQUALL_IDLE_TIMEOUT", default_value = "10m", value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) idle_timeout: Duration,

    /// Most invocations that run at once, over all functions.
    #[arg(
        long,
        env = "SQUALL_ACCOUNT_CONCURRENCY",
        default_value_t = 1000,
        value_name = "N"
    )]
    pub(crate) account_concurrency: u32,

    /// Most instances that live at once on this machine, over all functions.
    #[arg(long, env = "SQUALL_INSTANCES_MAX", default_value_t = 500, value_name = "N")]
    pub(crate) instances_max: usize,

    /// Keep the results of asynchronous invocations, and the answers under idempotency keys, for this long.
    #[arg(long, env = "SQUALL_RESULT_RETENTION", default_value = "1d", value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) result_retention: Duration,

    /// Forget log lines that are older than this.
    #[arg(long, env = "SQUALL_LOG_RETENTION", default_value = "14d", value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) log_retention: Duration,

    /// Most MiB of log lines to keep for each function; the oldest go first. 0 keeps none.
    #[arg(long, env = "SQUALL_LOG_MIB_MAX", default_value_t = 64, value_name = "MIB")]
    pub(crate) log_mib_max: u64,

    /// Caches of the functions' state: one for each group of executors, 1 to 64.
    #[arg(long, env = "SQUALL_STATE_CACHES", default_value_t = 1, value_name = "N")]
    pub(crate) state_caches: u16,

    /// Most MiB of the functions' state to keep in memory, over all caches.
    #[arg(
        long,
        env = "SQUALL_STATE_CACHE_MIB",
        default_value_t = 256,
        value_name = "MIB"
    )]
    pub(crate) state_cache_mib: u32,

    /// On the first signal, wait at most this long for running invocations.
    #[arg(long, env = "SQUALL_DRAIN_TIMEOUT", default_value = "30s", value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) drain_timeout: Duration,

    /// Walls around functions: all that this host allows, all or nothing, or none.
    #[arg(long, env = "SQUALL_WALLS", default_value = "auto", value_name = "WHICH")]
    pub(crate) walls: WallsArg,

    /// Folder of this host that all functions may read and write, at the same path; may be given several times.
    #[arg(long, env = "SQUALL_SHARE", value_name = "DIR", value_delimiter = ':')]
    pub(crate) share: Vec<PathBuf>,

    /// Account in ARNs: twelve digits.
    #[arg(long, env = "SQUALL_ACCOUNT", default_value = "000000000000", value_parser = parse_account)]
    pub(crate) account: String,

    /// Region in ARNs and signatures.
    #[arg(long, env = "SQUALL_REGION", default_value = "us-east-1", value_parser = parse_region)]
    pub(crate) region: String,
}

/// `auto`, `full` or `off`.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum WallsArg {
    /// All that this host allows; the server says at its start which are missing
    Auto,
    /// All; the server does not start where one cannot be built
    Full,
    /// None: functions can do what the server can, for looking for a fault
    Off,
}

impl From<WallsArg> for WallsWanted {
    fn from(arg: WallsArg) -> Self {
        match arg {
            WallsArg::Auto => Self::Auto,
            WallsArg::Full => Self::Full,
            WallsArg::Off => Self::Off,
        }
    }
}

/// `http://HOST:PORT` or `https://HOST:PORT`, without a path.
fn parse_public_url(text: &str) -> Result<String, String> {
    let wrong = || format!("`{text}` is not a server's address: write https://HOST:PORT");
    let uri: http::Uri = text.parse().map_err(|_| wrong())?;
    let is_address =
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.path() == "/" && uri.query().is_none();
    if !is_address
        || uri
            .authority()
            .is_none_or(|authority| authority.as_str().contains('@'))
    {
        return Err(wrong());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// A number and its unit: `500ms`, `1s`, `10m`, `2h`, `14d`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || {
        format!("`{text}` is not a duration: write a number and a unit, such as 500ms, 30s, 10m, 2h or 14d")
    };
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 3600 * 1000,
        "d" => 24 * 3600 * 1000,
        _ => return Err(wrong()),
    };
    number
        .checked_mul(millis)
        .map(Duration::from_millis)
        .ok_or_else(wrong)
}

fn parse_account(text: &str) -> Result<String, String> {
    let is_account = text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit());
    if is_account {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` is not an account: write twelve digits"))
    }
}

fn parse_region(text: &str) -> Result<String, String> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let is_region = !text.is_empty() && text.len() <= 32 && text.bytes().all(allowed);
    if is_region {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "`{text}` is not a region: write lower-case letters, digits and `-`, such as us-east-1"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_durations_with_a_unit() {
        let millis = |text| parse_duration(text).map(|d| d.as_millis()).ok();
        assert_eq!(millis("500ms"), Some(500));
        assert_eq!(millis("10m"), Some(600_000));
        assert_eq!(millis("14d"), Some(14 * 86_400_000));
        for wrong in [
            "",
            "10",
            "m",
            "-1s",
            "1 s",
            "99999999999999999999s",
            "18446744073709551615d",
        ] {
            assert_eq!(millis(wrong), None, "`{wrong}`");
        }
    }

    #[test]
    fn refuses_accounts_and_regions_that_would_not_fit_an_arn() {
        assert!(parse_account("123456789012").is_ok());
        assert!(parse_account("12345").is_err());
        assert!(parse_region("eu-central-1").is_ok());
        assert!(parse_region("EU:1").is_err());
    }
}
