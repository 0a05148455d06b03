//! Dockerfiles as text and as a tree.
//!
//! [`parse`] turns text into a [`Dockerfile`]: a list of [`Statement`]s, each with its typed [`Instruction`], the line
//! it was written as and the place where it stands. [`parse_syntax`] stops one level earlier, at names, flags and
//! arguments, and asks nothing of their meaning. Variables are left as they are written; [`words`] expands them.
//!
//! The module reads no files and no environment, and depends on nothing else in the crate.
//!
//! ```
//! use hypr_build::dockerfile::{self, Instruction};
//!
//! let dockerfile = dockerfile::parse("FROM alpine AS build\nRUN make\n")?;
//! let Instruction::From(from) = &dockerfile.statements[0].instruction else { unreachable!() };
//! assert_eq!(from.image.value, "alpine");
//!
//! let errors = dockerfile::parse("FROM alpine\nCOPPY . /src\n").unwrap_err();
//! assert!(errors.render("Dockerfile").contains("did you mean `COPY`?"));
//! # Ok::<(), dockerfile::ParseErrors>(())
//! ```

mod ast;
mod directive;
mod duration;
mod error;
mod flags;
mod heredoc;
mod json;
mod keyword;
mod lines;
mod print;
mod scan;
mod source;
mod split;
mod suggest;
mod syntax;
mod typed;
pub mod words;

#[cfg(feature = "build")]
pub(crate) use self::suggest::nearest;
pub use self::{
    ast::{
        Add, Arg, ArgDeclaration, Command, Copy, Directives, Dockerfile, Env, Escape, Expose, From, Healthcheck,
        HealthcheckOptions, Heredoc, Instruction, Label, Onbuild, Pair, Run, Script, Shell, Statement, Volume,
    },
    error::{ErrorKind, ParseError, ParseErrors},
    scan::MAX_FILE,
    source::{Position, Source, Span, Spanned},
    syntax::{Syntax, SyntaxHeredoc, SyntaxInstruction},
};
use self::{error::Errors, scan::Scan};

/// Parses a Dockerfile.
///
/// # Errors
/// Fails when an instruction is not well formed, when an instruction other than `ARG` stands before the first `FROM`,
/// and when the text passes a limit; what can be found in one pass is reported at once.
pub fn parse(text: &str) -> Result<Dockerfile, ParseErrors> {
    let source = source(text)?;
    let scan = scan::scan(&source);
    let (directives, empty_continuations) = (scan.directives.clone(), scan.empty_continuations.clone());
    let (statements, mut errors) = statements(scan, &source);
    // A misspelt FROM is reported as what it is, not as everything after it.
    if errors.is_empty()
        && let Some(error) = stage_error(&statements, &source)
    {
        errors.push(error);
    }
    errors.finish(Dockerfile { directives, statements, empty_continuations, source })
}

/// Parses a Dockerfile that may not be text.
///
/// # Errors
/// As [`parse`], and when the bytes are not UTF-8.
pub fn parse_bytes(bytes: &[u8]) -> Result<Dockerfile, ParseErrors> {
    parse(utf8(bytes)?)
}

/// Parses instructions alone, as an image's `ONBUILD` triggers have them: no directives, no `FROM` needed.
///
/// # Errors
/// As [`parse`].
pub fn parse_trigger(text: &str) -> Result<Dockerfile, ParseErrors> {
    let source = source(text)?;
    let mut scan = scan::scan(&source);
    let empty_continuations = std::mem::take(&mut scan.empty_continuations);
    let (statements, errors) = statements(scan, &source);
    errors.finish(Dockerfile { directives: Directives::default(), statements, empty_continuations, source })
}

/// Cuts a Dockerfile into instructions, their flags and arguments, and asks nothing of their meaning.
///
/// # Errors
/// Fails when the text is no list of instructions: an unknown name, a heredoc without end, a malformed list of pairs.
pub fn parse_syntax(text: &str) -> Result<Syntax, ParseErrors> {
    let source = source(text)?;
    let Scan { nodes, mut errors, .. } = scan::scan(&source);
    if errors.is_empty() && nodes.is_empty() {
        errors.push(ParseError::new(&source, Span::default(), ErrorKind::NoInstructions));
    }
    errors.finish(Syntax { instructions: nodes.into_iter().map(SyntaxInstruction::from).collect() })
}

/// As [`parse_syntax`], of bytes that may not be text.
///
/// # Errors
/// As [`parse_syntax`], and when the bytes are not UTF-8.
pub fn parse_syntax_bytes(bytes: &[u8]) -> Result<Syntax, ParseErrors> {
    parse_syntax(utf8(bytes)?)
}

/// The text without the byte order mark that some editors put in front.
fn source(text: &str) -> Result<Source, ParseErrors> {
    if text.len() > MAX_FILE {
        let limit = format!("{} MiB", MAX_FILE >> 20);
        let kind = ErrorKind::TooLarge { what: "the Dockerfile", limit };
        return Err(ParseError::new(&Source::new(""), Span::default(), kind).into());
    }
    Ok(Source::new(text.strip_prefix('\u{feff}').unwrap_or(text)))
}

fn utf8(bytes: &[u8]) -> Result<&str, ParseErrors> {
    std::str::from_utf8(bytes).map_err(|error| {
        let valid = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        match source(&valid) {
            Ok(source) => {
                let end = source.text().len();
                ParseError::new(&source, Span::new(end, end), ErrorKind::NotUtf8).into()
            }
            Err(errors) => errors,
        }
    })
}

/// What is wrong with the order: a stage begins with `FROM`, and nothing but `ARG` stands before the first.
fn stage_error(statements: &[Statement], source: &Source) -> Option<ParseError> {
    let first = statements.iter().find(|statement| !matches!(statement.instruction, Instruction::Arg(_)));
    let hint = || Some("begin the Dockerfile with `FROM IMAGE`".to_owned());
    match first {
        Some(first) if matches!(first.instruction, Instruction::From(_)) => None,
        Some(first) => {
            let kind = ErrorKind::NoStage(first.instruction.name());
            Some(ParseError::new(source, first.keyword.span, kind).with_hint(hint()))
        }
        None => {
            let end = source.text().trim_end().len();
            let kind = if statements.is_empty() { ErrorKind::NoInstructions } else { ErrorKind::NoFrom };
            Some(ParseError::new(source, Span::new(end, end), kind).with_hint(hint()))
        }
    }
}

/// Gives each instruction its meaning.
fn statements(scan: Scan, source: &Source) -> (Vec<Statement>, Errors) {
    let mut errors = scan.errors;
    let mut statements = Vec::with_capacity(scan.nodes.len());
    for mut node in scan.nodes {
        match typed::instruction(&mut node, source) {
            Ok(instruction) => statements.push(Statement {
                instruction,
                keyword: node.name,
                text: node.text,
                comments: node.comments,
                span: node.span,
                line: node.line,
                end_line: node.end_line,
            }),
            Err(error) => errors.push(error),
        }
    }
    (statements, errors)
}

#[cfg(test)]
mod tests;
