//! The typed tree of a Dockerfile.
//!
//! Texts are as written: quotes, escapes and variables are still in them wherever the builder would expand them.
//! Texts of JSON forms are decoded. Equality looks at the meaning alone: neither places nor layout count.

use std::{borrow::Cow, time::Duration};

use super::source::{Source, Span, Spanned};

/// A parsed Dockerfile.
#[derive(Debug, Clone)]
pub struct Dockerfile {
    /// What the directives at the top ask for.
    pub directives: Directives,
    /// The instructions in the order of the file. The first `FROM` is preceded by `ARG` alone.
    pub statements: Vec<Statement>,
    /// Blank lines within a continued instruction, which are skipped but deserve a warning.
    pub empty_continuations: Vec<Span>,
    /// The text that all spans point into.
    pub source: Source,
}

impl PartialEq for Dockerfile {
    fn eq(&self, other: &Self) -> bool {
        self.directives == other.directives && self.statements == other.statements
    }
}

impl Dockerfile {
    /// The names of its stages in lower case, in order.
    pub fn stage_names(&self) -> Vec<String> {
        let name = |statement: &Statement| match &statement.instruction {
            Instruction::From(from) => from.stage_name(),
            _ => None,
        };
        self.statements.iter().filter_map(name).collect()
    }
}

/// The `# name=value` lines that may open a Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Directives {
    /// `# syntax=`: the frontend that the author had in mind.
    pub syntax: Option<Spanned<String>>,
    /// `# escape=`: the escape and continuation character.
    pub escape: Escape,
    /// `# check=`: which build checks are skipped, and whether the others are errors.
    pub check: Option<Spanned<String>>,
}

/// The character that escapes the next one and, at the end of a line, continues it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Escape {
    /// `\`, the default.
    #[default]
    Backslash,
    /// `` ` ``, after `` # escape=` ``.
    Backtick,
}

impl Escape {
    /// The character itself.
    pub const fn as_char(self) -> char {
        match self {
            Self::Backslash => '\\',
            Self::Backtick => '`',
        }
    }
}

/// One instruction, the words it was written with, and where it stands.
#[derive(Debug, Clone)]
pub struct Statement {
    /// What it says.
    pub instruction: Instruction,
    /// The instruction's name as written, `run` or `RUN`.
    pub keyword: Spanned<String>,
    /// The whole instruction on one line: continuations joined, comments within removed, heredoc bodies left out.
    pub text: String,
    /// The comment lines right above, without `#`, as far back as the last empty comment.
    pub comments: Vec<String>,
    /// From the keyword to the end of the last line, heredoc bodies included.
    pub span: Span,
    /// The first line, from 1.
    pub line: usize,
    /// The last line, from 1, heredoc terminators included.
    pub end_line: usize,
}

impl PartialEq for Statement {
    fn eq(&self, other: &Self) -> bool {
        self.instruction == other.instruction && self.comments == other.comments
    }
}

/// An instruction of the Dockerfile reference.
#[derive(Debug, Clone, PartialEq)]
pub enum Instruction {
    /// `ADD`.
    Add(Add),
    /// `ARG`.
    Arg(Arg),
    /// `CMD`.
    Cmd(Command),
    /// `COPY`.
    Copy(Copy),
    /// `ENTRYPOINT`.
    Entrypoint(Command),
    /// `ENV`.
    Env(Env),
    /// `EXPOSE`.
    Expose(Expose),
    /// `FROM`.
    From(From),
    /// `HEALTHCHECK`.
    Healthcheck(Healthcheck),
    /// `LABEL`.
    Label(Label),
    /// `MAINTAINER`, deprecated.
    Maintainer(Spanned<String>),
    /// `ONBUILD`.
    Onbuild(Onbuild),
    /// `RUN`.
    Run(Run),
    /// `SHELL`.
    Shell(Shell),
    /// `STOPSIGNAL`.
    StopSignal(Spanned<String>),
    /// `USER`.
    User(Spanned<String>),
    /// `VOLUME`.
    Volume(Volume),
    /// `WORKDIR`.
    Workdir(Spanned<String>),
}

