//! The plan of one seed.

use super::FaultKind;
use crate::{network::LinkFaults, rng::Rng, time::Span};

/// What a world tells the plan of itself.
#[derive(Clone, Debug)]
pub struct Shape {
    /// The faults that the world knows how to inject.
    pub supported: &'static [FaultKind],
    /// Faults that are on in every run, whatever the seed says.
    pub always: Vec<FaultKind>,
    /// The world's election timeout, the measure of everything that takes long.
    pub election_timeout: Span,
    /// The largest clock drift that the world's promises hold under, in a million.
    pub drift_max: u32,
}

/// What goes wrong in a run and how often.
#[derive(Clone, Debug)]
pub struct FaultPlan {
    /// Nodes at the start.
    pub nodes: u64,
    /// How the links behave.
    pub links: LinkFaults,
    /// Faults that strike at moments, with the mean time between two strikes.
    pub timed: Vec<(FaultKind, Span)>,
    /// How much faster or slower than true a clock may run, in a million.
    pub drift: u32,
    /// The mean time a sync takes.
    pub sync_mean: Span,
    /// All kinds that are switched on.
    pub enabled: Vec<FaultKind>,
}

impl FaultPlan {
    /// No faults, on a good network.
    #[must_use]
    pub fn none(nodes: u64) -> Self {
        Self {
            nodes,
            links: LinkFaults::CALM,
            timed: Vec::new(),
            drift: 0,
            sync_mean: Span::millis(1),
            enabled: Vec::new(),
        }
    }

    /// Draws the plan of a seed.
    pub fn draw(shape: &Shape, rng: &mut Rng) -> Self {
        let focused = rng.below(3) == 0;
        let mut enabled = Self::choose(shape, focused, rng);
        enabled.extend(&shape.always);
        enabled.sort_unstable();
        enabled.dedup();
        let nodes = [3, 3, 3, 4, 5, 5, 5, 6, 7];
        let timed = enabled
            .iter()
            .filter_map(|k| Some((*k, Self::interval(*k, focused, rng)?)))
            .collect();
        let on = |kind| enabled.contains(&kind);
        Self {
            nodes: rng.pick(&nodes).copied().unwrap_or(3),
            links: Self::links(shape, &on, rng),
            timed,
            drift: if on(FaultKind::ClockDrift) {
                rng.below(u64::from(shape.drift_max)) as u32
            } else {
                0
            },
            // From 50 µs to 50 ms, each doubling equally likely.
            sync_mean: Span::micros(50 << rng.below(11)),
            enabled,
        }
    }

    /// A mean of one to sixteen times the least, each doubling equally likely; in a focused run
    /// always the least.
    fn interval(kind: FaultKind, focused: bool, rng: &mut Rng) -> Option<Span> {
        let least = kind.interval_min()?;
        Some(if focused {
            least
        } else {
            least.times(1 << rng.below(5))
        })
    }

    /// The faults that are on: in two runs of three a random share of all, in the third a few
    /// that strike as often as they can.
    fn choose(shape: &Shape, focused: bool, rng: &mut Rng) -> Vec<FaultKind> {
        let mut supported: Vec<FaultKind> = FaultKind::ALL
            .into_iter()
            .filter(|k| shape.supported.contains(k))
            .collect();
        if focused {
            rng.shuffle(&mut supported);
            supported.truncate(rng.between(2, 6) as usize);
            supported.sort_unstable();
            return supported;
        }
        // From nearly nothing to nearly everything: the share itself is drawn first.
        let share = rng.between(100_000, 700_000) as u32;
        supported.retain(|_| rng.chance(share));
        supported
    }

    fn links(shape: &Shape, on: &impl Fn(FaultKind) -> bool, rng: &mut Rng) -> LinkFaults {
        let rate = |kind, most: u64, rng: &mut Rng| match on(kind) {
            true => rng.between(most / 100, most) as u32,
            false => 0,
        };
        LinkFaults {
            delay_min: Span::micros(rng.between(50, 1_000)),
            delay_mean: Span::micros(rng.between(100, 8_000)),
            loss: rate(FaultKind::Loss, 200_000, rng),
            duplicate: rate(FaultKind::Duplicate, 300_000, rng),
            reorder: rate(FaultKind::Reorder, 500_000, rng),
            straggle: rate(FaultKind::Straggle, 80_000, rng),
            straggle_max: shape.election_timeout.times(rng.between(2, 20)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape() -> Shape {
        Shape {
            supported: &FaultKind::ALL,
            always: Vec::new(),
            election_timeout: Span::millis(100),
            drift_max: 50_000,
        }
    }

    #[test]
    fn seeds_differ_in_what_they_switch_on() {
        let plans: Vec<FaultPlan> = (0..200)
            .map(|seed| FaultPlan::draw(&shape(), &mut Rng::new(seed, 0)))
            .collect();
        for kind in FaultKind::ALL {
            let on = plans.iter().filter(|p| p.enabled.contains(&kind)).count();
            assert!(
                (30..170).contains(&on),
                "{} is on in {on} of 200",
                kind.name()
            );
        }
        assert!(plans.iter().any(|p| p.links.loss == 0) && plans.iter().any(|p| p.links.loss > 0));
        assert!(
            plans.iter().any(|p| p.enabled.len() < 5) && plans.iter().any(|p| p.enabled.len() > 14)
        );
    }

    #[test]
    fn what_the_world_cannot_do_is_never_on() {
        let shape = Shape {
            supported: &[FaultKind::Crash],
            ..shape()
        };
        for seed in 0..50 {
            let plan = FaultPlan::draw(&shape, &mut Rng::new(seed, 0));
            assert!(plan.enabled.iter().all(|k| *k == FaultKind::Crash));
            assert_eq!((plan.links.loss, plan.drift), (0, 0));
        }
    }

    #[test]
    fn rates_belong_to_the_links_and_moments_to_the_schedule() {
        let plan = FaultPlan::draw(&shape(), &mut Rng::new(1, 0));
        assert!(
            plan.timed
                .iter()
                .all(|(k, every)| k.interval_min().is_some() && every.0 > 0)
        );
    }
}
