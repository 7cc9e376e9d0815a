//! For the fuzz targets: takes any bytes, and panics where a promise is broken. See `fuzz/`.

use bytes::Bytes;
use http::Request;
use http::request::Parts;

pub use crate::lambda::fuzzing::lambda_json;
pub use crate::url::fuzzing::url_event;

/// A request of any bytes: a line `METHOD URI`, lines `NAME: VALUE`, an empty line, a body. `None` where HTTP has none
/// such.
pub fn request(data: &[u8]) -> Option<(Parts, Bytes)> {
    let end = data.windows(2).position(|two| two == b"\n\n")?;
    let (head, body) = (&data[..end], &data[end + 2..]);
    let mut lines = head.split(|byte| *byte == b'\n');
    let mut words = lines.next()?.splitn(2, |byte| *byte == b' ');
    let mut request = Request::builder().method(words.next()?).uri(words.next()?);
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':')?;
        request = request.header(&line[..colon], line[colon + 1..].trim_ascii());
    }
    let (head, ()) = request.body(()).ok()?.into_parts();
    Some((head, Bytes::copy_from_slice(body)))
}

#[cfg(test)]
mod tests {
    //! That the targets take what they are meant to take: what they refuse they cannot test.

    use super::*;

    #[test]
    fn a_request_is_read() {
        let (head, body) = request(b"POST /a?b=c\nhost: x\ncookie: a=b\n\nbody").expect("a request");
        assert_eq!(body, "body");
        assert_eq!(head.uri.query(), Some("b=c"));
    }

    #[test]
    fn the_targets_take_what_clients_send() {
        url_event(b"POST /a%20b?c=d&c=e\nhost: x.lambda-url\ncookie: a=b; c=d\n\n\xff\x00");
        for kind in 0..=u8::MAX {
            let mut data = vec![kind];
            data.extend_from_slice(
                br#"{"FunctionName":"f","Code":{"ZipFile":"AAAA"},"Timeout":3,"Layers":[]}"#,
            );
            lambda_json(&data);
        }
    }
}
