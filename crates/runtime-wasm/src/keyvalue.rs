//! `wasi:keyvalue` on the functions' state: what a component asks becomes a question to its event's host.
//!
//! The identifiers `""` and `default` are the function's own bucket, others name one that is bound to it. `increment`
//! makes a counter of its key, which `get` then reads as text. What the event's level of consistency promises holds
//! here too. Compare-and-swap came with a later draft, which is not offered.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;
use squall_runtime::{HostBody, HostError, HostReply, HostRequest, Operation};
use squall_types::Encoding;
use wasmtime::component::{HasSelf, Linker, Resource};
use wasmtime_wasi::WasiView;

use self::generated::wasi::keyvalue::store::{Error, KeyResponse};
use self::generated::wasi::keyvalue::{atomics, batch, store};
use crate::host::Host;

/// Keys of one question to `batch`.
const KEYS_MAX: usize = 10_000;
/// Pages of one listing.
const PAGES_MAX: usize = 10_000;
const PAGE_KEYS: usize = 1000;

mod generated {
    wasmtime::component::bindgen!({
        path: "wit/keyvalue.wit",
        world: "imports",
        imports: { default: async | trappable },
        require_store_data_send: true,
        with: { "wasi:keyvalue/store.bucket": super::Bucket },
    });
}

/// Who answers a call's questions; nobody between calls.
pub(crate) type Answerer = Option<Arc<dyn squall_runtime::Host>>;

/// A bucket that a guest has opened.
#[derive(Debug)]
#[expect(unreachable_pub, reason = "the bindings export it again")]
pub struct Bucket {
    name: Bytes,
    /// The last key of each page that was listed: a cursor is a place in here.
    pages: Vec<String>,
}

/// Whether an interface of `wasi:keyvalue` is one of these.
pub(crate) fn is_offered(interface: &str) -> bool {
    interface.starts_with("wasi:keyvalue/") && interface.ends_with("@0.2.0-draft")
}

/// Defines the interfaces.
pub(crate) fn add_to_linker(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    store::add_to_linker::<_, HasSelf<Host>>(linker, |host| host)?;
    atomics::add_to_linker::<_, HasSelf<Host>>(linker, |host| host)?;
    batch::add_to_linker::<_, HasSelf<Host>>(linker, |host| host)
}

/// An outer error is a trap: the guest has no such bucket.
type Answered<T> = wasmtime::Result<Result<T, Error>>;

impl Host {
    fn bucket(&mut self, bucket: &Resource<Bucket>) -> wasmtime::Result<&mut Bucket> {
        Ok(WasiView::ctx(self).table.get_mut(bucket)?)
    }

    fn question(
        &mut self,
        operation: Operation,
        bucket: &Resource<Bucket>,
        key: String,
    ) -> wasmtime::Result<HostRequest> {
        let name = self.bucket(bucket)?.name.clone();
        Ok(HostRequest::new(operation, name, key.into()))
    }

    async fn ask(&mut self, request: HostRequest) -> Result<HostReply, HostError> {
        match &self.answerer {
            Some(host) => host.call(request).await,
            None => Err(HostError {
                kind: "NotAvailable",
                message: "this server keeps no state for functions".to_owned(),
                is_retryable: false,
            }),
        }
    }

    async fn value(&mut self, bucket: &Resource<Bucket>, key: String) -> Answered<Option<Bytes>> {
        let request = self.question(Operation::Get, bucket, key.clone())?;
        match self.ask(request).await {
            Err(error) if error.kind == "OtherLattice" => self.count(bucket, key).await,
            answer => Ok(answer.map(content).map_err(refusal)),
        }
    }

    /// What a key holds that is a counter, as text.
    async fn count(&mut self, bucket: &Resource<Bucket>, key: String) -> Answered<Option<Bytes>> {
        let mut request = self.question(Operation::Lattice, bucket, key)?;
        request.arguments = json!({ "method": "counter.get" }).to_string().into();
        Ok(self.ask(request).await.map(content).map_err(refusal))
    }

    async fn write(&mut self, bucket: &Resource<Bucket>, key: String, value: Vec<u8>) -> Answered<()> {
        let mut request = self.question(Operation::Put, bucket, key)?;
        request.encoding = Encoding::Bytes;
        request.body = HostBody::Bytes(value.into());
        Ok(self.ask(request).await.map(drop).map_err(refusal))
    }

    async fn remove(&mut self, bucket: &Resource<Bucket>, key: String) -> Answered<()> {
        let request = self.question(Operation::Delete, bucket, key)?;
        Ok(self.ask(request).await.map(drop).map_err(refusal))
    }

    async fn page(&mut self, bucket: Bytes, after: Option<&str>, limit: usize) -> Result<Vec<String>, Error> {
        let mut request = HostRequest::new(Operation::List, bucket, Bytes::new());
        request.arguments = json!({ "after": after, "limit": limit }).to_string().into();
        let listed = content(self.ask(request).await.map_err(refusal)?).unwrap_or_default();
        serde_json::from_slice(&listed).map_err(|error| Error::Other(format!("no listing came: {error}")))
    }
}

/// What an answer brings. Values do not come as files here: nobody has asked for any.
fn content(reply: HostReply) -> Option<Bytes> {
    match reply {
        HostReply::Value {
            body: HostBody::Bytes(bytes),
            ..
        } => Some(bytes),
        _ => None,
    }
}

