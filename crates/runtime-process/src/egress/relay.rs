//! Two connections joined: what comes by one leaves by the other, until both ends have said all, or nobody says anything.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

/// Of each direction: what is held of a connection whose other end does not read.
const BUFFER_BYTES: usize = 16 * 1024;
/// As long as the address translators of clouds keep a connection on which nothing moves.
const IDLE_MAX: Duration = Duration::from_secs(350);

/// Returns when both ends have closed.
///
/// # Errors
/// One of them broke, or nothing has moved for a long time: what was sent may not have arrived.
pub(super) async fn join<N, F>(near: &mut N, far: &mut F) -> io::Result<()>
where
    N: AsyncRead + AsyncWrite + Unpin,
    F: AsyncRead + AsyncWrite + Unpin,
{
    let moved = Moved(Mutex::new(Instant::now()));
    let (near_reads, near_writes) = tokio::io::split(near);
    let (far_reads, far_writes) = tokio::io::split(far);
    let both = async {
        tokio::try_join!(
            pump(near_reads, far_writes, &moved),
            pump(far_reads, near_writes, &moved)
        )
    };
    tokio::select! {
        joined = both => joined.map(drop),
        () = moved.idle() => Err(io::ErrorKind::TimedOut.into()),
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    moved: &Moved,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let bytes = from.read(&mut buffer).await?;
        moved.now();
        if bytes == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..bytes]).await?;
        moved.now();
    }
}

/// When something moved last, either way.
struct Moved(Mutex<Instant>);

impl Moved {
    fn now(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    async fn idle(&self) {
        loop {
            let until = *self.0.lock().unwrap_or_else(PoisonError::into_inner) + IDLE_MAX;
            if until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }
}

#[cfg(test)]
mod tests {
    //! Ends that speak, stop and break; the clock is paused.

    use tokio::io::{DuplexStream, duplex};
    use tokio::task::JoinHandle;

    use super::*;

    fn joined() -> (DuplexStream, DuplexStream, JoinHandle<io::Result<()>>) {
        let (near, mut near_end) = duplex(64);
        let (far, mut far_end) = duplex(64);
        let joined = tokio::spawn(async move { join(&mut near_end, &mut far_end).await });
        (near, far, joined)
    }

    #[tokio::test]
    async fn what_one_end_says_the_other_hears_also_after_it_has_stopped_speaking() {
        let (mut near, mut far, joined) = joined();
        near.write_all(b"a question").await.expect("it is read");
        near.shutdown().await.expect("closed");
        let mut heard = String::new();
        far.read_to_string(&mut heard).await.expect("text");
        assert_eq!(heard, "a question");
        far.write_all(b"an answer").await.expect("it is read");
        far.shutdown().await.expect("closed");
        heard.clear();
        near.read_to_string(&mut heard).await.expect("text");
        assert_eq!(heard, "an answer");
        joined.await.expect("no panic").expect("both have closed");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_on_which_nothing_moves_is_ended() {
        let (mut near, mut far, joined) = joined();
        let begun = Instant::now();
        tokio::time::sleep(IDLE_MAX - Duration::from_secs(1)).await;
        near.write_all(b"x").await.expect("it is read");
        assert_eq!(far.read_u8().await.expect("a byte"), b'x');
        let ended = joined.await.expect("no panic");
        assert_eq!(ended.map_err(|error| error.kind()), Err(io::ErrorKind::TimedOut));
        assert!(begun.elapsed() >= IDLE_MAX * 2 - Duration::from_secs(1));
    }
}
