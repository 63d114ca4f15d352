//! A run as a picture: a lane for each node, time downwards, arrows for messages.
//!
//! The file stands by itself: no scripts from elsewhere, no fonts, nothing to install.

mod svg;

use std::collections::{BTreeMap, VecDeque};

use trilith_types::NodeId;

use crate::{
    event::{Event, Role},
    time::SimTime,
};

/// Most messages in a picture: the last ones before the end, where a failure shows. Older ones
/// are left out; the lanes are whole.
const ARROWS_MAX: usize = 6_000;

/// Most marks (appends, commits, faults and the like) in a picture; older ones are left out.
const MARKS_MAX: usize = 20_000;

/// What a lane shows over a stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stretch {
    Down,
    Paused,
    Runs(Role),
}

#[derive(Clone, Debug)]
pub(crate) struct Arrow {
    pub(crate) id: u64,
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    pub(crate) sent: SimTime,
    pub(crate) received: Option<SimTime>,
    pub(crate) lost: Option<&'static str>,
    pub(crate) what: String,
}

#[derive(Clone, Debug)]
pub(crate) struct Mark {
    pub(crate) at: SimTime,
    pub(crate) node: Option<NodeId>,
    pub(crate) text: String,
    pub(crate) kind: MarkKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MarkKind {
    Fault,
    Log,
    Term,
}

#[derive(Debug, Default)]
pub(crate) struct Lane {
    // Each stretch from its moment to the next one's.
    pub(crate) stretches: Vec<(SimTime, Stretch)>,
    role: Option<Role>,
    term: u64,
}

/// Collects what a picture needs.
#[derive(Debug)]
pub struct Picture {
    lanes: BTreeMap<NodeId, Lane>,
    arrows: VecDeque<Arrow>,
    marks: VecDeque<Mark>,
    // What lies before is not drawn: its arrows have made room for later ones.
    start: SimTime,
    end: SimTime,
}

impl Picture {
    /// A picture with lanes for nodes `1..=nodes`.
    #[must_use]
    pub fn new(nodes: u64) -> Self {
        let lanes = (1..=nodes).map(|n| (NodeId(n), Lane::default())).collect();
        Self {
            lanes,
            arrows: VecDeque::new(),
            marks: VecDeque::new(),
            start: SimTime::ZERO,
            end: SimTime::ZERO,
        }
    }

    /// Takes an event in.
    pub fn observe(&mut self, now: SimTime, event: &Event<'_>) {
        self.end = now;
        match *event {
            Event::Sent { id, from, to, what } => {
                let what = what.to_string();
                self.arrows.push_back(Arrow {
                    id,
                    from,
                    to,
                    sent: now,
                    received: None,
                    lost: None,
                    what,
                });
                if self.arrows.len() > ARROWS_MAX {
                    self.arrows.pop_front();
                    self.start = self.arrows.front().map_or(now, |a| a.sent);
                }
            }
            Event::Received { id, .. } => self.arrow(id, |a| {
                a.received.get_or_insert(now);
            }),
            Event::Dropped { id, why } => self.arrow(id, |a| a.lost = Some(why)),
            _ => {
                self.lane(now, event);
                self.mark(now, event);
            }
        }
    }

    fn arrow(&mut self, id: u64, change: impl FnOnce(&mut Arrow)) {
        // Arrows stand in the order of their ids.
        if let Ok(place) = self.arrows.binary_search_by_key(&id, |a| a.id)
            && let Some(arrow) = self.arrows.get_mut(place)
        {
            change(arrow);
        }
    }

    fn lane(&mut self, now: SimTime, event: &Event<'_>) {
        let (node, stretch) = match *event {
            Event::Started { node, .. } => (node, Stretch::Runs(Role::Follower)),
            Event::Stopped { node, .. } => (node, Stretch::Down),
            Event::Paused { node, still: true } => (node, Stretch::Paused),
            Event::Paused { node, still: false } => {
                let role = self
                    .lanes
                    .get(&node)
                    .and_then(|l| l.role)
                    .unwrap_or(Role::Follower);
                (node, Stretch::Runs(role))
            }
            Event::Role { node, role, .. } => (node, Stretch::Runs(role)),
            _ => return,
        };
        let Some(lane) = self.lanes.get_mut(&node) else {
            return;
        };
        if let Stretch::Runs(role) = stretch {
            lane.role = Some(role);
        }
        lane.stretches.push((now, stretch));
    }

