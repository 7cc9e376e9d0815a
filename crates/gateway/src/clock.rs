//! Times as AWS writes them.

use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

const AMZ: &[BorrowedFormatItem<'_>] = format_description!("[year][month][day]T[hour][minute][second]Z");
const ISO: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]+0000");
const LOG: &[BorrowedFormatItem<'_>] =
    format_description!("[day]/[month repr:short]/[year]:[hour]:[minute]:[second] +0000");
const IMPOSSIBLE: &str = "a time within the years that are written with four digits";

/// `20261124T031500Z`.
pub(crate) fn amz_timestamp(at: SystemTime) -> String {
    OffsetDateTime::from(at).format(AMZ).expect(IMPOSSIBLE)
}

/// Reads `20261124T031500Z`.
pub(crate) fn parse_amz_timestamp(text: &str) -> Option<SystemTime> {
    let at = time::PrimitiveDateTime::parse(text, AMZ).ok()?;
    Some(at.assume_utc().into())
}

/// `2026-11-24T03:15:00.000+0000`, as function configurations have it.
pub(crate) fn iso(ms: i64) -> String {
    let at = SystemTime::UNIX_EPOCH + Duration::from_millis(ms.unsigned_abs());
    OffsetDateTime::from(at).format(ISO).expect(IMPOSSIBLE)
}

/// `24/Nov/2026:03:15:00 +0000`, as function URLs have it.
pub(crate) fn common_log(at: SystemTime) -> String {
    OffsetDateTime::from(at).format(LOG).expect(IMPOSSIBLE)
}
