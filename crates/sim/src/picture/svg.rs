//! The drawing.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Write as _,
};

use trilith_types::NodeId;

use super::{Arrow, Lane, Mark, MarkKind, Stretch};
use crate::{event::Role, time::SimTime};

const LANE_WIDTH: u64 = 220;
const LEFT: u64 = 90;
const TOP: u64 = 30;
/// Virtual microseconds a pixel.
const SCALE: u64 = 250;

const STYLE: &str = "body{font:13px sans-serif;margin:12px}svg{font:10px monospace}\
.down{fill:#444}.paused{fill:#ccc}.follower{fill:#dfe9f5}.pre{fill:#fff2c2}.candidate{fill:#ffd27a}\
.repairing{fill:#e3b4f0}.leader{fill:#a5dba5}\
.message{stroke:#5577aa;stroke-width:.7;fill:none}.vote{stroke:#d07000}.heartbeat{stroke:#bbb}\
.snapshot{stroke:#8040a0}.repair{stroke:#8040a0}.lost{stroke:#cc3333;stroke-dasharray:3 3}\
.fault{fill:#c00000;font-weight:bold}.log{fill:#335533}.term{fill:#000;font-weight:bold}\
.key span{padding:2px 8px;margin-right:6px}";

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn x(node: NodeId) -> u64 {
    LEFT + node.get().saturating_sub(1) * LANE_WIDTH
}

/// The first moment that is drawn is `start`: what lies before the first arrow left is cut off.
fn y(at: SimTime, start: SimTime) -> u64 {
    TOP + at.since(start).0 / SCALE
}

fn class_of(stretch: Stretch) -> &'static str {
    match stretch {
        Stretch::Down => "down",
        Stretch::Paused => "paused",
        Stretch::Runs(Role::Follower) => "follower",
        Stretch::Runs(Role::PreCandidate) => "pre",
        Stretch::Runs(Role::Candidate) => "candidate",
        Stretch::Runs(Role::Repairing) => "repairing",
        Stretch::Runs(Role::Leader) => "leader",
    }
}

pub(super) fn page(
    title: &str,
    (start, end): (SimTime, SimTime),
    lanes: &BTreeMap<NodeId, Lane>,
    arrows: &VecDeque<Arrow>,
    marks: &VecDeque<Mark>,
) -> String {
    let (width, height) = (LEFT + lanes.len() as u64 * LANE_WIDTH, y(end, start) + 40);
    let mut page = String::new();
    // Writing to a string never fails; the results say nothing.
    let _ = write!(
        page,
        "<!doctype html><meta charset=\"utf-8\"><title>{title}</title><style>{STYLE}</style>\
         <h3>{title}</h3><p class=\"key\"><span style=\"background:#a5dba5\">leader</span>\
         <span style=\"background:#e3b4f0\">repairing</span><span style=\"background:#ffd27a\">candidate\
         </span><span style=\"background:#fff2c2\">pre-candidate</span><span style=\"background:#dfe9f5\">\
         follower</span><span style=\"background:#ccc\">paused</span><span style=\"background:#444;\
         color:#fff\">down</span> red and dashed: lost. Hover for what a thing is.</p>\
         <svg width=\"{width}\" height=\"{height}\"><defs><marker id=\"tip\" viewBox=\"0 0 6 6\" refX=\"6\" \
         refY=\"3\" markerWidth=\"5\" markerHeight=\"5\" orient=\"auto\"><path d=\"M0 0L6 3L0 6z\" \
         fill=\"#5577aa\"/></marker></defs>",
        title = escape(title),
    );
    seconds(&mut page, start, end);
    for (node, lane) in lanes {
        draw_lane(&mut page, *node, lane, start, end);
    }
    for arrow in arrows {
        draw_arrow(&mut page, arrow, start);
    }
    for mark in marks.iter().filter(|m| m.at >= start) {
        draw_mark(&mut page, mark, start);
    }
    page.push_str("</svg>\n");
    page
}

fn seconds(page: &mut String, start: SimTime, end: SimTime) {
    let step = 100_000;
    let mut at = SimTime(start.0.div_ceil(step) * step);
    while at <= end {
        let _ = write!(page, "<text x=\"4\" y=\"{}\">{at}</text>", y(at, start));
        at = SimTime(at.0 + step);
    }
}

fn draw_lane(page: &mut String, node: NodeId, lane: &Lane, start: SimTime, end: SimTime) {
    let _ = write!(
        page,
        "<text x=\"{}\" y=\"14\" class=\"term\">node {node}</text>",
        x(node)
    );
    for (place, (from, stretch)) in lane.stretches.iter().enumerate() {
        let to = lane.stretches.get(place + 1).map_or(end, |(at, _)| *at);
        if to < start {
            continue;
        }
        let (top, bottom) = (y((*from).max(start), start), y(to, start));
        let _ = write!(
            page,
            "<rect class=\"{}\" x=\"{}\" y=\"{top}\" width=\"14\" height=\"{}\"/>",
            class_of(*stretch),
            x(node).saturating_sub(7),
            (bottom - top).max(1),
        );
    }
}

fn draw_arrow(page: &mut String, arrow: &Arrow, start: SimTime) {
    let kind = ["vote", "heartbeat", "snapshot", "repair"]
        .into_iter()
        .find(|k| arrow.what.contains(k))
        .unwrap_or("");
    let (x1, x2, top) = (x(arrow.from), x(arrow.to), y(arrow.sent, start));
    let (lost, x2, bottom, fate) = match (arrow.received, arrow.lost) {
        (Some(at), _) => ("", x2, y(at, start), "received"),
        (None, why) => ("lost ", (x1 + x2) / 2, top + 8, why.unwrap_or("on its way")),
    };
    let _ = write!(
        page,
        "<line class=\"message {lost}{kind}\" x1=\"{x1}\" y1=\"{top}\" x2=\"{x2}\" y2=\"{bottom}\" \
         marker-end=\"url(#tip)\"><title>m{} {} to {}: {} ({fate})</title></line>",
        arrow.id,
        arrow.from,
        arrow.to,
        escape(&arrow.what),
    );
}

fn draw_mark(page: &mut String, mark: &Mark, start: SimTime) {
    let text = escape(&mark.text);
    let (class, at) = match mark.kind {
        MarkKind::Fault => ("fault", mark.node.map_or(40, |n| x(n) + 10)),
        MarkKind::Log => ("log", mark.node.map_or(40, |n| x(n) + 10)),
        MarkKind::Term => ("term", mark.node.map_or(40, |n| x(n) + 10)),
    };
    let place = y(mark.at, start) + 3;
    if mark.kind == MarkKind::Log {
        // Too many to write out: a dot that says what it is.
        let _ = write!(
            page,
            "<circle class=\"{class}\" cx=\"{}\" cy=\"{place}\" r=\"2\"><title>{text}</title></circle>",
            at + 4
        );
    } else {
        let _ = write!(
            page,
            "<text class=\"{class}\" x=\"{at}\" y=\"{place}\">{text}</text>"
        );
    }
}
