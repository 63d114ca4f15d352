//! Asking any node: what may be asked again, and for how long.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout_at};
use tonic::{Response, Status};

use super::{Connection, Route};
use crate::{Error, error::Seconds};

/// Wait between two attempts: doubled each time, up to the second figure.
const WAIT_MIN: Duration = Duration::from_millis(10);
const WAIT_SHORT: Duration = Duration::from_millis(50);
/// A failover takes a few hundred milliseconds: so many attempts are made within that. What takes
/// longer is asked after less often, up to the second figure.
const SHORT_WAITS: u32 = 20;
const WAIT_MAX: Duration = Duration::from_secs(1);
/// Once one node says that there is no such thing, each other one is waited for so long at most.
const SECOND_OPINION: Duration = Duration::from_secs(1);

/// Which failures a request may be sent again after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Any that may pass: the request changes nothing.
    Always,
    /// Those after which it is known to have had no effect.
    WithoutEffect,
}

/// Waits that grow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    wait: Duration,
    count: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            wait: WAIT_MIN,
            count: 0,
        }
    }
}

impl Backoff {
    /// How long to wait now.
    pub(crate) fn next(&mut self) -> Duration {
        let wait = self.wait;
        self.count = self.count.saturating_add(1);
        let most = if self.count < SHORT_WAITS {
            WAIT_SHORT
        } else {
            WAIT_MAX
        };
        self.wait = (wait * 2).min(most);
        wait
    }
}

impl Connection {
    /// Sends a request to the node in use, again or to another one after what may pass, until the
    /// timeout. When no node can be reached at all it fails at once. That there is no such topic, or
    /// that a node is no member, is believed when no other node says better.
    pub(crate) async fn ask<T, F>(
        &self,
        repeat: Repeat,
        call: impl Fn(Route) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let deadline = Instant::now() + self.timeout;
        // A node that is paused says nothing; what can be asked again is asked of the next.
        let share = match repeat {
            Repeat::Always => self.timeout / u32::try_from(self.members.count()).unwrap_or(1),
            Repeat::WithoutEffect => self.timeout,
        };
        let mut backoff = Backoff::default();
        let mut verdicts = Verdicts::default();
        loop {
            let route = verdicts.next(self);
            let share = match repeat {
                Repeat::Always if verdicts.has_denial() => share.min(SECOND_OPINION),
                _ => share,
            };
            let until = (Instant::now() + share).min(deadline);
            let error = match timeout_at(until, call(route.clone())).await {
                Ok(Ok(answer)) => return Ok(answer.into_inner()),
                Ok(Err(status)) => self.failed(&route, &status),
                Err(_) => {
                    self.members.leave(&route.address);
                    let why = format!("no answer from {} within {}", route.address, Seconds(share));
                    Error::Interrupted { why }
                }
            };
            let may_pass = match repeat {
                Repeat::Always => error.may_pass(),
                Repeat::WithoutEffect => error.may_pass() && error.rules_out_stored(),
            };
            let is_of_one_node = error.is_of_one_node();
            if !may_pass && !is_of_one_node {
                return Err(error);
            }
            let is_unreached = matches!(error, Error::Unreachable { .. });
            // While a node says that there is no such thing, one that cannot tell is as good as away.
            if is_of_one_node || is_unreached || verdicts.has_denial() {
                self.members.leave(&route.address);
                verdicts.add(&route, error);
                match verdicts.of_all(&self.all()) {
                    Some(error) => return Err(error),
                    None => continue,
                }
            }
            verdicts = Verdicts::default();
            let wait = backoff.next();
            if Instant::now() + wait >= deadline {
                return Err(error);
            }
            self.members.leave(&route.address);
            sleep(wait).await;
        }
    }
}

/// What nodes have said that others may know better, or that they were not reached.
#[derive(Debug, Default)]
struct Verdicts(Vec<(Arc<str>, Error)>);

impl Verdicts {
    fn has(&self, route: &Route) -> bool {
        self.0.iter().any(|(address, _)| *address == route.address)
    }

    fn add(&mut self, route: &Route, error: Error) {
        self.0.push((Arc::clone(&route.address), error));
    }

    /// Whom to ask: the node in use, or the next one that has not answered.
    fn next(&self, connection: &Connection) -> Route {
        let current = connection.any();
        if !self.has(&current) {
            return current;
        }
        let all = connection.all().into_iter();
        let mut others = all.filter(|route| !self.has(route));
        others.next().unwrap_or(current)
    }

    /// Whether a member says that there is no such thing.
    fn has_denial(&self) -> bool {
        self.0.iter().any(|(_, error)| weight(error) == 2)
    }

    /// What is to be believed once every node has answered, or was not reached.
    fn of_all(&mut self, all: &[Route]) -> Option<Error> {
        if !all.iter().all(|route| self.has(route)) {
            return None;
        }
        let (_, error) = self.0.drain(..).max_by_key(|(_, error)| weight(error))?;
        Some(error)
    }
}

/// How much an answer tells.
fn weight(error: &Error) -> u8 {
    match error.reason() {
        Some("NOT_MEMBER") => 1,
        _ if error.is_of_one_node() => 2,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_their_bound() {
        let mut backoff = Backoff::default();
        let waits: Vec<Duration> = (0..40).map(|_| backoff.next()).collect();
        assert_eq!((waits[0], waits[1]), (WAIT_MIN, 2 * WAIT_MIN));
        assert!(waits[..20].iter().all(|wait| *wait <= WAIT_SHORT));
        assert_eq!(waits[39], WAIT_MAX);
    }
}
