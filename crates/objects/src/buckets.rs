//! Buckets: all of them are in memory, and a change counts when it is written.

use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use squall_store::{Batch, Scan};

use crate::error::ObjectsError;
use crate::name::check_bucket_name;
use crate::notification::{self, Notifications};
use crate::objects::{Objects, now_ms};
use crate::record::{BUCKETS, BucketRecord, OBJECTS, UPLOADS, bucket_prefix};

/// A bucket, as it is told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketView {
    /// Its name.
    pub name: String,
    /// Milliseconds since 1970.
    pub created_ms: i64,
}

impl Objects {
    /// Makes a bucket.
    ///
    /// # Errors
    /// [`ObjectsError::BucketName`], [`ObjectsError::BucketExists`], [`ObjectsError::TooManyBuckets`].
    pub async fn create_bucket(&self, name: &str, tags: Vec<(String, String)>) -> Result<(), ObjectsError> {
        check_bucket_name(name)?;
        let (objects, name) = (self.clone(), name.to_owned());
        self.detached(async move { objects.create(&name, tags).await })
            .await
    }

    async fn create(&self, name: &str, tags: Vec<(String, String)>) -> Result<(), ObjectsError> {
        let _changing = self.inner.changing.lock().await;
        let number = {
            let buckets = self.buckets();
            if buckets.contains_key(name) {
                return Err(ObjectsError::BucketExists);
            }
            if buckets.len() >= self.inner.config.buckets_max {
                return Err(ObjectsError::TooManyBuckets);
            }
            // A bucket is empty when it goes, so its number may be used again.
            let last = buckets.values().map(|bucket| bucket.number).max();
            last.map_or(Some(1), |last| last.checked_add(1))
                .ok_or(ObjectsError::TooManyBuckets)?
        };
        let record = BucketRecord {
            number,
            created_ms: now_ms(),
            notifications: Notifications::new(),
            tags,
        };
        self.write_bucket(name, record).await
    }

    /// Removes a bucket that has no objects; uploads into it are aborted.
    ///
    /// # Errors
    /// [`ObjectsError::NoSuchBucket`], [`ObjectsError::BucketNotEmpty`].
    pub async fn delete_bucket(&self, name: &str) -> Result<(), ObjectsError> {
        let (objects, name) = (self.clone(), name.to_owned());
        self.detached(async move { objects.remove(&name).await }).await
    }

    async fn remove(&self, name: &str) -> Result<(), ObjectsError> {
        let _changing = self.inner.changing.lock().await;
        // Nothing is written into any bucket meanwhile.
        let _fence = self.inner.fence.write().await;
        let bucket = self.bucket(name)?;
        let prefix = Bytes::copy_from_slice(&bucket_prefix(bucket.number));
        let first = Scan::prefix(OBJECTS, prefix.clone()).limit(1);
        if !self.inner.store.scan(first).await?.is_empty() {
            return Err(ObjectsError::BucketNotEmpty);
        }
        loop {
            let uploads = self
                .inner
                .store
                .scan(Scan::prefix(UPLOADS, prefix.clone()).limit(16))
                .await?;
            if uploads.is_empty() {
                break;
            }
            for (key, _) in uploads {
                self.drop_upload(key).await?;
            }
        }
        let batch = Batch::durable().delete(BUCKETS, name.to_owned());
        self.inner.store.commit(batch).await?;
        self.buckets_mut().remove(name);
        Ok(())
    }

    /// All buckets, by name.
    pub fn list_buckets(&self) -> Vec<BucketView> {
        let buckets = self.buckets();
        let views = buckets.iter().map(|(name, bucket)| BucketView {
            name: name.clone(),
            created_ms: bucket.created_ms,
        });
        views.collect()
    }

    /// Whether there is such a bucket.
    ///
    /// # Errors
    /// [`ObjectsError::NoSuchBucket`].
    pub fn check_bucket(&self, name: &str) -> Result<(), ObjectsError> {
        self.bucket(name).map(drop)
    }

    /// Whom a bucket tells about its changes.
    ///
    /// # Errors
    /// [`ObjectsError::NoSuchBucket`].
    pub fn notifications(&self, name: &str) -> Result<Notifications, ObjectsError> {
        Ok(self.bucket(name)?.notifications.clone())
    }

    /// Says anew whom a bucket tells about its changes.
    ///
    /// # Errors
    /// [`ObjectsError::NoSuchBucket`], and [`ObjectsError::Invalid`] where S3 would not take them.
    pub async fn set_notifications(
        &self,
        name: &str,
        notifications: Notifications,
    ) -> Result<(), ObjectsError> {
        notification::check(&notifications)?;
        self.change_bucket(name, |record| record.notifications = notifications)
            .await
    }

    /// A bucket's own tags.
    ///
    /// # Errors
    /// [`ObjectsError::NoSuchBucket`].
    pub fn bucket_tags(&self, name: &str) -> Result<Vec<(String, String)>, ObjectsError> {
        Ok(self.bucket(name)?.tags.clone())
    }

    /// Says a bucket's tags anew.
    ///
    /// # Errors
    /// [`ObjectsError::NoSuchBucket`].
    pub async fn set_bucket_tags(&self, name: &str, tags: Vec<(String, String)>) -> Result<(), ObjectsError> {
        self.change_bucket(name, |record| record.tags = tags).await
    }

    async fn change_bucket(
        &self,
        name: &str,
        change: impl FnOnce(&mut BucketRecord) + Send + 'static,
    ) -> Result<(), ObjectsError> {
        let (objects, name) = (self.clone(), name.to_owned());
        let changed = async move {
            let _changing = objects.inner.changing.lock().await;
            let mut record = BucketRecord::clone(&*objects.bucket(&name)?);
            change(&mut record);
            objects.write_bucket(&name, record).await
        };
        self.detached(changed).await
    }

    async fn write_bucket(&self, name: &str, record: BucketRecord) -> Result<(), ObjectsError> {
        let batch = Batch::durable().put(BUCKETS, name.to_owned(), record.encode());
        self.inner.store.commit(batch).await?;
        self.buckets_mut().insert(name.to_owned(), Arc::new(record));
        Ok(())
    }

    pub(crate) fn bucket(&self, name: &str) -> Result<Arc<BucketRecord>, ObjectsError> {
        self.buckets()
            .get(name)
            .cloned()
            .ok_or(ObjectsError::NoSuchBucket)
    }

    fn buckets(&self) -> std::sync::RwLockReadGuard<'_, crate::objects::Buckets> {
        self.inner.buckets.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn buckets_mut(&self) -> std::sync::RwLockWriteGuard<'_, crate::objects::Buckets> {
        self.inner.buckets.write().unwrap_or_else(PoisonError::into_inner)
    }
}