    fn mark(&mut self, now: SimTime, event: &Event<'_>) {
        let (node, kind) = match *event {
            Event::Fault { node, .. } => (node, MarkKind::Fault),
            Event::Healed | Event::Settled => (None, MarkKind::Fault),
            Event::Started { node, .. } | Event::Stopped { node, .. } => {
                (Some(node), MarkKind::Fault)
            }
            Event::Role { node, term, .. } => {
                let Some(lane) = self.lanes.get_mut(&node) else {
                    return;
                };
                if std::mem::replace(&mut lane.term, term.get()) == term.get() {
                    return;
                }
                (Some(node), MarkKind::Term)
            }
            Event::Appended { node, .. }
            | Event::Truncated { node, .. }
            | Event::Repaired { node, .. }
            | Event::Compacted { node, .. }
            | Event::Installed { node, .. }
            | Event::Configured { node, .. }
            | Event::Voted { node, .. }
            | Event::Committed { node, .. } => (Some(node), MarkKind::Log),
            _ => return,
        };
        let text = match *event {
            Event::Role { term, .. } => format!("term {term}"),
            _ => event.to_string(),
        };
        self.marks.push_back(Mark {
            at: now,
            node,
            text,
            kind,
        });
        if self.marks.len() > MARKS_MAX {
            self.marks.pop_front();
        }
    }

    /// The picture as an HTML page under this title.
    #[must_use]
    pub fn to_html(&self, title: &str) -> String {
        svg::page(
            title,
            (self.start, self.end),
            &self.lanes,
            &self.arrows,
            &self.marks,
        )
    }
}

#[cfg(test)]
mod tests {
    use trilith_types::Term;

    use super::*;

    #[test]
    fn a_page_has_lanes_arrows_marks_and_no_raw_text() {
        let mut picture = Picture::new(2);
        let (from, to) = (NodeId(1), NodeId(2));
        picture.observe(SimTime(10), &crate::checkers::testing::starting(from, &[]));
        picture.observe(
            SimTime(20),
            &Event::Role {
                node: from,
                term: Term(3),
                role: Role::Leader,
            },
        );
        picture.observe(
            SimTime(30),
            &Event::Sent {
                id: 0,
                from,
                to,
                what: &"append <1>",
            },
        );
        picture.observe(SimTime(40), &Event::Received { id: 0, from, to });
        picture.observe(
            SimTime(50),
            &Event::Sent {
                id: 1,
                from,
                to,
                what: &"heartbeat",
            },
        );
        picture.observe(SimTime(50), &Event::Dropped { id: 1, why: "lost" });
        picture.observe(
            SimTime(60),
            &Event::Stopped {
                node: from,
                why: crate::event::Down::Crash,
            },
        );
        let page = picture.to_html("seed 1 FAILED: a < b");
        assert!(page.contains("append &lt;1&gt;") && page.contains("a &lt; b"));
        assert!(page.contains("term 3") && page.contains("stops: crash"));
        assert_eq!(page.matches("class=\"message").count(), 2);
        assert_eq!(page.matches("message lost ").count(), 1);
    }

    #[test]
    fn old_arrows_make_room() {
        let mut picture = Picture::new(1);
        for id in 0..ARROWS_MAX as u64 + 5 {
            picture.observe(
                SimTime(id),
                &Event::Sent {
                    id,
                    from: NodeId(1),
                    to: NodeId(1),
                    what: &"x",
                },
            );
        }
        assert_eq!(
            (picture.arrows.len(), picture.arrows[0].id),
            (ARROWS_MAX, 5)
        );
        picture.observe(
            SimTime(9),
            &Event::Received {
                id: 2,
                from: NodeId(1),
                to: NodeId(1),
            },
        );
    }
}
