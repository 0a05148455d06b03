//! The second level: what the names, flags and arguments of an instruction say.

use std::time::Duration;

use super::{
    ast::{
        Add, Arg, ArgDeclaration, Command, Copy, Env, Expose, From, Healthcheck, HealthcheckOptions, Heredoc,
        Instruction, Label, Onbuild, Pair, Run, Shell, Volume,
    },
    duration,
    error::{ErrorKind, ParseError},
    heredoc,
    keyword::{FlagKind, Keyword},
    source::{Source, Spanned},
    suggest,
    syntax::{Flag, Node, abbreviated},
};

/// The shortest time of a health check; zero asks for the default.
const SHORTEST: Duration = Duration::from_millis(1);

/// Reads an instruction. The node keeps what a statement needs beside it.
pub(super) fn instruction(node: &mut Node, source: &Source) -> Result<Instruction, ParseError> {
    let reader = Reader {
        keyword: node.keyword,
        name: node.name.clone(),
        flags: std::mem::take(&mut node.flags),
        args: std::mem::take(&mut node.args),
        json: node.json,
        legacy: node.legacy,
        heredocs: std::mem::take(&mut node.heredocs),
        source,
    };
    reader.check_flags()?;
    match node.inner.take() {
        Some(inner) => onbuild(node, *inner, reader),
        None => reader.instruction(),
    }
}

fn onbuild(node: &Node, mut inner: Node, reader: Reader<'_>) -> Result<Instruction, ParseError> {
    if matches!(inner.keyword, Keyword::Onbuild | Keyword::From | Keyword::Maintainer) {
        return Err(reader.error(&inner.name, ErrorKind::ForbiddenTrigger(inner.keyword.name())));
    }
    let mut trigger = node.text[node.name.len()..].trim_start().to_owned();
    for heredoc in &reader.heredocs {
        trigger.push('\n');
        trigger.push_str(&heredoc.text);
        trigger.push_str(&heredoc.name);
    }
    inner.heredocs = reader.heredocs;
    let instruction = Box::new(self::instruction(&mut inner, reader.source)?);
    Ok(Instruction::Onbuild(Onbuild { trigger, instruction }))
}

/// The arguments of `COPY` and `ADD`.
struct Sources {
    paths: Vec<Spanned<String>>,
    heredocs: Vec<Heredoc>,
    destination: Spanned<String>,
}

struct Reader<'a> {
    keyword: Keyword,
    name: Spanned<String>,
    flags: Vec<Flag>,
    args: Vec<Spanned<String>>,
    json: bool,
    legacy: bool,
    heredocs: Vec<Heredoc>,
    source: &'a Source,
}

