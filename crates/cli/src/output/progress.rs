//! Progress on standard error, only when a person looks at it.

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// A progress line; draws nothing unless standard error is a terminal.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// A line that counts records and bytes up, of an unknown total. It stays hidden while the
    /// terminal is used for the data itself.
    pub(crate) fn counting(what: &'static str, terminal_in_use: bool) -> Self {
        let bar = Self::bar(terminal_in_use);
        let template = "{spinner} {msg}  {human_pos}  {each_second}/s";
        let each_second = |state: &ProgressState, to: &mut dyn std::fmt::Write| {
            // What cannot be drawn is not drawn.
            let _ = write!(to, "{}", HumanCount(state.per_sec().round() as u64));
        };
        bar.set_style(style(template).with_key("each_second", each_second));
        bar.set_message(what);
        Self(bar)
    }

    fn bar(terminal_in_use: bool) -> ProgressBar {
        let target = if io::stderr().is_terminal() && !terminal_in_use {
            ProgressDrawTarget::stderr_with_hz(8)
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(None, target);
        bar.enable_steady_tick(Duration::from_millis(250));
        bar
    }

    /// Moves on by `n`.
    pub(crate) fn add(&self, n: u64) {
        self.0.inc(n);
    }

    /// Takes the line away.
    pub(crate) fn finish(self) {
        self.0.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
