//! How a build shows itself: plain lines, a live terminal, JSON lines, or nothing.
//!
//! Everything goes to standard error; standard output stays free for what a script reads.

mod plain;
mod rawjson;
mod summary;
mod tty;

use std::{io::IsTerminal, sync::Arc};

use hypr_build::{Event, ProgressSink};

use self::summary::Summary;

/// `--progress`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Style {
    /// `tty` on a terminal, `plain` elsewhere.
    Auto,
    /// One line for each thing that happens.
    Plain,
    /// A live view of the steps that run.
    Tty,
    /// One JSON object a line.
    Rawjson,
    /// Nothing but errors; the image's id goes to standard output.
    Quiet,
}

/// Draws the events of one build.
pub(crate) trait View: Send + Sync {
    fn event(&self, event: &Event);

    /// The build is over; takes the live view off the screen.
    fn close(&self) {}
}

/// The chosen view, and the figures for the closing summary.
pub(crate) struct Progress {
    view: Option<Box<dyn View>>,
    summary: Summary,
    summarise: bool,
}

impl Progress {
    pub(crate) fn new(style: Style) -> Arc<Self> {
        let style = match style {
            Style::Auto if std::io::stderr().is_terminal() => Style::Tty,
            Style::Auto => Style::Plain,
            chosen => chosen,
        };
        let view: Option<Box<dyn View>> = match style {
            Style::Auto | Style::Plain => Some(Box::new(plain::Plain::default())),
            Style::Tty => Some(Box::new(tty::Tty::default())),
            Style::Rawjson => Some(Box::new(rawjson::RawJson)),
            Style::Quiet => None,
        };
        Arc::new(Self {
            view,
            summary: Summary::default(),
            summarise: matches!(style, Style::Auto | Style::Plain | Style::Tty),
        })
    }

    /// Ends the view; after a build that succeeded the summary follows.
    pub(crate) fn close(&self, succeeded: bool) {
        if let Some(view) = &self.view {
            view.close();
        }
        if succeeded && self.summarise {
            self.summary.print();
        }
    }
}

/// The sink handed to the builder.
pub(crate) struct Sink(pub(crate) Arc<Progress>);

impl ProgressSink for Sink {
    fn event(&self, event: Event) {
        self.0.summary.note(&event);
        if let Some(view) = &self.0.view {
            view.event(&event);
        }
    }
}

/// Replaces control bytes, so that nothing a build prints can steer the terminal. Tabs stay.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' => shown.push(c),
            c if c.is_control() => shown.extend(c.escape_default()),
            c => shown.push(c),
        }
    }
    shown
}

/// `[stage 2/5]`.
pub(crate) fn label(step: &hypr_build::StepInfo) -> String {
    format!("[{} {}/{}]", printable(&step.stage), step.number, step.of)
}

/// Bytes for people: `12.3 MB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = usize::from(unit > 0 && value < 99.95);
    format!("{value:.decimals$} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_keep_three_digits() {
        for (bytes, shown) in [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (123_456, "123 kB"), (999_950, "1.0 MB")] {
            assert_eq!(size(bytes), shown);
        }
    }

    #[test]
    fn control_bytes_are_shown_not_sent() {
        assert_eq!(printable("a\tb\x1b[2J\u{9b}"), "a\tb\\u{1b}[2J\\u{9b}");
    }
}
