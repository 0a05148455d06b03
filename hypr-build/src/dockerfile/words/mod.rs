//! Shell words: variables, quotes and escapes in the arguments of instructions.
//!
//! The forms are `$v ${v} ${v:-w} ${v-w} ${v:+w} ${v+w} ${v:?e} ${v?e} ${v#p} ${v##p} ${v%p} ${v%%p} ${v/p/r}` and
//! `${v//p/r}`; each part in braces may hold further ones. Results are bounded, because a value that is made of itself
//! twice doubles with every instruction.
//!
//! ```
//! use hypr_build::dockerfile::{Escape, words};
//!
//! let lookup = |name: &str| (name == "NAME").then_some("world");
//! let expansion = words::process_word(r#""hello ${NAME:-you}" $OTHER"#, Escape::Backslash, &lookup)?;
//! assert_eq!(expansion.text, "hello world ");
//! assert!(expansion.unset.contains("OTHER"));
//! # Ok::<(), words::WordError>(())
//! ```

mod expand;
mod pattern;

use std::collections::BTreeSet;

use self::expand::{Expander, Mode};
use super::Escape;

/// The longest result, in bytes.
pub const MAX_EXPANSION: usize = 1 << 20;

/// The deepest nesting of `${}`.
pub const MAX_DEPTH: usize = 64;

/// How the value of a variable is found; `None` when it is not set.
pub type Lookup<'a> = dyn Fn(&str) -> Option<&'a str> + 'a;

/// A text after expansion, and the variables it depended on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expansion {
    /// The text.
    pub text: String,
    /// Variables that were asked for and are set.
    pub used: BTreeSet<String>,
    /// Variables that were asked for and are not set.
    pub unset: BTreeSet<String>,
    /// Those of them that nothing stands in for, as a default would.
    pub undefined: BTreeSet<String>,
}

/// Words after expansion, and the variables they depended on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WordList {
    /// The words; none is empty.
    pub words: Vec<String>,
    /// Variables that were asked for and are set.
    pub used: BTreeSet<String>,
    /// Variables that were asked for and are not set.
    pub unset: BTreeSet<String>,
    /// Those of them that nothing stands in for, as a default would.
    pub undefined: BTreeSet<String>,
}

/// Why a text cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}")]
pub struct WordError {
    /// What is wrong.
    pub kind: WordErrorKind,
    /// The byte of the text at which it shows.
    pub offset: usize,
}

/// The kind of a [`WordError`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WordErrorKind {
    /// `'` without its partner.
    #[error("unexpected end of statement while looking for matching single-quote")]
    SingleQuote,
    /// `"` without its partner.
    #[error("unexpected end of statement while looking for matching double-quote")]
    DoubleQuote,
    /// `${` without `}`.
    #[error("syntax error: missing '}}'")]
    MissingBrace,
    /// `${v/p` without the second `/`.
    #[error("syntax error: missing '/' in ${{}}")]
    MissingSlash,
    /// `${}` without a name.
    #[error("syntax error: bad substitution")]
    BadSubstitution,
    /// Nothing that `${}` knows.
    #[error("unsupported modifier ({0}) in substitution")]
    Modifier(String),
    /// A variable that `${v?message}` demands.
    #[error("{name}: {message}")]
    Required {
        /// The variable.
        name: String,
        /// What the Dockerfile says about it.
        message: String,
    },
    /// A pattern with an escape that means nothing.
    #[error("invalid escape '\\{0}' in the pattern of a substitution")]
    Pattern(char),
    /// A pattern that ends in an escape.
    #[error("the pattern of a substitution ends with '\\'")]
    PatternEnd,
    /// The value and the pattern together would take too long.
    #[error("value and pattern are too long for a substitution")]
    PatternTooLong,
    /// The result passes [`MAX_EXPANSION`].
    #[error("expansion is larger than the limit of {MAX_EXPANSION} bytes")]
    TooLong,
    /// Substitutions nest deeper than [`MAX_DEPTH`].
    #[error("substitutions are nested deeper than the limit of {MAX_DEPTH}")]
    TooDeep,
}

/// Expands `text` into one text; blanks stay, quotes and escapes go.
///
/// # Errors
/// Fails on a substitution or quote that does not end, on `${v?}` of a variable that is not set, and at the limits.
pub fn process_word<'a>(text: &str, escape: Escape, lookup: &Lookup<'a>) -> Result<Expansion, WordError> {
    Expander::new(text, escape.as_char(), Mode::default(), lookup).text()
}

/// Expands `text` and splits it at blanks that are neither quoted nor escaped, those from variables included.
///
/// # Errors
/// As [`process_word`].
pub fn process_words<'a>(text: &str, escape: Escape, lookup: &Lookup<'a>) -> Result<WordList, WordError> {
    Expander::new(text, escape.as_char(), Mode::default(), lookup).words()
}

/// Expands the variables of a heredoc; quotes mean nothing there, and the escape character is always `\`.
///
/// # Errors
/// As [`process_word`]; the result may be as long as the text and [`MAX_EXPANSION`] together.
pub fn process_text<'a>(text: &str, lookup: &Lookup<'a>) -> Result<Expansion, WordError> {
    let mode = Mode { plain_quotes: true, limit: text.len() + MAX_EXPANSION, ..Mode::default() };
    Expander::new(text, '\\', mode, lookup).text()
}

/// Splits a line as [`process_words`] would, but leaves quotes, escapes and variables in the words, and `<<` together
/// with the word that follows it. `None` when the line has a quote or brace that does not end.
pub(super) fn split_raw(line: &str) -> Option<Vec<String>> {
    let mode = Mode {
        raw_quotes: true,
        raw_escapes: true,
        keep_unset: true,
        heredocs: true,
        limit: line.len() * 2 + 1,
        ..Mode::default()
    };
    Expander::new(line, '\\', mode, &|_| None).words().ok().map(|list| list.words)
}

/// The words of a heredoc marker, with and without quotes.
pub(super) fn split_marker(marker: &str) -> Result<(Vec<String>, Vec<String>), WordError> {
    let mode = Mode { keep_unset: true, limit: marker.len() * 2 + 1, ..Mode::default() };
    let quoted = Mode { raw_quotes: true, ..mode };
    let plain = Expander::new(marker, '\\', mode, &|_| None).words()?;
    let quoted = Expander::new(marker, '\\', quoted, &|_| None).words()?;
    Ok((plain.words, quoted.words))
}

#[cfg(test)]
mod tests;
