//! The names of the instructions and of their flags.

use super::suggest;

/// The name of an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keyword {
    Add,
    Arg,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    From,
    Healthcheck,
    Label,
    Maintainer,
    Onbuild,
    Run,
    Shell,
    StopSignal,
    User,
    Volume,
    Workdir,
}

/// What follows a flag's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FlagKind {
    /// Nothing, `=true` or `=false`.
    Switch,
    /// A value.
    Value,
    /// A value, and the flag may stand several times.
    List,
}

const ALL: [(Keyword, &str); 18] = [
    (Keyword::Add, "ADD"),
    (Keyword::Arg, "ARG"),
    (Keyword::Cmd, "CMD"),
    (Keyword::Copy, "COPY"),
    (Keyword::Entrypoint, "ENTRYPOINT"),
    (Keyword::Env, "ENV"),
    (Keyword::Expose, "EXPOSE"),
    (Keyword::From, "FROM"),
    (Keyword::Healthcheck, "HEALTHCHECK"),
    (Keyword::Label, "LABEL"),
    (Keyword::Maintainer, "MAINTAINER"),
    (Keyword::Onbuild, "ONBUILD"),
    (Keyword::Run, "RUN"),
    (Keyword::Shell, "SHELL"),
    (Keyword::StopSignal, "STOPSIGNAL"),
    (Keyword::User, "USER"),
    (Keyword::Volume, "VOLUME"),
    (Keyword::Workdir, "WORKDIR"),
];

impl Keyword {
    /// The keyword that `word` is, in any case.
    pub(super) fn new(word: &str) -> Option<Self> {
        ALL.iter().find(|(_, name)| name.eq_ignore_ascii_case(word)).map(|(keyword, _)| *keyword)
    }

    /// The keyword that `word` was probably meant to be.
    pub(super) fn nearest(word: &str) -> Option<Self> {
        suggest::nearest(word, ALL.iter().map(|(_, name)| *name)).and_then(Self::new)
    }

    /// The name in capitals.
    pub(super) fn name(self) -> &'static str {
        ALL.iter().find(|(keyword, _)| *keyword == self).map_or("", |(_, name)| name)
    }

    /// Whether the shell form of the instruction may hold heredocs.
    pub(super) const fn takes_heredocs(self) -> bool {
        matches!(self, Self::Add | Self::Copy | Self::Run)
    }

    /// The flags of the instruction.
    pub(super) const fn flags(self) -> &'static [(&'static str, FlagKind)] {
        use FlagKind::{List, Switch, Value};
        match self {
            Self::From => &[("platform", Value)],
            Self::Run => &[("mount", List), ("network", Value), ("security", Value), ("device", List)],
            Self::Copy => &[
                ("from", Value),
                ("chown", Value),
                ("chmod", Value),
                ("link", Switch),
                ("parents", Switch),
                ("exclude", List),
            ],
            Self::Add => &[
                ("chown", Value),
                ("chmod", Value),
                ("link", Switch),
                ("checksum", Value),
                ("keep-git-dir", Switch),
                ("unpack", Switch),
                ("exclude", List),
            ],
            Self::Healthcheck => &[
                ("interval", Value),
                ("timeout", Value),
                ("start-period", Value),
                ("start-interval", Value),
                ("retries", Value),
            ],
            _ => &[],
        }
    }
}
