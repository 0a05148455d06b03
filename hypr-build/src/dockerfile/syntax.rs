//! The first level: an instruction as its name, flags and arguments, whatever they mean.

use super::{
    ast::{Escape, Heredoc},
    error::{ErrorKind, ParseError},
    flags,
    json::{self, Json},
    keyword::Keyword,
    lines::Logical,
    source::{Source, Span, Spanned},
    split,
};

/// A Dockerfile cut into instructions, which need not make sense.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "build", derive(serde::Serialize))]
pub struct Syntax {
    /// The instructions in the order of the file.
    pub instructions: Vec<SyntaxInstruction>,
}

/// An instruction as words.
///
/// Commands in shell form, and instructions that take one text, have one argument. Elements of the JSON form are
/// decoded; all other arguments are as written, quotes included. `ENV` and `LABEL` give keys and values in turn,
/// `HEALTHCHECK` its type and its command, `ONBUILD` the inner instruction's name and arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "build", derive(serde::Serialize))]
pub struct SyntaxInstruction {
    /// The name in capitals.
    pub name: String,
    /// The flags as written; of an `ONBUILD`, those of the inner instruction too.
    pub flags: Vec<String>,
    /// The arguments.
    pub args: Vec<String>,
    /// The first line, from 1.
    pub line: usize,
    /// The last line, from 1, that of a heredoc's end included.
    pub end_line: usize,
    /// The heredocs in order.
    pub heredocs: Vec<SyntaxHeredoc>,
}

/// A heredoc as text.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "build", derive(serde::Serialize))]
pub struct SyntaxHeredoc {
    /// The word that ends it.
    pub name: String,
    /// Its lines, leading tabs removed after `<<-`.
    pub text: String,
    /// Whether variables in it are expanded.
    pub expand: bool,
}

/// An instruction between the two levels.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) keyword: Keyword,
    /// The name as written.
    pub(super) name: Spanned<String>,
    pub(super) flags: Vec<Flag>,
    pub(super) args: Vec<Spanned<String>>,
    /// The arguments are those of a JSON array.
    pub(super) json: bool,
    /// The arguments are the key and value of `ENV KEY VALUE`.
    pub(super) legacy: bool,
    /// The instruction of an `ONBUILD`.
    pub(super) inner: Option<Box<Node>>,
    pub(super) heredocs: Vec<Heredoc>,
    /// The line from the name on, without blanks around it.
    pub(super) text: String,
    pub(super) comments: Vec<String>,
    pub(super) span: Span,
    pub(super) line: usize,
    pub(super) end_line: usize,
}

/// A flag between the two levels.
#[derive(Debug)]
pub(super) struct Flag {
    pub(super) written: String,
    pub(super) name: String,
    pub(super) value: Option<String>,
    pub(super) span: Span,
}

impl Node {
    /// Cuts up `text`, a slice of the place's line without blanks around it and not empty.
    pub(super) fn new(text: &str, place: &Place<'_>) -> Result<Self, ParseError> {
        let mut node = Self::without_arguments(text, place)?;
        let rest = node.take_flags(text, place);
        if node.keyword == Keyword::Onbuild && !rest.is_empty() {
            node.trigger(rest, place)?;
        } else {
            node.arguments(rest, place)?;
        }
        Ok(node)
    }

    fn without_arguments(text: &str, place: &Place<'_>) -> Result<Self, ParseError> {
        let name = split::first(text);
        let Some(keyword) = Keyword::new(name) else {
            let hint = Keyword::nearest(name).map(|keyword| format!("did you mean `{}`?", keyword.name()));
            let kind = ErrorKind::UnknownInstruction(abbreviated(name));
            return Err(place.error(name, kind).with_hint(hint));
        };
        Ok(Self {
            keyword,
            name: place.word(name),
            flags: Vec::new(),
            args: Vec::new(),
            json: false,
            legacy: false,
            inner: None,
            heredocs: Vec::new(),
            text: text.to_owned(),
            comments: Vec::new(),
            span: place.line.span(text),
            line: 0,
            end_line: 0,
        })
    }

