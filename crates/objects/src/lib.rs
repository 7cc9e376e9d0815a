//! Buckets and objects: what the functions keep as files.
//!
//! Records (buckets, objects, multipart uploads and their parts) are in the store; bodies are files in a folder of their
//! own. A body is written and synced under a random name before the record that names it is committed, and that commit
//! is the moment at which the object exists: a crash leaves at most a file that nobody names, which the next start
//! removes. This crate knows S3's rules, but not its XML: that is the gateway's.

mod bodies;
mod buckets;
mod digest;
mod error;
mod listing;
mod name;
mod notification;
mod objects;
mod record;
mod sweep;
#[cfg(test)]
mod tests;
mod uploads;

pub use bodies::{Expected, Incoming, Reading, Received};
pub use buckets::BucketView;
pub use digest::{Algorithm, Checksum, ChecksumKind};
pub use error::ObjectsError;
pub use listing::{Listed, Listing, ObjectEntry, Page, UploadEntry};
pub use name::check_bucket_name;
pub use notification::{
    Announce, CommitError, Filter, Notice, Notification, Notifications, Origin, Target, arn, timestamp,
};
pub use objects::{Condition, Found, NewObject, Objects, ObjectsConfig};
pub use record::{Attributes, ObjectRecord, PartRecord, UploadRecord};
pub use uploads::{Complete, CompletePart, NewUpload, PART_NUMBER_MAX, UploadId};
