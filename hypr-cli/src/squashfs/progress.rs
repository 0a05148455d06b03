//! A line on a terminal that tells how far a command has come.

use std::io::{self, IsTerminal};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// What takes less than this is over before anybody could read of it.
const PATIENCE: Duration = Duration::from_millis(500);
const INTERVAL: Duration = Duration::from_millis(100);

/// Runs `work` and, where standard error is a terminal, shows meanwhile what `sample` tells: bytes done, out of
/// `total` if that is known.
pub(super) fn watch<T>(
    action: &'static str,
    total: Option<u64>,
    sample: impl Fn() -> u64 + Send,
    work: impl FnOnce() -> T,
) -> T {
    if !io::stderr().is_terminal() {
        return work();
    }
    let (done, is_done) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            if is_done.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                let bar = bar(action, total);
                while is_done.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                    let position = sample();
                    bar.set_position(total.map_or(position, |total| position.min(total)));
                }
                bar.finish_and_clear();
            }
        });
        // Dropped also when the work panics, so that the thread ends in any case.
        let _done = done;
        work()
    })
}

fn bar(action: &'static str, total: Option<u64>) -> ProgressBar {
    let (bar, template) = match total {
        Some(total) => (ProgressBar::new(total), "{msg} {wide_bar} {percent}%"),
        None => (ProgressBar::no_length(), "{msg} {bytes} written in {elapsed}"),
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.with_style(style.progress_chars("=> ")).with_message(action)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_work_is_done_and_its_result_returned() {
        assert_eq!(watch("testing", Some(10), || 3, || 42), 42);
    }

    #[test]
    fn templates_are_well_formed() {
        for total in [None, Some(7)] {
            let bar = bar("testing", total);
            assert_eq!(bar.length(), total);
            bar.finish_and_clear();
        }
    }
}