    /// Takes the flags behind the name; what follows them is left, without blanks around it.
    fn take_flags<'a>(&mut self, text: &'a str, place: &Place<'_>) -> &'a str {
        let (flags, rest) = flags::flags(&text[self.name.len()..]);
        self.flags.extend(flags.into_iter().map(|flag| {
            let dashless = &flag.text[2..];
            let (name, value) = match dashless.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (dashless, None),
            };
            let span = place.line.span(flag.written);
            Flag { written: flag.written.to_owned(), name: name.to_owned(), value, span }
        }));
        rest.trim()
    }

    /// The instruction of an `ONBUILD`. Of one within it only the name is read, because triggers do not nest.
    fn trigger(&mut self, text: &str, place: &Place<'_>) -> Result<(), ParseError> {
        let mut inner = Self::without_arguments(text, place)?;
        let rest = inner.take_flags(text, place);
        inner.arguments(rest, place)?;
        self.inner = Some(Box::new(inner));
        Ok(())
    }

    /// The instruction itself, or the inner one of an `ONBUILD`.
    pub(super) fn innermost(&self) -> &Self {
        self.inner.as_deref().unwrap_or(self)
    }

    /// Cuts up the arguments by the rules of the keyword.
    fn arguments(&mut self, rest: &str, place: &Place<'_>) -> Result<(), ParseError> {
        if rest.is_empty() {
            return Ok(());
        }
        match self.keyword {
            Keyword::Env | Keyword::Label => self.pairs(rest, place),
            Keyword::Arg => {
                self.args.extend(split::words(rest, place.escape).into_iter().map(|word| place.word(word)));
                Ok(())
            }
            Keyword::From | Keyword::Expose => {
                self.blank_separated(rest, place);
                Ok(())
            }
            Keyword::Add | Keyword::Copy | Keyword::Volume => {
                if !self.json(rest, place)? {
                    self.blank_separated(rest, place);
                }
                Ok(())
            }
            Keyword::Cmd | Keyword::Entrypoint | Keyword::Run | Keyword::Shell => self.command(rest, place),
            Keyword::Healthcheck => {
                let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                let (kind, command) = rest.split_at(end);
                self.args.push(place.word(kind));
                match command.trim_start() {
                    "" => Ok(()),
                    command => self.command(command, place),
                }
            }
            Keyword::Maintainer | Keyword::StopSignal | Keyword::User | Keyword::Workdir | Keyword::Onbuild => {
                self.args.push(place.word(rest));
                Ok(())
            }
        }
    }

    /// One argument, or those of a JSON array.
    fn command(&mut self, rest: &str, place: &Place<'_>) -> Result<(), ParseError> {
        if !self.json(rest, place)? {
            self.args.push(place.word(rest));
        }
        Ok(())
    }

    fn json(&mut self, rest: &str, place: &Place<'_>) -> Result<bool, ParseError> {
        match json::array(rest) {
            Json::No => return Ok(false),
            Json::Strings(strings) => {
                let strings = strings.into_iter().map(|(text, written)| Spanned::new(text, place.line.span(written)));
                self.args.extend(strings);
            }
            Json::Other(value) => {
                let error = place.error(value, ErrorKind::NotStringArray);
                return Err(error.with_hint(Some("put each element in double quotes".to_owned())));
            }
            Json::TooDeep => {
                let kind = ErrorKind::JsonTooDeep(json::MAX_DEPTH);
                return Err(place.error(&rest[..1], kind));
            }
        }
        self.json = true;
        Ok(true)
    }

    fn blank_separated(&mut self, rest: &str, place: &Place<'_>) {
        self.args.extend(split::blank_separated(rest).map(|word| place.word(word)));
    }

    /// `KEY=VALUE...`, or `KEY VALUE` when the first word has no `=`.
    fn pairs(&mut self, rest: &str, place: &Place<'_>) -> Result<(), ParseError> {
        let words = split::words(rest, place.escape);
        if !words.first().is_some_and(|word| word.contains('=')) {
            let Some((key, value)) = split::key_and_rest(rest) else {
                let kind = ErrorKind::WrongArguments { instruction: self.keyword.name(), expected: "two arguments" };
                let hint = format!("write `{} {rest}=VALUE`", self.keyword.name());
                let error = place.error(rest, kind);
                return Err(error.with_hint((rest.len() < 40).then_some(hint)));
            };
            self.args.extend([place.word(key), place.word(value)]);
            self.legacy = true;
            return Ok(());
        }
        for word in words {
            let Some((key, value)) = word.split_once('=') else {
                let kind = ErrorKind::NotKeyValue { word: abbreviated(word) };
                let hint = "put a value with blanks in double quotes".to_owned();
                return Err(place.error(word, kind).with_hint(Some(hint)));
            };
            self.args.extend([place.word(key), place.word(value)]);
        }
        Ok(())
    }
}

/// The line that is being cut up.
pub(super) struct Place<'a> {
    pub(super) line: &'a Logical,
    pub(super) source: &'a Source,
    pub(super) escape: Escape,
}

impl Place<'_> {
    /// `word`, a slice of the line, with its place.
    fn word(&self, word: &str) -> Spanned<String> {
        Spanned::new(word.to_owned(), self.line.span(word))
    }

    fn error(&self, part: &str, kind: ErrorKind) -> ParseError {
        ParseError::new(self.source, self.line.span(part), kind)
    }
}

/// `text` short enough for a message.
pub(super) fn abbreviated(text: &str) -> String {
    const SHOWN: usize = 60;
    let mut short: String = text.chars().take(SHOWN).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

impl From<Node> for SyntaxInstruction {
    fn from(node: Node) -> Self {
        let mut flags: Vec<_> = node.flags.into_iter().map(|flag| flag.written).collect();
        let mut args: Vec<_> = node.args.into_iter().map(|arg| arg.value).collect();
        if let Some(inner) = node.inner {
            flags.extend(inner.flags.into_iter().map(|flag| flag.written));
            args.push(inner.keyword.name().to_owned());
            args.extend(inner.args.into_iter().map(|arg| arg.value));
        }
        let heredocs = node.heredocs.into_iter().map(|heredoc| {
            let text = if heredoc.strip_tabs { heredoc.body().into_owned() } else { heredoc.text };
            SyntaxHeredoc { name: heredoc.name, text, expand: heredoc.expand }
        });
        Self {
            name: node.keyword.name().to_owned(),
            flags,
            args,
            line: node.line,
            end_line: node.end_line,
            heredocs: heredocs.collect(),
        }
    }
}
