//! Addresses to listen on, and origins of pages.

use std::net::SocketAddr;

/// An address to listen on: a number, since a name may stand for several or for none.
pub(crate) fn listen_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "write it as ADDRESS:PORT with a numeric address, such as 127.0.0.1:7400, [::1]:7400, or \
         0.0.0.0:7400 for all of this machine's"
            .to_owned()
    })
}

/// A page's origin, as browsers send it.
pub(crate) fn origin(text: &str) -> Result<String, String> {
    let host = text.split_once("://").map_or("", |(_, host)| host);
    if host.is_empty() || host.contains('/') {
        return Err(
            "write it as browsers do: SCHEME://HOST or SCHEME://HOST:PORT, without a path"
                .to_owned(),
        );
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_address_or_origin_is_refused_with_an_example() {
        for text in ["127.0.0.1:7400", "[::1]:0", "0.0.0.0:80"] {
            assert!(listen_address(text).is_ok(), "{text}");
        }
        for text in ["localhost:7400", "7400", "::1:7400:", ""] {
            assert!(
                listen_address(text).unwrap_err().contains("127.0.0.1:7400"),
                "{text}"
            );
        }
        for text in ["https://example.com", "http://localhost:3000"] {
            assert_eq!(origin(text).as_deref(), Ok(text));
        }
        for text in ["example.com", "https://", "https://a/b", ""] {
            assert!(origin(text).is_err(), "{text}");
        }
    }
}
