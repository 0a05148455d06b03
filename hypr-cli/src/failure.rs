//! How the program ends when it cannot do what it was asked for.

use std::error::Error;
use std::io::{self, ErrorKind, Write as _};
use std::process::ExitCode;

/// Any error of a command.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// Prints one `error:` line and a line a cause to standard error; the exit status is 1.
///
/// When whoever read our output has gone, as `head` does, nothing went wrong and nothing is printed.
pub(crate) fn report(failure: &(dyn Error + 'static)) -> ExitCode {
    if causes(failure).any(is_broken_pipe) {
        return ExitCode::SUCCESS;
    }
    let mut text = String::new();
    let mut previous = String::new();
    for (depth, cause) in causes(failure).enumerate() {
        let line = escape(&cause.to_string());
        // Transparent errors repeat their cause.
        if line != previous {
            text.push_str(if depth == 0 { "error: " } else { "  caused by: " });
            text.push_str(&line);
            text.push('\n');
            previous = line;
        }
    }
    // Nobody is left to tell when this fails.
    let _ = io::stderr().write_all(text.as_bytes());
    ExitCode::FAILURE
}

/// Prints one `warning:` line to standard error.
pub(crate) fn warn(text: &str) {
    // As above.
    let _ = io::stderr().write_all(format!("warning: {}\n", escape(text)).as_bytes());
}

/// `text` on one line and without bytes that a terminal would act on.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
    out
}

fn causes<'a>(failure: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(failure), |error| (*error).source())
}

fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<crate::squashfs::StdoutError>().is_some_and(|error| error.0.kind() == ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_others_kept() {
        assert_eq!(escape("a\u{1b}[31m\nb\tna\u{ef}ve \u{9b}"), "a\\u{1b}[31m\\nb\\tna\u{ef}ve \\u{9b}");
    }
}
