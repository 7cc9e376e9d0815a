//! The environment variables of an instance: Lambda's own, the user's, and those that Lambda lets nobody override.
//!
//! `runtime` builds one per instance.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use squall_access::Issued;
use squall_runtime::InstanceId;
use squall_types::{Revision, Version};

use crate::ProcessConfig;

/// MiB of memory that come with one whole processor on Lambda.
const MIB_PER_CPU: u32 = 1769;
/// What numeric libraries read to size their thread pools.
const THREAD_COUNTS: [&str; 4] = [
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
];

/// What every instance of a revision has in common.
pub(crate) fn of_revision(
    config: &ProcessConfig,
    revision: &Revision,
    task: &Path,
    endpoint: Option<&str>,
) -> BTreeMap<String, String> {
    let task = task.display();
    let mut variables: BTreeMap<String, String> = BTreeMap::new();
    let mut set = |name: &str, value: String| variables.insert(name.to_owned(), value);
    let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/local/bin:/usr/bin:/bin".to_owned());
    set("PATH", format!("{path}:/opt/bin"));
    set("LANG", "en_US.UTF-8".to_owned());
    set("TZ", ":UTC".to_owned());
    set("LD_LIBRARY_PATH", format!("{task}:{task}/lib:/opt/lib"));
    if let Some(endpoint) = endpoint {
        set("AWS_ENDPOINT_URL", endpoint.to_owned());
    }
    let threads = (revision.memory_mib / MIB_PER_CPU).max(1).to_string();
    for name in THREAD_COUNTS {
        set(name, threads.clone());
    }
    variables.extend(revision.environment.clone());
    let mut set = |name: &str, value: String| variables.insert(name.to_owned(), value);
    let region = &config.home.region;
    set("_HANDLER", revision.handler.clone());
    set("AWS_REGION", region.clone());
    set("AWS_DEFAULT_REGION", region.clone());
    set("AWS_EXECUTION_ENV", format!("AWS_Lambda_{}", revision.runtime));
    set("AWS_LAMBDA_FUNCTION_NAME", revision.name.to_string());
    set("AWS_LAMBDA_FUNCTION_VERSION", revision.version.to_string());
    set("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", revision.memory_mib.to_string());
    set("AWS_LAMBDA_LOG_GROUP_NAME", revision.log_group.clone());
    set("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand".to_owned());
    set("LAMBDA_TASK_ROOT", task.to_string());
    set("LAMBDA_RUNTIME_DIR", "/var/runtime".to_owned());
    variables
}

/// Adds what one instance has for itself.
pub(crate) fn of_instance(
    mut variables: BTreeMap<String, String>,
    revision: &Revision,
    id: InstanceId,
    tmp: &Path,
    credentials: Option<&Issued>,
) -> BTreeMap<String, String> {
    let stream = log_stream(revision.version, id, SystemTime::now());
    variables.insert("AWS_LAMBDA_LOG_STREAM_NAME".to_owned(), stream);
    variables.insert("TMPDIR".to_owned(), tmp.display().to_string());
    variables.extend(credentials.into_iter().flat_map(Issued::variables));
    variables
}

/// `YYYY/MM/DD/[VERSION]INSTANCE`, as Lambda names log streams.
fn log_stream(version: Version, id: InstanceId, now: SystemTime) -> String {
    let days = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / 86_400;
    let (year, month, day) = civil(days);
    format!("{year:04}/{month:02}/{day:02}/[{version}]{id}")
}

/// The Gregorian date of a day counted from 1970-01-01, by shifting the year's start to March:
/// <https://howardhinnant.github.io/date_algorithms.html#civil_from_days>.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        let dates = [0, 59, 11_016, 20_781].map(civil);
        assert_eq!(dates, [(1970, 1, 1), (1970, 3, 1), (2000, 2, 29), (2026, 11, 24)]);
    }
}
