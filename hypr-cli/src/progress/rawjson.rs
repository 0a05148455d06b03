//! One JSON object a line, for programs.

use std::io::Write;

use hypr_build::Event;

use super::View;

#[derive(Debug)]
pub(crate) struct RawJson;

impl View for RawJson {
    fn event(&self, event: &Event) {
        if let Ok(mut line) = serde_json::to_vec(event) {
            line.push(b'\n');
            // One write a line: events come from several threads. A reader that went away is no reason to fail.
            let _ = std::io::stderr().write_all(&line);
        }
    }
}
