//! Reading a request's body, up to a bound in bytes and in patience; and all large bodies together, up to another.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The longest pause between two pieces of a body.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Of a body that is too long, so much is read and thrown away: who is cut off while sending never sees the answer.
const DISCARDED_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Up to this a body needs no room: what all connections together can hold of those is bounded already.
const SMALL_BYTES_MAX: u64 = ROOM_UNIT_BYTES;
const ROOM_UNIT_BYTES: u64 = 64 * 1024;
/// What all larger bodies may hold at once.
const ROOM_BYTES: u64 = 512 * 1024 * 1024;

/// The room for large bodies. A body has its part from before it is read until the last of it is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    units: Arc<Semaphore>,
    units_max: u32,
}

impl Default for Room {
    fn default() -> Self {
        Self::of(u32::try_from(ROOM_BYTES / ROOM_UNIT_BYTES).expect("a few thousand units"))
    }
}

impl Room {
    fn of(units_max: u32) -> Self {
        Self {
            units: Arc::new(Semaphore::new(units_max as usize)),
            units_max,
        }
    }

    /// Waits for room for so many bytes, as long as for a slow sender. More than there is at all counts as all of it.
    async fn take(&self, bytes: u64) -> Result<Option<OwnedSemaphorePermit>, BodyError> {
        if bytes <= SMALL_BYTES_MAX {
            return Ok(None);
        }
        let units = u32::try_from(bytes.div_ceil(ROOM_UNIT_BYTES))
            .unwrap_or(u32::MAX)
            .min(self.units_max);
        let taken = tokio::time::timeout(PAUSE_MAX, self.units.clone().acquire_many_owned(units)).await;
        let permit = taken.map_err(|_| BodyError::NoRoom)?;
        Ok(Some(permit.expect("nobody closes the room")))
    }
}

/// Bytes that give their room back when the last clone of them is dropped.
struct InRoom {
    bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for InRoom {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Why a body was not read whole.
#[derive(Debug)]
pub(crate) enum BodyError {
    /// It is longer than it may be.
    TooLarge,
    /// The client stopped sending, or broke the protocol.
    Broken(String),
    /// Too many large bodies are being worked on.
    NoRoom,
}

/// The whole body. Of one that is too long nothing is kept.
pub(crate) async fn read(body: Incoming, bytes_max: usize, room: &Room) -> Result<Bytes, BodyError> {
    let announced = body.size_hint();
    if announced.lower() > bytes_max as u64 {
        return Err(discard(body).await);
    }
    let taken = room.take(announced.exact().unwrap_or(bytes_max as u64)).await?;
    let bytes = read_whole(body, bytes_max).await?;
    Ok(match taken {
        Some(permit) => Bytes::from_owner(InRoom { bytes, _room: permit }),
        None => bytes,
    })
}

async fn read_whole(mut body: Incoming, bytes_max: usize) -> Result<Bytes, BodyError> {
    let announced = body.size_hint();
    let Some(first) = next(&mut body).await? else {
        return Ok(Bytes::new());
    };
    if body.is_end_stream() && first.len() <= bytes_max {
        // Nearly every event comes in one piece, which needs no copy.
        return Ok(first);
    }
    let expected = announced.exact().and_then(|bytes| usize::try_from(bytes).ok());
    let mut whole = BytesMut::with_capacity(expected.unwrap_or(first.len()));
    let mut piece = Some(first);
    while let Some(bytes) = piece {
        if whole.len() + bytes.len() > bytes_max {
            drop(whole);
            return Err(discard(body).await);
        }
        whole.extend_from_slice(&bytes);
        piece = next(&mut body).await?;
    }
    Ok(whole.freeze())
}

/// Reads on without keeping anything. Whatever comes of it, the body was too large.
async fn discard(mut body: Incoming) -> BodyError {
    let mut bytes = 0;
    while bytes <= DISCARDED_BYTES_MAX
        && let Ok(Some(piece)) = next(&mut body).await
    {
        bytes += piece.len() as u64;
    }
    BodyError::TooLarge
}

/// The next piece; `None` at the end. Trailers carry nothing that anybody asks for.
async fn next(body: &mut Incoming) -> Result<Option<Bytes>, BodyError> {
    loop {
        let frame = tokio::time::timeout(PAUSE_MAX, body.frame()).await;
        let late = |_| BodyError::Broken(format!("nothing came for {} s", PAUSE_MAX.as_secs()));
        match frame.map_err(late)? {
            None => return Ok(None),
            Some(Err(error)) => return Err(BodyError::Broken(error.to_string())),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
