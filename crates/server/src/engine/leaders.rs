//! Finding the leader of something: asking here, waiting for an election, catching up with the
//! cluster's own state.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, sleep};

use super::{Engine, told};
use crate::{
    call::Call,
    error::{ApiError, Reason},
};

/// How long a request that nobody leads waits for a leader, when its own deadline is later or
/// absent. An election takes a few hundred milliseconds.
const LEADER_WAIT: Duration = Duration::from_secs(5);
/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A request on its way to a leader.
#[derive(Debug)]
pub(super) struct Seek {
    may_forward: bool,
    until: Instant,
    caught_up: bool,
}

/// What to do after a refusal.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Ask this node again.
    Again,
    /// Pass the request on to the leader at this address.
    To(String),
}

impl Seek {
    pub(super) fn new(call: &Call) -> Self {
        Self::by(call.deadline, call.is_forwarded)
    }

    pub(super) fn by(deadline: Option<Instant>, is_forwarded: bool) -> Self {
        let patience = Instant::now() + LEADER_WAIT;
        Self {
            may_forward: !is_forwarded,
            until: deadline.map_or(patience, |deadline| deadline.min(patience)),
            caught_up: false,
        }
    }

    pub(super) const fn until(&self) -> Instant {
        self.until
    }

    /// What to do after `error`, once it is time to; or the error, when there is nothing to do.
    /// A request that may not be passed on does not wait for a leader either: who sent it looks
    /// for itself.
    pub(super) async fn after(
        &mut self,
        engine: &Engine,
        error: ApiError,
    ) -> Result<Step, ApiError> {
        match error.reason() {
            Reason::NotLeader if self.may_forward => {
                if let Some(address) = error.detail("address") {
                    return Ok(Step::To(address.to_owned()));
                }
                self.pause(error).await
            }
            // A leader that was just elected confirms itself with its first round.
            Reason::NoQuorum if self.may_forward => self.pause(error).await,
            // A node that was just founded is about to take part.
            Reason::NotFounded if engine.node().identity().member.is_some() => {
                self.pause(error).await
            }
            Reason::UnknownTopic | Reason::UnknownPartition if !self.caught_up => {
                self.caught_up = true;
                match engine.catch_up(self.until).await {
                    Ok(()) => Ok(Step::Again),
                    // What is known here stands while nobody can say better.
                    Err(_) => Err(error),
                }
            }
            _ => Err(error),
        }
    }

    /// After the leader that was gone to refused without doing anything.
    pub(super) async fn refused(&mut self, error: ApiError) -> Result<(), ApiError> {
        match error.reason() {
            Reason::NotLeader | Reason::NoQuorum | Reason::ShuttingDown => {
                self.pause(error).await.map(drop)
            }
            _ => Err(error),
        }
    }

    async fn pause(&self, error: ApiError) -> Result<Step, ApiError> {
        if Instant::now() + LOOK_AGAIN >= self.until {
            return Err(error);
        }
        sleep(LOOK_AGAIN).await;
        Ok(Step::Again)
    }
}

impl Engine {
    /// Waits until this node knows what the cluster knew when it was asked.
    pub(super) async fn catch_up(&self, until: Instant) -> Result<(), ApiError> {
        let caught_up = told(|tell| self.node().catch_up(tell), until).await?;
        Ok(caught_up?)
    }

    /// Does `here`, or has the leader do `there`, until one of them is more than "not me".
    pub(super) async fn lead<T, H, R>(
        &self,
        mut seek: Seek,
        here: impl Fn(Instant) -> H,
        there: impl Fn(String) -> R,
    ) -> Result<T, ApiError>
    where
        H: Future<Output = Result<T, ApiError>>,
        R: Future<Output = Result<T, ApiError>>,
    {
        loop {
            let error = match here(seek.until()).await {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            if let Step::To(address) = seek.after(self, error).await? {
                match there(address).await {
                    Ok(done) => return Ok(done),
                    Err(error) => seek.refused(error).await?,
                }
            }
        }
    }
}
