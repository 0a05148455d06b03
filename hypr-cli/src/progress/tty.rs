//! A live view: what is over scrolls up, what runs stays at the bottom with a clock.

use std::{collections::HashMap, sync::Mutex, time::Duration};

use hypr_build::Event;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::{
    View, label,
    plain::{Plain, describe},
    printable,
};

#[derive(Debug, Default)]
pub(crate) struct Tty {
    bars: MultiProgress,
    running: Mutex<HashMap<usize, ProgressBar>>,
    output: Plain,
}

impl View for Tty {
    fn event(&self, event: &Event) {
        match event {
            Event::Started { step } => {
                let bar = self.bars.add(ProgressBar::new_spinner());
                bar.set_style(style());
                bar.set_message(format!("{} {}", label(step), printable(&step.text)));
                bar.enable_steady_tick(Duration::from_millis(100));
                if let Ok(mut running) = self.running.lock() {
                    running.insert(step.id, bar);
                }
                return;
            }
            Event::Output { step, stream, bytes } => {
                for line in self.output.lines(step, *stream, bytes) {
                    self.say(&line);
                }
                return;
            }
            Event::Cached { step } => {
                self.end(step.id);
                self.say(&format!("{} CACHED {}", label(step), printable(&step.text)));
                return;
            }
            Event::Finished { step, .. } | Event::Failed { step } => {
                self.end(step.id);
                for rest in self.output.rest(step) {
                    self.say(&rest);
                }
            }
            _ => {}
        }
        if let Some(line) = describe(event) {
            self.say(&line);
        }
    }

    fn close(&self) {
        // A build that was stopped leaves steps without an end.
        let _ = self.bars.clear();
    }
}

impl Tty {
    fn end(&self, step: usize) {
        if let Ok(mut running) = self.running.lock()
            && let Some(bar) = running.remove(&step)
        {
            bar.finish_and_clear();
        }
    }

    fn say(&self, line: &str) {
        // The screen may be gone; the build goes on.
        let _ = self.bars.println(line);
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {elapsed:>4} {wide_msg}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
}