impl Instruction {
    /// The name in capitals, as in `HEALTHCHECK`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Add(_) => "ADD",
            Self::Arg(_) => "ARG",
            Self::Cmd(_) => "CMD",
            Self::Copy(_) => "COPY",
            Self::Entrypoint(_) => "ENTRYPOINT",
            Self::Env(_) => "ENV",
            Self::Expose(_) => "EXPOSE",
            Self::From(_) => "FROM",
            Self::Healthcheck(_) => "HEALTHCHECK",
            Self::Label(_) => "LABEL",
            Self::Maintainer(_) => "MAINTAINER",
            Self::Onbuild(_) => "ONBUILD",
            Self::Run(_) => "RUN",
            Self::Shell(_) => "SHELL",
            Self::StopSignal(_) => "STOPSIGNAL",
            Self::User(_) => "USER",
            Self::Volume(_) => "VOLUME",
            Self::Workdir(_) => "WORKDIR",
        }
    }
}

/// A command line in one of its two forms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A line for the stage's shell, possibly empty.
    Shell(Spanned<String>),
    /// The JSON form: the program and its arguments.
    Exec(Vec<Spanned<String>>),
}

/// `FROM [--platform=P] IMAGE [AS NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct From {
    /// The image or earlier stage.
    pub image: Spanned<String>,
    /// `--platform`.
    pub platform: Option<Spanned<String>>,
    /// The word before the name, in the case it was written.
    pub as_keyword: Option<Spanned<String>>,
    /// The stage's name as written; names compare without regard to case.
    pub name: Option<Spanned<String>>,
}

impl From {
    /// The stage's name in lower case, by which others refer to it.
    pub fn stage_name(&self) -> Option<String> {
        self.name.as_ref().map(|name| name.to_ascii_lowercase())
    }
}

/// `RUN [--mount=M]... [--network=N] [--security=S] COMMAND`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The command; with heredocs it is the line that names them.
    pub command: Command,
    /// The heredocs of the shell form, in order.
    pub heredocs: Vec<Heredoc>,
    /// The values of `--mount`, each a comma-separated list.
    pub mounts: Vec<Spanned<String>>,
    /// `--network`.
    pub network: Option<Spanned<String>>,
    /// `--security`.
    pub security: Option<Spanned<String>>,
    /// The values of `--device`.
    pub devices: Vec<Spanned<String>>,
}

/// What a [`Run`] hands to the system once its heredocs are taken into account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Script<'a> {
    /// A text for the stage's shell.
    Shell(Cow<'a, str>),
    /// The program and its arguments.
    Exec(&'a [Spanned<String>]),
    /// A heredoc that opens with `#!`: a file to be made executable and run.
    File {
        /// The heredoc's name, which becomes the file's.
        name: &'a str,
        /// The file's content.
        text: Cow<'a, str>,
    },
}

impl Run {
    /// The command with its heredocs in place.
    ///
    /// A line that consists of a heredoc alone is the heredoc's text; any other line goes to the shell together with
    /// the bodies, which the shell then reads by itself.
    pub fn script(&self) -> Script<'_> {
        let line = match &self.command {
            Command::Exec(arguments) => return Script::Exec(arguments),
            Command::Shell(line) => line,
        };
        let Some(first) = self.heredocs.first() else { return Script::Shell(Cow::Borrowed(line)) };
        if super::heredoc::is_marker(line) {
            return if first.text.starts_with("#!") {
                Script::File { name: &first.name, text: first.body() }
            } else {
                Script::Shell(first.body())
            };
        }
        let mut full = line.value.clone();
        for heredoc in &self.heredocs {
            full.push('\n');
            full.push_str(&heredoc.text);
            full.push_str(&heredoc.name);
        }
        Script::Shell(Cow::Owned(full))
    }
}

/// A text that stands in the Dockerfile itself.
#[derive(Debug, Clone)]
pub struct Heredoc {
    /// The word that ends it, quotes removed.
    pub name: String,
    /// The lines as they stand, each with its line ending.
    pub text: String,
    /// Whether variables in it are expanded: no part of the word was quoted.
    pub expand: bool,
    /// Whether it began with `<<-`, so that tabs at the start of lines do not count.
    pub strip_tabs: bool,
    /// The file descriptor, 0 unless written before `<<`.
    pub descriptor: u32,
    /// The place of the text.
    pub span: Span,
}

impl PartialEq for Heredoc {
    fn eq(&self, other: &Self) -> bool {
        let key = |heredoc: &Self| (heredoc.expand, heredoc.strip_tabs, heredoc.descriptor);
        self.name == other.name && self.text == other.text && key(self) == key(other)
    }
}

impl Eq for Heredoc {}

