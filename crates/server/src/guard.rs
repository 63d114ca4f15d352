//! Keeps web pages away from a server on this machine.
//!
//! A browser sends requests to any address on behalf of any page. Two headers that a page cannot
//! forge tell what is behind it: `Origin`, which page sent it, and `Host` (`:authority`), which
//! name was looked up — a page may point a name of its own at 127.0.0.1 (DNS rebinding).

use std::net::{IpAddr, SocketAddr};

use ::http::{HeaderMap, HeaderValue, Uri, header, uri::Authority};

use crate::{
    config::ServerConfig,
    error::{ApiError, Reason},
};

/// How a browser says whose page a request is for (Fetch Metadata Request Headers, W3C).
const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// Which hosts and origins are answered.
#[derive(Debug)]
pub(crate) struct Guard {
    listen: IpAddr,
    hosts: Vec<String>,
    origins: Vec<String>,
}

/// How a permitted request stands to the page that sent it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    /// No page at all, or one that this server itself served.
    Own,
    /// A page of an allowed origin; the browser wants to be told so.
    Allowed(HeaderValue),
}

impl Guard {
    pub(crate) fn new(config: &ServerConfig, bound: SocketAddr) -> Self {
        let lower = |names: &[String]| {
            names
                .iter()
                .map(|n| n.trim_end_matches('/').to_ascii_lowercase())
                .collect()
        };
        Self {
            listen: bound.ip(),
            hosts: lower(&config.allowed_hosts),
            origins: lower(&config.allowed_origins),
        }
    }

    /// Permits a request by its target and headers.
    pub(crate) fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<Sender, ApiError> {
        let host = host_of(uri, headers)?;
        if !self.is_host_allowed(&host) {
            return Err(foreign_host(host.as_str()));
        }
        let Some(origin) = headers.get(header::ORIGIN) else {
            // What a page loads without asking, as an image, has no origin; the browser says all the
            // same that it is for another site.
            return match headers.get(SEC_FETCH_SITE) {
                Some(site) if site != "same-origin" && site != "none" => {
                    Err(foreign_origin("another site"))
                }
                _ => Ok(Sender::Own),
            };
        };
        let text = origin.to_str().unwrap_or("null").to_ascii_lowercase();
        if is_same_origin(&text, &host) {
            return Ok(Sender::Own);
        }
        if self.origins.contains(&text) {
            return Ok(Sender::Allowed(origin.clone()));
        }
        Err(foreign_origin(&text))
    }

    fn is_host_allowed(&self, host: &Authority) -> bool {
        let name = host.host().to_ascii_lowercase();
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        if let Ok(ip) = bare.parse::<IpAddr>() {
            // A number was not looked up anywhere, so nobody can have pointed it here.
            let is_any = self.listen.is_unspecified();
            if ip.is_loopback() || ip == self.listen || is_any {
                return true;
            }
        }
        bare == "localhost"
            || bare.ends_with(".localhost")
            || self
                .hosts
                .iter()
                .any(|allowed| *allowed == name || allowed.eq_ignore_ascii_case(host.as_str()))
    }
}

/// The one host a request names. HTTP/2 has it in the target, HTTP/1.1 in a header; when both are
/// there they must agree, or two readers of the request would take it for two different ones.
fn host_of(uri: &Uri, headers: &HeaderMap) -> Result<Authority, ApiError> {
    let mut named = headers.get_all(header::HOST).iter();
    let header = match (named.next(), named.next()) {
        (Some(_), Some(_)) => return Err(foreign_host("two Host headers")),
        (Some(value), None) => Some(
            Authority::try_from(value.as_bytes())
                .map_err(|_| foreign_host(&String::from_utf8_lossy(value.as_bytes())))?,
        ),
        _ => None,
    };
    match (uri.authority().cloned(), header) {
        (Some(target), Some(header)) if target != header => Err(foreign_host(header.as_str())),
        (Some(host), _) | (None, Some(host)) => Ok(host),
        (None, None) => Err(foreign_host("")),
    }
}

fn is_same_origin(origin: &str, host: &Authority) -> bool {
    ["http://", "https://"].iter().any(|scheme| {
        origin
            .strip_prefix(scheme)
            .is_some_and(|rest| rest.eq_ignore_ascii_case(host.as_str()))
    })
}

fn foreign_origin(origin: &str) -> ApiError {
    ApiError::new(
        Reason::ForeignOrigin,
        format!(
            "pages of {origin:?} may not use this server; \
             'trilith serve --allow-origin ORIGIN' lets the pages of one"
        ),
    )
    .with("origin", origin)
}

