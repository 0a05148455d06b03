//! One line for each thing that happens, for logs and pipes.

use std::{collections::HashMap, io::Write, sync::Mutex};

use hypr_build::{
    Event, StepInfo,
    progress::{PullState, Stream},
};

use super::{View, label, printable, size};

/// A line longer than this is shown in pieces, so that output without line ends still appears.
const LONGEST_LINE: usize = 8192;

#[derive(Debug, Default)]
pub(crate) struct Plain {
    /// What each step wrote since its last line end. The two streams come over different pipes, in an order that says
    /// nothing, so that half a line of one is never the start of a line of the other.
    partial: Mutex<HashMap<(usize, Stream), Vec<u8>>>,
}

impl View for Plain {
    fn event(&self, event: &Event) {
        if let Event::Output { step, stream, bytes } = event {
            for line in self.lines(step, *stream, bytes) {
                show(&line);
            }
            return;
        }
        if let Event::Finished { step, .. } | Event::Failed { step } = event {
            for rest in self.rest(step) {
                show(&rest);
            }
        }
        if let Some(line) = describe(event) {
            show(&line);
        }
    }
}

impl Plain {
    /// The lines that `bytes` completes, each with its step's label.
    pub(crate) fn lines(&self, step: &StepInfo, stream: Stream, bytes: &[u8]) -> Vec<String> {
        let Ok(mut partial) = self.partial.lock() else { return Vec::new() };
        let buffer = partial.entry((step.id, stream)).or_default();
        buffer.extend_from_slice(bytes);
        let mut lines = Vec::new();
        let mut start = 0;
        while let Some(end) = buffer[start..].iter().position(|&byte| byte == b'\n') {
            lines.push(output_line(step, &buffer[start..start + end]));
            start += end + 1;
        }
        while buffer.len() - start > LONGEST_LINE {
            lines.push(output_line(step, &buffer[start..start + LONGEST_LINE]));
            start += LONGEST_LINE;
        }
        buffer.drain(..start);
        lines
    }

    /// What the step wrote without a line end.
    pub(crate) fn rest(&self, step: &StepInfo) -> Vec<String> {
        let Ok(mut partial) = self.partial.lock() else { return Vec::new() };
        [Stream::Stdout, Stream::Stderr]
            .into_iter()
            .filter_map(|stream| partial.remove(&(step.id, stream)))
            .filter(|rest| !rest.is_empty())
            .map(|rest| output_line(step, &rest))
            .collect()
    }
}

fn output_line(step: &StepInfo, line: &[u8]) -> String {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    format!("{} | {}", label(step), printable(&String::from_utf8_lossy(line)))
}

/// The line that an event other than output is worth.
pub(crate) fn describe(event: &Event) -> Option<String> {
    Some(match event {
        Event::Planned { steps, executor, reason } => match executor {
            Some(executor) => {
                let reason = reason.as_deref().map(|reason| format!(" ({reason})")).unwrap_or_default();
                format!("hypr: {}, RUN in {executor}{reason}", counted(*steps))
            }
            None => format!("hypr: {}, no RUN", counted(*steps)),
        },
        Event::Started { step } => format!("{} {}", label(step), printable(&step.text)),
        Event::Explained { step, reason } => format!("{} runs because {}", label(step), printable(reason)),
        Event::Cached { step } => format!("{} CACHED", label(step)),
        Event::Finished { step, duration, layer } => {
            let layer = layer.map(|layer| format!(", {}", size(layer.size))).unwrap_or_default();
            format!("{} done in {:.2} s{layer}", label(step), duration.as_secs_f64())
        }
        Event::Clipped { step, shown, log } => {
            let rest = match log {
                Some(path) => format!("all of it is in {}", printable(&path.display().to_string())),
                None => "the rest is lost".to_owned(),
            };
            format!("{} wrote more than {}, which is not shown; {rest}", label(step), size(*shown))
        }
        Event::Failed { step } => format!("{} FAILED", label(step)),
        Event::Pulling { image, layer, state: PullState::Started { size: bytes } } => {
            let short: String = layer.chars().take(19).collect();
            format!("{}: fetching layer {}, {}", printable(image), printable(&short), size(*bytes))
        }
        Event::Warning { line, message } => match line {
            Some(line) => format!("warning: line {line}: {}", printable(message)),
            None => format!("warning: {}", printable(message)),
        },
        _ => return None,
    })
}

fn counted(steps: usize) -> String {
    if steps == 1 { "1 step".to_owned() } else { format!("{steps} steps") }
}

/// Writes a line. A reader that went away is no reason for the build to fail.
pub(crate) fn show(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_line_of_one_stream_waits_for_its_own_end() {
        let step = StepInfo { id: 7, stage: "main".into(), number: 1, of: 1, text: "RUN x".into(), line: 1 };
        let plain = Plain::default();
        assert!(plain.lines(&step, Stream::Stdout, b"half").is_empty());
        assert_eq!(plain.lines(&step, Stream::Stderr, b"error\nrest").len(), 1);
        let lines = plain.lines(&step, Stream::Stdout, b" and whole\n");
        assert!(lines[0].ends_with("| half and whole"), "{lines:?}");
        let rest = plain.rest(&step);
        assert!(rest.len() == 1 && rest[0].ends_with("| rest"), "{rest:?}");
        assert!(plain.rest(&step).is_empty());
    }
}
