//! What can be wrong with a Dockerfile, and how it is shown.

use std::fmt::{self, Write};

use super::source::{Position, Source, Span};

/// Columns of a line that are shown around the fault.
const EXCERPT: usize = 120;

/// The errors that are reported at once; a hostile file could hold millions.
const REPORTED: usize = 20;

/// The kind of a [`ParseError`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The file is not text.
    #[error("the file is not valid UTF-8")]
    NotUtf8,
    /// Text holds no NUL.
    #[error("NUL byte in the Dockerfile")]
    Nul,
    /// A limit that keeps hostile files from exhausting the machine.
    #[error("{what} is larger than the limit of {limit}")]
    TooLarge {
        /// What was measured.
        what: &'static str,
        /// The limit and its unit.
        limit: String,
    },
    /// There is nothing to build.
    #[error("file with no instructions")]
    NoInstructions,
    /// A directive stands twice.
    #[error("only one `{0}` parser directive can be used")]
    DuplicateDirective(&'static str),
    /// Neither of the two characters that may escape.
    #[error("invalid escape character `{0}`: it must be ` or \\")]
    InvalidEscape(String),
    /// No instruction has that name.
    #[error("unknown instruction `{0}`")]
    UnknownInstruction(String),
    /// The instruction has no such flag.
    #[error("unknown flag `--{flag}` of {instruction}")]
    UnknownFlag {
        /// The instruction's name.
        instruction: &'static str,
        /// The flag's name without dashes.
        flag: String,
    },
    /// A flag that may stand once stands twice.
    #[error("flag `--{0}` is given twice")]
    DuplicateFlag(String),
    /// A flag without its value.
    #[error("flag `--{0}` needs a value")]
    MissingFlagValue(String),
    /// The value of a flag is not of its kind.
    #[error("invalid value `{value}` of flag `--{flag}`: {reason}")]
    InvalidFlagValue {
        /// The flag's name without dashes.
        flag: String,
        /// The value as written.
        value: String,
        /// What was expected.
        reason: String,
    },
    /// A JSON array with something else than strings in it.
    #[error("the JSON form takes an array of strings only")]
    NotStringArray,
    /// More brackets than anyone needs.
    #[error("JSON is nested deeper than {0} levels")]
    JsonTooDeep(usize),
    /// A heredoc's last line is missing.
    #[error("unterminated heredoc `{0}`")]
    UnterminatedHeredoc(String),
    /// A heredoc where it cannot be.
    #[error("{0} cannot take a heredoc as its destination")]
    HeredocDestination(&'static str),
    /// A heredoc that is part of a longer word.
    #[error("heredoc `{name}` is not a source of its own of {instruction}")]
    MisplacedHeredoc {
        /// The instruction's name.
        instruction: &'static str,
        /// The heredoc's name.
        name: String,
    },
    /// The marker of a heredoc is not a word.
    #[error("invalid heredoc marker `{0}`")]
    InvalidHeredoc(String),
    /// Too few or too many arguments.
    #[error("{instruction} requires {expected}")]
    WrongArguments {
        /// The instruction's name.
        instruction: &'static str,
        /// How many it takes.
        expected: &'static str,
    },
    /// `KEY=VALUE` without `=`.
    #[error("`{word}` is not of the form name=value")]
    NotKeyValue {
        /// The word as written.
        word: String,
    },
    /// `=VALUE`.
    #[error("{0} names cannot be blank")]
    BlankName(&'static str),
    /// A name that a stage cannot have.
    #[error("invalid stage name `{0}`")]
    InvalidStageName(String),
    /// `ONBUILD` of an instruction that cannot wait.
    #[error("{0} is not allowed as an ONBUILD trigger")]
    ForbiddenTrigger(&'static str),
    /// A volume without a path.
    #[error("VOLUME path cannot be empty")]
    EmptyVolume,
    /// Neither `NONE` nor `CMD`.
    #[error("unknown type `{0}` of HEALTHCHECK")]
    UnknownHealthcheck(String),
    /// A shell that is not a JSON array.
    #[error("SHELL requires the JSON form")]
    ShellNotJson,
    /// An instruction before the first `FROM`.
    #[error("{0} stands before the first FROM")]
    NoStage(&'static str),
    /// A Dockerfile of `ARG` alone.
    #[error("no FROM instruction")]
    NoFrom,
}

/// Something that is wrong, and where.
#[derive(Debug, Clone)]
pub struct ParseError(Box<Fault>);

#[derive(Debug, Clone)]
struct Fault {
    kind: ErrorKind,
    span: Span,
    position: Position,
    excerpt: Excerpt,
    hint: Option<String>,
}

impl ParseError {
    pub(super) fn new(source: &Source, span: Span, kind: ErrorKind) -> Self {
        let (position, excerpt) = (source.position(span.start), Excerpt::new(source, span));
        Self(Box::new(Fault { kind, span, position, excerpt, hint: None }))
    }

    pub(super) fn with_hint(mut self, hint: Option<String>) -> Self {
        self.0.hint = hint;
        self
    }

    /// What is wrong.
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// Where, in bytes of the text.
    pub fn span(&self) -> Span {
        self.0.span
    }

    /// Where, for people.
    pub fn position(&self) -> Position {
        self.0.position
    }

    /// What to do about it, when that can be said.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The error on several lines: `file:line:column`, the line, a caret below the fault, the hint.
    pub fn render(&self, file: &str) -> String {
        let header = format!("{file}:{}: {}", self.0.position, self.0.kind);
        self.0.excerpt.render(&header, self.0.position.line, self.hint())
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.0.position.line, self.0.kind)?;
        match &self.0.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ParseError {}

/// All that is wrong with a Dockerfile, in the order of the lines; at least one error.
#[derive(Debug, Clone)]
pub struct ParseErrors {
    errors: Vec<ParseError>,
    /// Errors beyond those that are kept.
    omitted: usize,
}

impl ParseErrors {
    /// The errors, the first of the file first.
    pub fn iter(&self) -> impl Iterator<Item = &ParseError> {
        self.errors.iter()
    }

    /// How many errors there are, those past the limit of what is kept included.
    pub fn count(&self) -> usize {
        self.errors.len() + self.omitted
    }

    /// Every error as [`ParseError::render`] shows it, a blank line between two.
    pub fn render(&self, file: &str) -> String {
        let mut text = self.errors.iter().map(|error| error.render(file)).collect::<Vec<_>>().join("\n");
        if self.omitted > 0 {
            let _ = writeln!(text, "\nand {} more errors", self.omitted);
        }
        text
    }
}

impl fmt::Display for ParseErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(first) = self.errors.first() {
            first.fmt(f)?;
        }
        match self.count() {
            0 | 1 => Ok(()),
            2 => f.write_str(", and one more error"),
            count => write!(f, ", and {} more errors", count - 1),
        }
    }
}

impl std::error::Error for ParseErrors {}

impl From<ParseError> for ParseErrors {
    fn from(error: ParseError) -> Self {
        Self { errors: vec![error], omitted: 0 }
    }
}

/// Collects errors while the parser goes on.
#[derive(Debug, Default)]
pub(super) struct Errors {
    errors: Vec<ParseError>,
    omitted: usize,
}

impl Errors {
    /// Takes an error; past the limit it is only counted.
    pub(super) fn push(&mut self, error: ParseError) {
        if self.errors.len() < REPORTED {
            self.errors.push(error);
        } else {
            self.omitted += 1;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.errors.is_empty()
    }

    /// `value` if nothing went wrong.
    pub(super) fn finish<T>(mut self, value: T) -> Result<T, ParseErrors> {
        if self.errors.is_empty() {
            return Ok(value);
        }
        self.errors.sort_by_key(|error| error.0.span.start);
        Err(ParseErrors { errors: self.errors, omitted: self.omitted })
    }
}

/// The part of a line that an error is about, ready to print.
#[derive(Debug, Clone)]
struct Excerpt {
    /// Printable text, at most [`EXCERPT`] columns and the marks of what is cut off.
    text: String,
    /// Columns before the caret, and the caret's length.
    caret: (usize, usize),
}

impl Excerpt {
    fn new(source: &Source, span: Span) -> Self {
        let position = source.position(span.start);
        let line = source.line_text(position.line);
        // Everything is one column wide here; wide characters shift the caret, no more.
        let skipped = (position.column - 1).saturating_sub(EXCERPT * 2 / 3);
        let mut text = String::new();
        if skipped > 0 {
            text.push('…');
        }
        let before = position.column - 1 - skipped + text.chars().count();
        let mut rest = line.chars().skip(skipped);
        text.extend(rest.by_ref().take(EXCERPT).map(|char| if char.is_control() { ' ' } else { char }));
        let shown = text.chars().count();
        if rest.next().is_some() {
            text.push('…');
        }
        let marked = source.slice(span).split('\n').next().unwrap_or_default().trim_end().chars().take(EXCERPT).count();
        Self { text, caret: (before, marked.min(shown.saturating_sub(before)).max(1)) }
    }

    fn render(&self, header: &str, line: usize, hint: Option<&str>) -> String {
        let line = line.to_string();
        let margin = " ".repeat(line.len());
        let mut out = String::with_capacity(header.len() + self.text.len() * 2 + 32);
        out.extend(header.chars().flat_map(|char| {
            let printable = !char.is_control();
            printable
                .then_some(char)
                .into_iter()
                .chain((!printable).then(|| char.escape_default()).into_iter().flatten())
        }));
        let (before, length) = self.caret;
        let _ = write!(out, "\n{margin} |\n{line} | {}", self.text.trim_end());
        let _ = writeln!(out, "\n{margin} | {}{}", " ".repeat(before), "^".repeat(length));
        if let Some(hint) = hint {
            let _ = writeln!(out, "{margin} = help: {hint}");
        }
        out
    }
}

impl Source {
    /// A message about `span` on several lines: `file:line:column: message`, the line, a caret below the span, the hint.
    pub fn render(&self, file: &str, span: Span, message: &str, hint: Option<&str>) -> String {
        let position = self.position(span.start);
        Excerpt::new(self, span).render(&format!("{file}:{position}: {message}"), position.line, hint)
    }
}