impl Heredoc {
    /// The text, leading tabs removed when it began with `<<-`.
    pub fn body(&self) -> Cow<'_, str> {
        if !self.strip_tabs {
            return Cow::Borrowed(&self.text);
        }
        Cow::Owned(self.text.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect())
    }
}

/// `COPY [--from=F] [--chown=O] [--chmod=M] [--link] [--parents] [--exclude=P]... SOURCE... DESTINATION`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// Paths and patterns, without the heredocs.
    pub sources: Vec<Spanned<String>>,
    /// The texts that are copied to files of their names, in order.
    pub heredocs: Vec<Heredoc>,
    /// Where it all goes.
    pub destination: Spanned<String>,
    /// `--from`: a stage, an image or a named context.
    pub from: Option<Spanned<String>>,
    /// `--chown`.
    pub chown: Option<Spanned<String>>,
    /// `--chmod`.
    pub chmod: Option<Spanned<String>>,
    /// `--link`.
    pub link: bool,
    /// `--parents`.
    pub parents: bool,
    /// The values of `--exclude`.
    pub exclude: Vec<Spanned<String>>,
}

/// `ADD [flags] SOURCE... DESTINATION`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Add {
    /// Paths, patterns, URLs and git repositories, without the heredocs.
    pub sources: Vec<Spanned<String>>,
    /// The texts that are added as files of their names, in order.
    pub heredocs: Vec<Heredoc>,
    /// Where it all goes.
    pub destination: Spanned<String>,
    /// `--chown`.
    pub chown: Option<Spanned<String>>,
    /// `--chmod`.
    pub chmod: Option<Spanned<String>>,
    /// `--link`.
    pub link: bool,
    /// `--checksum` of a remote source.
    pub checksum: Option<Spanned<String>>,
    /// `--keep-git-dir`.
    pub keep_git_dir: bool,
    /// `--unpack`; archives in the context are unpacked and remote ones not unless it says otherwise.
    pub unpack: Option<bool>,
    /// The values of `--exclude`.
    pub exclude: Vec<Spanned<String>>,
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// What is left of `=`.
    pub key: Spanned<String>,
    /// What is right of it, quotes and all.
    pub value: Spanned<String>,
}

/// `ENV KEY=VALUE...` or the old `ENV KEY VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Env {
    /// The variables in order.
    pub pairs: Vec<Pair>,
    /// Whether it was written in the old form.
    pub legacy: bool,
}

/// `LABEL KEY=VALUE...` or the old `LABEL KEY VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The labels in order.
    pub pairs: Vec<Pair>,
    /// Whether it was written in the old form.
    pub legacy: bool,
}

/// `ARG NAME[=DEFAULT]...`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arg {
    /// The arguments in order.
    pub declarations: Vec<ArgDeclaration>,
}

/// A build argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArgDeclaration {
    /// Its name.
    pub name: Spanned<String>,
    /// What it is when the build does not say, quotes and all.
    pub default: Option<Spanned<String>>,
}

/// `EXPOSE PORT...`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expose {
    /// Ports and ranges, with or without protocol, in the order written.
    pub ports: Vec<Spanned<String>>,
}

/// `VOLUME PATH...` or `VOLUME ["PATH", ...]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// The paths, none of them empty.
    pub paths: Vec<Spanned<String>>,
}

/// `SHELL ["PROGRAM", ...]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shell {
    /// The program and the arguments that precede the line; at least one.
    pub arguments: Vec<Spanned<String>>,
}

/// `HEALTHCHECK NONE` or `HEALTHCHECK [flags] CMD COMMAND`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Healthcheck {
    /// No check, whatever the base image has.
    None,
    /// A command and how often it runs.
    Cmd(Command, HealthcheckOptions),
}

/// The flags of a health check; what is `None` is inherited, and zero means the runtime's default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HealthcheckOptions {
    /// `--interval`.
    pub interval: Option<Duration>,
    /// `--timeout`.
    pub timeout: Option<Duration>,
    /// `--start-period`.
    pub start_period: Option<Duration>,
    /// `--start-interval`.
    pub start_interval: Option<Duration>,
    /// `--retries`.
    pub retries: Option<u32>,
}

/// `ONBUILD INSTRUCTION`.
#[derive(Debug, Clone, PartialEq)]
pub struct Onbuild {
    /// The instruction as text, heredocs included: what the image's configuration holds.
    pub trigger: String,
    /// The instruction; never `ONBUILD`, `FROM` or `MAINTAINER`.
    pub instruction: Box<Instruction>,
}