fn foreign_host(host: &str) -> ApiError {
    ApiError::new(
        Reason::ForeignHost,
        format!(
            "the request is addressed to {host:?}, which is not a name of this server; \
             'trilith serve --allow-host NAME' adds one"
        ),
    )
    .with("host", host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(listen: &str) -> Guard {
        let config = ServerConfig {
            allowed_hosts: vec!["Log.Example.org".into(), "other.example.org:7400".into()],
            allowed_origins: vec!["https://console.example.org/".into()],
            ..ServerConfig::default()
        };
        Guard::new(&config, listen.parse().unwrap())
    }

    #[test]
    fn what_a_page_of_another_site_loads_is_refused_without_an_origin_too() {
        let guard = guard("127.0.0.1:7400");
        for (site, is_allowed) in [
            (None, true),
            (Some("none"), true),
            (Some("same-origin"), true),
            (Some("same-site"), false),
            (Some("cross-site"), false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("localhost:7400"));
            if let Some(site) = site {
                headers.insert(SEC_FETCH_SITE, HeaderValue::from_static(site));
            }
            let checked = guard.check(&Uri::from_static("/v1/topics"), &headers);
            assert_eq!(checked.is_ok(), is_allowed, "{site:?}");
        }
    }

    #[test]
    fn a_refusal_names_the_flag_that_would_allow_it() {
        let guard = guard("127.0.0.1:7400");
        let refused = |origin: Option<&str>, host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, origin.parse().unwrap());
            }
            let error = guard.check(&Uri::from_static("/"), &headers).unwrap_err();
            error.message().to_owned()
        };
        assert!(refused(None, "evil.example").contains("--allow-host"));
        let origin = refused(Some("http://evil.example"), "localhost");
        assert!(origin.contains("--allow-origin"));
    }

    fn ask(guard: &Guard, uri: &str, pairs: &[(&str, &str)]) -> Result<Sender, Reason> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(
                http::HeaderName::from_bytes(name.as_bytes()).unwrap(),
                value.parse().unwrap(),
            );
        }
        guard
            .check(&uri.parse().unwrap(), &headers)
            .map_err(|e| e.reason())
    }

    #[test]
    fn loopback_names_the_own_address_and_the_allowed_ones_pass() {
        let guard = guard("192.0.2.7:7400");
        for host in [
            "localhost",
            "LOCALHOST:7400",
            "a.localhost",
            "127.0.0.1:7400",
            "127.9.9.9",
            "[::1]:1",
            "192.0.2.7",
            "log.example.org",
            "log.example.org:99",
            "other.example.org:7400",
        ] {
            assert_eq!(
                ask(&guard, "/", &[("host", host)]),
                Ok(Sender::Own),
                "{host}"
            );
        }
        assert_eq!(ask(&guard, "http://127.0.0.1:7400/x", &[]), Ok(Sender::Own));
    }

    #[test]
    fn other_hosts_no_host_and_two_hosts_are_foreign() {
        let guard = guard("127.0.0.1:7400");
        for host in [
            "evil.example",
            "192.0.2.7",
            "other.example.org:1",
            "localhost.evil.example",
            "a b",
            "",
        ] {
            assert_eq!(
                ask(&guard, "/", &[("host", host)]),
                Err(Reason::ForeignHost),
                "{host}"
            );
        }
        assert_eq!(ask(&guard, "/", &[]), Err(Reason::ForeignHost));
        let two = [("host", "localhost"), ("host", "localhost")];
        assert_eq!(ask(&guard, "/", &two), Err(Reason::ForeignHost));
        let disagree = [("host", "evil.example")];
        assert_eq!(
            ask(&guard, "http://localhost/", &disagree),
            Err(Reason::ForeignHost)
        );
        assert_eq!(
            ask(&guard, "http://evil.example/", &[]),
            Err(Reason::ForeignHost)
        );
    }

    #[test]
    fn listening_everywhere_takes_any_number_but_no_unknown_name() {
        let guard = guard("0.0.0.0:7400");
        assert_eq!(
            ask(&guard, "/", &[("host", "198.51.100.3:7400")]),
            Ok(Sender::Own)
        );
        assert_eq!(
            ask(&guard, "/", &[("host", "evil.example")]),
            Err(Reason::ForeignHost)
        );
    }

    #[test]
    fn only_own_and_allowed_origins_pass() {
        let guard = guard("127.0.0.1:7400");
        let from = |origin| {
            ask(
                &guard,
                "/",
                &[("host", "localhost:7400"), ("origin", origin)],
            )
        };
        assert_eq!(from("http://localhost:7400"), Ok(Sender::Own));
        let allowed = "https://console.example.org";
        assert_eq!(
            from(allowed),
            Ok(Sender::Allowed(HeaderValue::from_static(
                "https://console.example.org"
            )))
        );
        for origin in [
            "http://localhost:3000",
            "http://evil.example",
            "null",
            "http://127.0.0.1:7400",
        ] {
            assert_eq!(from(origin), Err(Reason::ForeignOrigin), "{origin}");
        }
    }
}