impl Reader<'_> {
    fn instruction(mut self) -> Result<Instruction, ParseError> {
        Ok(match self.keyword {
            Keyword::Add => Instruction::Add(self.add()?),
            Keyword::Arg => Instruction::Arg(self.arg()?),
            Keyword::Cmd => Instruction::Cmd(self.command()),
            Keyword::Copy => Instruction::Copy(self.copy()?),
            Keyword::Entrypoint => Instruction::Entrypoint(self.command()),
            Keyword::Env => Instruction::Env(Env { legacy: self.legacy, pairs: self.pairs()? }),
            Keyword::Expose => Instruction::Expose(Expose { ports: self.at_least_one()? }),
            Keyword::From => Instruction::From(self.from()?),
            Keyword::Healthcheck => Instruction::Healthcheck(self.healthcheck()?),
            Keyword::Label => Instruction::Label(Label { legacy: self.legacy, pairs: self.pairs()? }),
            Keyword::Maintainer => Instruction::Maintainer(self.exactly_one()?),
            Keyword::Onbuild => return Err(self.wrong_arguments("an instruction")),
            Keyword::Run => Instruction::Run(self.run()?),
            Keyword::Shell => Instruction::Shell(self.shell()?),
            Keyword::StopSignal => Instruction::StopSignal(self.exactly_one()?),
            Keyword::User => Instruction::User(self.exactly_one()?),
            Keyword::Volume => Instruction::Volume(self.volume()?),
            Keyword::Workdir => Instruction::Workdir(self.exactly_one()?),
        })
    }

    fn from(&mut self) -> Result<From, ParseError> {
        let platform = self.value("platform")?;
        let mut args = std::mem::take(&mut self.args).into_iter();
        let (image, as_keyword, name) = match (args.next(), args.next(), args.next(), args.next()) {
            (Some(image), None, None, None) => (image, None, None),
            (Some(image), Some(word), Some(name), None) if word.eq_ignore_ascii_case("as") => {
                (image, Some(word), Some(name))
            }
            (_, second, third, fourth) => {
                // The first word that is too much, or that something is missing after.
                let is_as = second.as_ref().is_some_and(|word| word.eq_ignore_ascii_case("as"));
                let place = if is_as { fourth.or(third).or(second) } else { second };
                let hint = "write `FROM IMAGE` or `FROM IMAGE AS NAME`".to_owned();
                let error = self.wrong_arguments("either one or three arguments");
                let error = place.map_or(error, |place| {
                    let expected = "either one or three arguments";
                    self.error(&place, ErrorKind::WrongArguments { instruction: self.keyword.name(), expected })
                });
                return Err(error.with_hint(Some(hint)));
            }
        };
        if let Some(name) = name.as_ref().filter(|name| !is_stage_name(name)) {
            let hint = "a name begins with a letter, and holds letters, digits, `-`, `_` and `.`".to_owned();
            let kind = ErrorKind::InvalidStageName(abbreviated(name));
            return Err(self.error(name, kind).with_hint(Some(hint)));
        }
        Ok(From { image, platform, as_keyword, name })
    }

    fn run(&mut self) -> Result<Run, ParseError> {
        let run = Run {
            mounts: self.list("mount")?,
            network: self.value("network")?,
            security: self.value("security")?,
            devices: self.list("device")?,
            heredocs: std::mem::take(&mut self.heredocs),
            command: self.command(),
        };
        let empty = match &run.command {
            Command::Shell(line) => line.is_empty(),
            Command::Exec(arguments) => arguments.is_empty(),
        };
        if empty { Err(self.wrong_arguments("a command")) } else { Ok(run) }
    }

    fn copy(&mut self) -> Result<Copy, ParseError> {
        let (from, chown, chmod) = (self.value("from")?, self.value("chown")?, self.value("chmod")?);
        let (link, parents) = (self.switch("link")?, self.switch("parents")?);
        let exclude = self.list("exclude")?;
        let Sources { paths: sources, heredocs, destination } = self.sources()?;
        Ok(Copy {
            sources,
            heredocs,
            destination,
            from,
            chown,
            chmod,
            link: link.unwrap_or(false),
            parents: parents.unwrap_or(false),
            exclude,
        })
    }

    fn add(&mut self) -> Result<Add, ParseError> {
        let (chown, chmod, checksum) = (self.value("chown")?, self.value("chmod")?, self.value("checksum")?);
        let (link, keep_git_dir) = (self.switch("link")?, self.switch("keep-git-dir")?);
        let unpack = self.switch("unpack")?;
        let exclude = self.list("exclude")?;
        let Sources { paths: sources, heredocs, destination } = self.sources()?;
        Ok(Add {
            sources,
            heredocs,
            destination,
            chown,
            chmod,
            link: link.unwrap_or(false),
            checksum,
            keep_git_dir: keep_git_dir.unwrap_or(false),
            unpack,
            exclude,
        })
    }

    /// The arguments of `COPY` and `ADD`: paths, heredocs and the destination.
    fn sources(&mut self) -> Result<Sources, ParseError> {
        let mut args = std::mem::take(&mut self.args);
        if args.len() < 2 {
            let hint = format!("write `{} SOURCE... DESTINATION`", self.keyword.name());
            return Err(self.wrong_arguments("at least two arguments").with_hint(Some(hint)));
        }
        let destination = args.split_off(args.len() - 1).remove(0);
        let is_heredoc = |word: &str| !self.json && (heredoc::is_marker(word) || heredoc::is_bare(word));
        if is_heredoc(&destination) {
            return Err(self.error(&destination, ErrorKind::HeredocDestination(self.keyword.name())));
        }
        let mut heredocs = std::mem::take(&mut self.heredocs).into_iter();
        let (mut sources, mut texts) = (Vec::new(), Vec::new());
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            if !is_heredoc(&arg) {
                sources.push(arg);
                continue;
            }
            match heredocs.next() {
                Some(text) => texts.push(text),
                None => sources.push(arg.clone()),
            }
            // The name of `<< EOF` is a word of its own.
            if heredoc::is_bare(&arg) && args.next().is_none() {
                return Err(self.wrong_arguments("at least two arguments"));
            }
        }
        if let Some(Heredoc { name, .. }) = heredocs.next() {
            let kind = ErrorKind::MisplacedHeredoc { instruction: self.keyword.name(), name: abbreviated(&name) };
            return Err(self.error(&self.name, kind));
        }
        Ok(Sources { paths: sources, heredocs: texts, destination })
    }

    fn arg(&mut self) -> Result<Arg, ParseError> {
        let mut declarations = Vec::new();
        for word in self.at_least_one()? {
            let Some((name, default)) = word.split_once('=') else {
                declarations.push(ArgDeclaration { name: word, default: None });
                continue;
            };
            if name.is_empty() {
                return Err(self.error(&word, ErrorKind::BlankName("ARG")));
            }
            // Offsets hold where the word stands on one line, which is where they are of use.
            let split = word.span.start + name.len();
            let name = Spanned::new(name.to_owned(), super::Span::new(word.span.start, split.min(word.span.end)));
            let place = super::Span::new((split + 1).min(word.span.end), word.span.end);
            declarations.push(ArgDeclaration { name, default: Some(Spanned::new(default.to_owned(), place)) });
        }
        Ok(Arg { declarations })
    }

    fn pairs(&mut self) -> Result<Vec<Pair>, ParseError> {
        let mut args = self.at_least_one()?.into_iter();
        let mut pairs = Vec::with_capacity(args.len() / 2);
        while let (Some(key), Some(value)) = (args.next(), args.next()) {
            if key.is_empty() {
                return Err(self.error(&value, ErrorKind::BlankName(self.keyword.name())));
            }
            pairs.push(Pair { key, value });
        }
        Ok(pairs)
    }

    fn volume(&mut self) -> Result<Volume, ParseError> {
        let mut paths = self.at_least_one()?;
        for path in &mut paths {
            if path.trim().is_empty() {
                return Err(self.error(path, ErrorKind::EmptyVolume));
            }
            path.value = path.trim().to_owned();
        }
        Ok(Volume { paths })
    }

    fn shell(&mut self) -> Result<Shell, ParseError> {
        let arguments = self.at_least_one()?;
        if !self.json {
            let hint = "write `SHELL [\"PROGRAM\", \"ARGUMENT\"]`".to_owned();
            return Err(self.error(&arguments[0], ErrorKind::ShellNotJson).with_hint(Some(hint)));
        }
        Ok(Shell { arguments })
    }

    fn healthcheck(&mut self) -> Result<Healthcheck, ParseError> {
        let mut options = HealthcheckOptions {
            interval: self.duration("interval")?,
            timeout: self.duration("timeout")?,
            start_period: self.duration("start-period")?,
            start_interval: self.duration("start-interval")?,
            retries: None,
        };
        if let Some(value) = self.value("retries")? {
            let retries = value.parse::<u32>().ok().filter(|retries| i32::try_from(*retries).is_ok());
            let reason = "it must be a number and not negative";
            options.retries = Some(retries.ok_or_else(|| self.invalid_value("retries", &value, reason))?);
        }
        let kind = self.at_least_one()?;
        let kind = kind.split_first().map(|(kind, command)| (kind.clone(), command.to_vec()));
        let Some((kind, command)) = kind else { return Err(self.wrong_arguments("at least one argument")) };
        self.args = command;
        match kind.to_ascii_uppercase().as_str() {
            "NONE" if self.args.is_empty() && !self.json => Ok(Healthcheck::None),
            "NONE" => Err(self.wrong_arguments("no arguments after NONE")),
            "CMD" if self.args.is_empty() => Err(self.wrong_arguments("a command after CMD")),
            "CMD" => Ok(Healthcheck::Cmd(self.command(), options)),
            _ => {
                let hint = "write `HEALTHCHECK CMD COMMAND` or `HEALTHCHECK NONE`".to_owned();
                let kind_error = ErrorKind::UnknownHealthcheck(abbreviated(&kind));
                Err(self.error(&kind, kind_error).with_hint(Some(hint)))
            }
        }
    }

    fn command(&mut self) -> Command {
        let mut args = std::mem::take(&mut self.args);
        match args.pop() {
            last if self.json => {
                args.extend(last);
                Command::Exec(args)
            }
            Some(line) => Command::Shell(line),
            None => Command::Shell(Spanned::new(String::new(), self.name.span)),
        }
    }

    fn at_least_one(&mut self) -> Result<Vec<Spanned<String>>, ParseError> {
        let args = std::mem::take(&mut self.args);
        if args.is_empty() { Err(self.wrong_arguments("at least one argument")) } else { Ok(args) }
    }

    fn exactly_one(&mut self) -> Result<Spanned<String>, ParseError> {
        match self.args.pop() {
            Some(arg) if self.args.is_empty() => Ok(arg),
            _ => Err(self.wrong_arguments("exactly one argument")),
        }
    }

    /// Refuses flags that the instruction has not, and those that stand twice.
    fn check_flags(&self) -> Result<(), ParseError> {
        let known = self.keyword.flags();
        let mut seen = Vec::new();
        for flag in &self.flags {
            let at = Spanned::new((), flag.span);
            let Some((name, kind)) = known.iter().find(|(name, _)| *name == flag.name) else {
                let instruction = self.keyword.name();
                let near = suggest::nearest(&flag.name, known.iter().map(|(name, _)| *name));
                let hint = match near {
                    Some(near) => Some(format!("did you mean `--{near}`?")),
                    None if known.is_empty() => Some(format!("{instruction} takes no flags")),
                    None => None,
                };
                let kind = ErrorKind::UnknownFlag { instruction, flag: abbreviated(&flag.name) };
                return Err(self.error(&at, kind).with_hint(hint));
            };
            if *kind != FlagKind::List && seen.contains(name) {
                return Err(self.error(&at, ErrorKind::DuplicateFlag((*name).to_owned())));
            }
            seen.push(*name);
        }
        Ok(())
    }

    fn value(&self, name: &str) -> Result<Option<Spanned<String>>, ParseError> {
        self.list(name).map(|values| values.into_iter().next())
    }

    fn list(&self, name: &str) -> Result<Vec<Spanned<String>>, ParseError> {
        let flags = self.flags.iter().filter(|flag| flag.name == name);
        flags
            .map(|flag| match &flag.value {
                Some(value) => Ok(Spanned::new(value.clone(), flag.span)),
                None => {
                    let kind = ErrorKind::MissingFlagValue(name.to_owned());
                    let hint = Some(format!("write `--{name}=VALUE`"));
                    Err(self.error(&Spanned::new((), flag.span), kind).with_hint(hint))
                }
            })
            .collect()
    }

    fn switch(&self, name: &str) -> Result<Option<bool>, ParseError> {
        let Some(flag) = self.flags.iter().find(|flag| flag.name == name) else { return Ok(None) };
        match &flag.value {
            None => Ok(Some(true)),
            Some(value) if value.eq_ignore_ascii_case("true") => Ok(Some(true)),
            Some(value) if value.eq_ignore_ascii_case("false") => Ok(Some(false)),
            Some(value) => {
                let value = Spanned::new(value.clone(), flag.span);
                Err(self.invalid_value(name, &value, "it must be true or false"))
            }
        }
    }

    fn duration(&self, name: &str) -> Result<Option<Duration>, ParseError> {
        let Some(value) = self.value(name)? else { return Ok(None) };
        match duration::duration(&value) {
            Some(duration) if duration.is_zero() || duration >= SHORTEST => Ok(Some(duration)),
            Some(_) => Err(self.invalid_value(name, &value, "it cannot be less than 1ms")),
            None => Err(self.invalid_value(name, &value, "it must be a duration such as 30s or 1m30s")),
        }
    }

    fn invalid_value(&self, flag: &str, value: &Spanned<String>, reason: &str) -> ParseError {
        let (flag, reason) = (flag.to_owned(), reason.to_owned());
        self.error(value, ErrorKind::InvalidFlagValue { flag, value: abbreviated(value), reason })
    }

    fn wrong_arguments(&self, expected: &'static str) -> ParseError {
        self.error(&self.name, ErrorKind::WrongArguments { instruction: self.keyword.name(), expected })
    }

    fn error<T>(&self, place: &Spanned<T>, kind: ErrorKind) -> ParseError {
        ParseError::new(self.source, place.span, kind)
    }
}

/// Letters, digits, `-`, `_` and `.`, a letter first.
fn is_stage_name(name: &str) -> bool {
    name.starts_with(|char: char| char.is_ascii_alphabetic())
        && name.chars().all(|char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_' | '.'))
}
