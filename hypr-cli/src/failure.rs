//! How a command ends when it did not succeed.

use std::{
    error::Error,
    fmt,
    io::{ErrorKind, Write},
    process::ExitCode,
};

use crate::{
    parse::NotParsed,
    squashfs::{SquashfsError, StdoutError},
};

/// Why a command ended early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something went wrong.
    Error(Box<dyn Error>),
    /// The arguments contradict each other in a way that the parser cannot see.
    Usage(String),
    /// Standard output has told already what is wrong.
    Told,
    /// The user interrupted it.
    Interrupted,
}

impl Failure {
    /// A failure that has no typed error, of a fact the command line itself found.
    pub(crate) fn message(text: impl Into<String>) -> Self {
        Self::Error(text.into().into())
    }

    /// A failure with what was being done.
    pub(crate) fn doing(what: impl Into<String>, source: impl Error + 'static) -> Self {
        Self::Error(Box::new(Doing { what: what.into(), source: Box::new(source) }))
    }

    /// Says what went wrong and how: one line for the error, one for each cause, and the place in the Dockerfile.
    pub(crate) fn report(self) -> ExitCode {
        let (text, status) = match self {
            // Whoever read our output has gone, as `head` does: nothing went wrong.
            Self::Error(error) if is_broken_pipe(&*error) => return ExitCode::SUCCESS,
            Self::Error(error) => (describe(&*error), 1),
            Self::Told => (String::new(), 1),
            Self::Usage(message) => (format!("error: {}\n", escape(&message)), 2),
            Self::Interrupted => ("error: interrupted\n".to_owned(), 130),
        };
        // Nobody is left to tell when this fails.
        let _ = std::io::stderr().write_all(text.as_bytes());
        ExitCode::from(status)
    }
}

/// What a line begins with that shows what a program printed, such as the kernel of a microVM.
const QUOTED: &str = "\n  | ";

fn describe(failure: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    let mut previous = String::new();
    for (depth, cause) in causes(failure).enumerate() {
        // What others printed follows on lines of its own, which begin so.
        let line = cause.to_string().split(QUOTED).map(escape).collect::<Vec<_>>().join(QUOTED);
        // Transparent errors repeat their cause.
        if line != previous {
            text.push_str(if depth == 0 { "error: " } else { "  caused by: " });
            text.push_str(&line);
            text.push('\n');
            previous = line;
        }
    }
    let build = failure.downcast_ref::<hypr_build::Error>().and_then(hypr_build::Error::excerpt);
    let parse = || failure.downcast_ref::<NotParsed>().map(NotParsed::excerpt);
    if let Some(excerpt) = build.or_else(parse) {
        text.extend(excerpt.lines().map(|line| format!("{}\n", escape(line))));
    }
    text
}

impl<E: Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Error(Box::new(error))
    }
}

/// An error with what was being done.
#[derive(Debug)]
struct Doing {
    what: String,
    source: Box<dyn Error>,
}

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}", self.what)
    }
}

impl Error for Doing {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}

/// Prints one `warning:` line to standard error.
pub(crate) fn warn(text: &str) {
    // As above.
    let _ = std::io::stderr().write_all(format!("warning: {}\n", escape(text)).as_bytes());
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

/// An error and its causes on one line.
pub(crate) fn one_line(error: &(dyn Error + 'static)) -> String {
    causes(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn causes<'a>(failure: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(failure), |error| (*error).source())
}

fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    let stdout = match error.downcast_ref::<SquashfsError>() {
        Some(SquashfsError::Stdout(error)) => Some(error),
        Some(_) => None,
        None => error.downcast_ref::<StdoutError>(),
    };
    stdout.is_some_and(|error| error.0.kind() == ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_others_kept() {
        assert_eq!(escape("a\u{1b}[31m\nb\tna\u{ef}ve \u{9b}"), "a\\u{1b}[31m\\nb\\tna\u{ef}ve \\u{9b}");
    }

    #[test]
    fn what_a_program_printed_has_lines_of_its_own() {
        let error = std::io::Error::other("the sandbox was lost\n  | Kernel panic\nerror: forged\n  | end");
        let text = describe(&error);
        assert_eq!(text, "error: the sandbox was lost\n  | Kernel panic\\nerror: forged\n  | end\n");
    }
}