fn refusal(error: HostError) -> Error {
    match error.kind {
        "UnknownBucket" => Error::NoSuchStore,
        "BucketNotBound" => Error::AccessDenied,
        _ => Error::Other(error.message),
    }
}

fn too_many(count: usize) -> Option<Error> {
    (count > KEYS_MAX).then(|| Error::Other(format!("{count} keys in one question: at most {KEYS_MAX}")))
}

impl store::Host for Host {
    async fn open(&mut self, identifier: String) -> Answered<Resource<Bucket>> {
        let name = match identifier.as_str() {
            "" | "default" => Bytes::new(),
            _ => identifier.into(),
        };
        // Whether it is there and may be seen shows now, where the guest expects it.
        if let Err(error) = self.page(name.clone(), None, 1).await
            && !is_own_and_new(&name, &error)
        {
            return Ok(Err(error));
        }
        let bucket = Bucket {
            name,
            pages: Vec::new(),
        };
        Ok(Ok(WasiView::ctx(self).table.push(bucket)?))
    }
}

/// A function's own bucket is made by its first write.
fn is_own_and_new(name: &Bytes, error: &Error) -> bool {
    name.is_empty() && matches!(error, Error::NoSuchStore)
}

impl store::HostBucket for Host {
    async fn get(&mut self, bucket: Resource<Bucket>, key: String) -> Answered<Option<Vec<u8>>> {
        let value = self.value(&bucket, key).await?;
        Ok(value.map(|value| value.map(Vec::from)))
    }

    async fn set(&mut self, bucket: Resource<Bucket>, key: String, value: Vec<u8>) -> Answered<()> {
        self.write(&bucket, key, value).await
    }

    async fn delete(&mut self, bucket: Resource<Bucket>, key: String) -> Answered<()> {
        self.remove(&bucket, key).await
    }

    async fn exists(&mut self, bucket: Resource<Bucket>, key: String) -> Answered<bool> {
        let request = self.question(Operation::Get, &bucket, key)?;
        Ok(match self.ask(request).await {
            Err(error) if error.kind == "OtherLattice" => Ok(true),
            answer => answer.map(|reply| content(reply).is_some()).map_err(refusal),
        })
    }

    async fn list_keys(&mut self, bucket: Resource<Bucket>, cursor: Option<u64>) -> Answered<KeyResponse> {
        let held = self.bucket(&bucket)?;
        let name = held.name.clone();
        let after = match cursor {
            None => None,
            Some(cursor) => match usize::try_from(cursor).ok().and_then(|at| held.pages.get(at)) {
                Some(last) => Some(last.clone()),
                None => return Ok(Err(Error::Other(format!("{cursor} is no cursor of this bucket")))),
            },
        };
        let keys = match self.page(name, after.as_deref(), PAGE_KEYS).await {
            Ok(keys) => keys,
            Err(error) => return Ok(Err(error)),
        };
        let held = self.bucket(&bucket)?;
        let cursor = match keys.last() {
            Some(last) if keys.len() == PAGE_KEYS => {
                if held.pages.len() == PAGES_MAX {
                    return Ok(Err(Error::Other(format!(
                        "{PAGES_MAX} pages were listed: open it again"
                    ))));
                }
                held.pages.push(last.clone());
                Some(held.pages.len() as u64 - 1)
            }
            _ => None,
        };
        Ok(Ok(KeyResponse { keys, cursor }))
    }

    async fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        WasiView::ctx(self).table.delete(bucket)?;
        Ok(())
    }
}

impl atomics::Host for Host {
    async fn increment(&mut self, bucket: Resource<Bucket>, key: String, delta: u64) -> Answered<u64> {
        let mut request = self.question(Operation::Lattice, &bucket, key)?;
        request.arguments = json!({ "method": "counter.add", "by": delta }).to_string().into();
        let sum = match self.ask(request).await {
            Ok(reply) => content(reply).unwrap_or_default(),
            Err(error) => return Ok(Err(refusal(error))),
        };
        Ok(serde_json::from_slice(&sum)
            .map_err(|error| Error::Other(format!("the sum is no number of u64: {error}"))))
    }
}

impl batch::Host for Host {
    async fn get_many(
        &mut self,
        bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> Answered<Vec<Option<(String, Vec<u8>)>>> {
        if let Some(error) = too_many(keys.len()) {
            return Ok(Err(error));
        }
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            match self.value(&bucket, key.clone()).await? {
                Ok(value) => found.push(value.map(|value| (key, value.into()))),
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Ok(found))
    }

    async fn set_many(&mut self, bucket: Resource<Bucket>, pairs: Vec<(String, Vec<u8>)>) -> Answered<()> {
        if let Some(error) = too_many(pairs.len()) {
            return Ok(Err(error));
        }
        for (key, value) in pairs {
            if let Err(error) = self.write(&bucket, key, value).await? {
                return Ok(Err(error));
            }
        }
        Ok(Ok(()))
    }

    async fn delete_many(&mut self, bucket: Resource<Bucket>, keys: Vec<String>) -> Answered<()> {
        if let Some(error) = too_many(keys.len()) {
            return Ok(Err(error));
        }
        for key in keys {
            if let Err(error) = self.remove(&bucket, key).await? {
                return Ok(Err(error));
            }
        }
        Ok(Ok(()))
    }
}
