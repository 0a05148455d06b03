//! What a build closes with: what was cached, how long each step took, how big the image is.

use std::{collections::BTreeMap, sync::Mutex, time::Duration};

use hypr_build::{Event, StepInfo};

use super::{label, plain::show, printable, size};

#[derive(Debug, Default)]
pub(crate) struct Summary {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    cached: usize,
    /// By the step's id, so that the lines follow the plan.
    ran: BTreeMap<usize, (StepInfo, Duration)>,
    image: Option<String>,
}

impl Summary {
    pub(crate) fn note(&self, event: &Event) {
        let Ok(mut state) = self.state.lock() else { return };
        match event {
            Event::Cached { .. } => state.cached += 1,
            Event::Finished { step, duration, .. } => {
                state.ran.insert(step.id, (step.clone(), *duration));
            }
            Event::Exported { digest, size: bytes, id, names, .. } => {
                let names = if names.is_empty() { id.clone() } else { names.join(", ") };
                state.image = Some(format!("{}: {}, squashfs {}", printable(&names), size(*bytes), digest));
            }
            _ => {}
        }
    }

    pub(crate) fn print(&self) {
        let Ok(state) = self.state.lock() else { return };
        show(&format!("{} steps cached, {} run", state.cached, state.ran.len()));
        for (step, duration) in state.ran.values() {
            show(&format!("  {:>8.2} s  {} {}", duration.as_secs_f64(), label(step), printable(&step.text)));
        }
        if let Some(image) = &state.image {
            show(&format!("image {image}"));
        }
    }
}
