//! Reading a request's body, up to a bound in bytes and in patience.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};

/// The longest pause between two pieces of a body.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Of a body that is too long, so much is read and thrown away: who is cut off while sending never sees the answer.
const DISCARDED_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Why a body was not read whole.
#[derive(Debug)]
pub(crate) enum BodyError {
    /// It is longer than it may be.
    TooLarge,
    /// The client stopped sending, or broke the protocol.
    Broken(String),
}

/// The whole body. Of one that is too long nothing is kept.
pub(crate) async fn read(mut body: Incoming, bytes_max: usize) -> Result<Bytes, BodyError> {
    let announced = body.size_hint();
    if announced.lower() > bytes_max as u64 {
        return Err(discard(body).await);
    }
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
