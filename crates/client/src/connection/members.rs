//! The nodes that are known, each with its connection, one of them in use.

use std::sync::Arc;

use parking_lot::Mutex;
use tonic::transport::Endpoint;

use super::{Route, endpoint::parse};
use crate::{Error, error::innermost};

/// Nodes that are kept; of more than these only the first ones learned are.
const MEMBERS_MAX: usize = 64;

/// The nodes of one cluster.
#[derive(Debug)]
pub(super) struct Members(Mutex<Known>);

#[derive(Debug)]
struct Known {
    /// Those given first, then those learned.
    routes: Vec<Route>,
    given: usize,
    current: usize,
}

impl Members {
    pub(super) async fn open(endpoints: &[String]) -> Result<Self, Error> {
        let targets = endpoints
            .iter()
            .map(|text| parse(text))
            .collect::<Result<Vec<_>, _>>()?;
        let mut why = None;
        for (at, (target, _)) in targets.iter().enumerate() {
            let channel = match target.connect().await {
                Ok(channel) => channel,
                Err(error) => {
                    why = Some(innermost(&error));
                    continue;
                }
            };
            let lazy = |(target, address): &(Endpoint, String)| Route {
                address: Arc::from(address.as_str()),
                channel: target.connect_lazy(),
            };
            let mut routes: Vec<Route> = targets.iter().map(lazy).collect();
            if let Some(route) = routes.get_mut(at) {
                route.channel = channel;
            }
            return Ok(Self(Mutex::new(Known {
                given: routes.len(),
                routes,
                current: at,
            })));
        }
        let endpoints = endpoints.join(", ");
        Err(match why {
            Some(why) => Error::Unreachable { endpoints, why },
            None => Error::Endpoint {
                endpoint: endpoints,
                why: "no endpoint is given".into(),
            },
        })
    }

    pub(super) fn current(&self) -> Route {
        let known = self.0.lock();
        let at = known.current % known.routes.len();
        let route = known.routes.get(at);
        route.expect("a remainder lies below the length").clone()
    }

    /// Makes the next node the one in use, if this one is.
    pub(super) fn leave(&self, address: &str) {
        let mut known = self.0.lock();
        let at = known.current % known.routes.len();
        if known
            .routes
            .get(at)
            .is_some_and(|route| *route.address == *address)
        {
            known.current = at + 1;
        }
    }

    /// The way to `address`, kept when there is room for one more.
    pub(super) fn to(&self, address: &Arc<str>) -> Route {
        let mut known = self.0.lock();
        if let Some(route) = known.routes.iter().find(|r| r.address == *address) {
            return route.clone();
        }
        let Ok((endpoint, _)) = parse(address) else {
            // A node that advertises what is no address is not gone to: any other will tell.
            drop(known);
            return self.current();
        };
        let route = Route {
            address: Arc::clone(address),
            channel: endpoint.connect_lazy(),
        };
        if known.routes.len() < MEMBERS_MAX {
            known.routes.push(route.clone());
        }
        route
    }

    pub(super) fn all(&self) -> Vec<Route> {
        self.0.lock().routes.clone()
    }

    pub(super) fn count(&self) -> usize {
        self.0.lock().routes.len()
    }

    /// The endpoints that were given, for messages.
    pub(super) fn names(&self) -> String {
        let known = self.0.lock();
        let given = known.routes.iter().take(known.given);
        let names: Vec<&str> = given.map(|route| &*route.address).collect();
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free() -> String {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().to_string()
    }

    #[tokio::test]
    async fn what_nobody_listens_on_is_unreachable() {
        let error = Members::open(&[free()]).await.unwrap_err();
        assert!(matches!(error, Error::Unreachable { .. }), "{error}");
        assert!(matches!(
            Members::open(&[]).await,
            Err(Error::Endpoint { .. })
        ));
    }

    #[tokio::test]
    async fn a_node_that_is_left_is_followed_by_the_next_and_only_once() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (first, second) = (listener.local_addr().unwrap().to_string(), free());
        let members = Members::open(&[first.clone(), second.clone()])
            .await
            .unwrap();
        assert_eq!(*members.current().address, *first);
        members.leave(&first);
        members.leave(&first);
        assert_eq!(*members.current().address, *second, "left once, not twice");
        members.leave(&second);
        assert_eq!(*members.current().address, *first);
        assert_eq!(members.names(), format!("{first}, {second}"));
    }

    #[tokio::test]
    async fn learned_nodes_are_kept_up_to_the_bound() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let given = listener.local_addr().unwrap().to_string();
        let members = Members::open(std::slice::from_ref(&given)).await.unwrap();
        for port in 1..200 {
            let address: Arc<str> = format!("127.0.0.1:{port}").into();
            assert_eq!(members.to(&address).address, address);
        }
        assert_eq!(members.count(), MEMBERS_MAX);
        let nonsense = members.to(&"no address".into());
        assert_eq!(*nonsense.address, *given, "another node will tell");
        assert_eq!(members.names(), given);
    }
}
