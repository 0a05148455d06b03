//! Instructions that change the image's configuration and nothing else.

use super::{
    budget,
    error::{PlanError, Problem},
    history,
    ports::Ports,
    shell,
    stage::{Builder, State, values},
    stages::Task,
};
use crate::{
    dockerfile::{self, Command, HealthcheckOptions, Instruction, Pair, Spanned},
    image::{Healthcheck, ProcessConfig},
    lint::{self, Rule},
};

impl Builder<'_, '_> {
    /// An instruction that makes no step.
    pub(super) fn configure(&mut self, state: &mut State, task: &Task<'_>) -> Result<(), PlanError> {
        match &task.statement.instruction {
            Instruction::Env(env) => self.env(state, task, env),
            Instruction::Label(label) => self.label(state, task, label),
            Instruction::Expose(expose) => self.expose(state, task, expose),
            Instruction::Volume(volume) => self.volume(state, task, volume),
            Instruction::User(user) => {
                let user = self.one(state, task, user)?;
                state.note(format!("USER {user}"), None);
                state.built.config.config.user = user;
                Ok(())
            }
            Instruction::StopSignal(word) => {
                let signal = self.one(state, task, word)?;
                stop_signal(&mut state.built.config.config, &signal)
                    .map_err(|problem| problem.at(task.span(word.span)))?;
                state.note(format!("STOPSIGNAL {signal}"), None);
                Ok(())
            }
            Instruction::Cmd(command) => {
                let args = self.command(state, task, command);
                state.note(format!("CMD {}", history::quoted(&args)), None);
                let config = &mut state.built.config.config;
                config.cmd = args;
                // Docker says so of every CMD that it sets; it means something on Windows alone.
                config.args_escaped = true;
                state.cmd_is_own = true;
                Ok(())
            }
            Instruction::Entrypoint(command) => {
                let args = self.command(state, task, command);
                state.note(format!("ENTRYPOINT {}", history::quoted(&args)), None);
                let config = &mut state.built.config.config;
                config.entrypoint = args;
                // The base image's CMD was meant for the base image's ENTRYPOINT.
                if !state.cmd_is_own {
                    config.cmd.clear();
                }
                Ok(())
            }
            Instruction::Healthcheck(check) => {
                let check = match check {
                    dockerfile::Healthcheck::None => {
                        Healthcheck { test: vec!["NONE".to_owned()], ..Healthcheck::default() }
                    }
                    dockerfile::Healthcheck::Cmd(command, options) => {
                        let test = match command {
                            Command::Shell(line) => vec!["CMD-SHELL".to_owned(), line.value.clone()],
                            Command::Exec(args) => ["CMD".to_owned()].into_iter().chain(values(args)).collect(),
                        };
                        healthcheck(test, options)
                    }
                };
                state.note(format!("HEALTHCHECK {}", history::healthcheck(&check)), None);
                state.built.config.config.healthcheck = Some(check);
                Ok(())
            }
            Instruction::Shell(shell) => {
                let shell = values(&shell.arguments);
                state.note(format!("SHELL {}", history::listed(&shell)), None);
                state.built.config.config.shell = shell;
                Ok(())
            }
            Instruction::Onbuild(onbuild) => {
                // It leaves no entry in the history: it has not happened yet.
                state.built.config.config.on_build.push(onbuild.trigger.clone());
                Ok(())
            }
            Instruction::Maintainer(name) => {
                state.note(format!("MAINTAINER {}", name.value), None);
                state.built.config.author = Some(name.value.clone());
                Ok(())
            }
            Instruction::From(_)
            | Instruction::Arg(_)
            | Instruction::Run(_)
            | Instruction::Copy(_)
            | Instruction::Add(_)
            | Instruction::Workdir(_) => Ok(()),
        }
    }

    /// Every value of one `ENV` sees the variables as they were before it.
    fn env(&self, state: &mut State, task: &Task<'_>, env: &dockerfile::Env) -> Result<(), PlanError> {
        let pairs = self.pairs(state, task, &env.pairs)?;
        self.check_legacy(task, "ENV", env.legacy);
        let mut shown = "ENV".to_owned();
        for (pair, (key, value)) in env.pairs.iter().zip(&pairs) {
            if task.place.is_none() {
                lint::text::secret(&task.statement, "ENV", &pair.key, self.shared.request.lint);
            }
            shown.push_str(&format!(" {key}={value}"));
            state.set_env(key, value);
        }
        let count = state.built.config.config.env.len() + state.built.scope.count();
        budget::variables(count).map_err(|problem| problem.at(task.span(task.statement.span)))?;
        state.note(shown, None);
        Ok(())
    }

    fn label(&self, state: &mut State, task: &Task<'_>, label: &dockerfile::Label) -> Result<(), PlanError> {
        let pairs = self.pairs(state, task, &label.pairs)?;
        self.check_legacy(task, "LABEL", label.legacy);
        let mut shown = "LABEL".to_owned();
        for (key, value) in pairs {
            shown.push_str(&format!(" {key}={value}"));
            state.built.config.config.labels.insert(key, value);
        }
        state.note(shown, None);
        Ok(())
    }

    fn expose(&self, state: &mut State, task: &Task<'_>, expose: &dockerfile::Expose) -> Result<(), PlanError> {
        let expected = "a port such as 80, 80/udp or 8000-8010";
        let words = self.words(state, task);
        let mut parsed = Vec::new();
        // Docker takes them in the order of their text.
        let mut sorted: Vec<_> = expose.ports.iter().collect();
        sorted.sort_by(|a, b| a.value.cmp(&b.value));
        for word in sorted {
            for port in words.split(word)? {
                let span = task.span(word.span);
                let ports =
                    Ports::parse(&port).ok_or_else(|| Problem::Value { value: port.clone(), expected }.at(span))?;
                self.shared.budget.spend(ports.count() * 64).map_err(|problem| problem.at(span))?;
                if ports.capitals {
                    self.report(Rule::ExposeProtoCasing, task, word.span, || {
                        format!("the protocol of `{port}` should be written in small letters")
                    });
                }
                if ports.names_host {
                    self.report(Rule::ExposeInvalidFormat, task, word.span, || {
                        format!("EXPOSE should name a port of the container alone, and not as in `{port}`")
                    });
                }
                parsed.push(ports);
            }
        }
        self.undefined(state, task, words);
        let entries: Vec<String> = parsed.iter().flat_map(Ports::entries).collect();
        state.note(format!("EXPOSE {}", history::listed(&entries)), None);
        state.built.config.config.exposed_ports.extend(entries);
        Ok(())
    }

    fn volume(&self, state: &mut State, task: &Task<'_>, volume: &dockerfile::Volume) -> Result<(), PlanError> {
        let words = self.words(state, task);
        let mut paths = Vec::new();
        for word in &volume.paths {
            let path = words.word(word)?;
            if path.is_empty() {
                return Err(Problem::Value { value: path, expected: "a path" }.at(task.span(word.span)));
            }
            paths.push(path);
        }
        self.undefined(state, task, words);
        state.note(format!("VOLUME {}", history::listed(&paths)), None);
        state.built.config.config.volumes.extend(paths);
        Ok(())
    }

    /// `CMD` and `ENTRYPOINT`; a shell form without a line is one all the same.
    fn command(&self, state: &State, task: &Task<'_>, command: &Command) -> Vec<String> {
        let shell = &state.built.config.config.shell;
        match command {
            Command::Exec(args) => values(args),
            Command::Shell(line) => {
                if shell.is_empty() {
                    let name = task.statement.instruction.name();
                    self.report(Rule::JSONArgsRecommended, task, line.span, || {
                        format!("{name} in JSON form lets the program receive signals; this one is run by a shell")
                    });
                }
                shell::with_shell(shell, line)
            }
        }
    }

    fn one(&self, state: &State, task: &Task<'_>, word: &Spanned<String>) -> Result<String, PlanError> {
        let words = self.words(state, task);
        let value = words.word(word)?;
        self.undefined(state, task, words);
        Ok(value)
    }

    fn pairs(&self, state: &State, task: &Task<'_>, pairs: &[Pair]) -> Result<Vec<(String, String)>, PlanError> {
        let words = self.words(state, task);
        let pairs = pairs.iter().map(|pair| Ok((words.word(&pair.key)?, words.word(&pair.value)?)));
        let pairs = pairs.collect::<Result<_, PlanError>>()?;
        self.undefined(state, task, words);
        Ok(pairs)
    }

    fn check_legacy(&self, task: &Task<'_>, name: &str, legacy: bool) {
        if legacy {
            self.report(Rule::LegacyKeyValueFormat, task, task.statement.keyword.span, || {
                format!("`{name} key=value` should be written in place of `{name} key value`")
            });
        }
    }
}

/// `STOPSIGNAL`: a number or a name that Linux has.
fn stop_signal(config: &mut ProcessConfig, signal: &str) -> Result<(), Problem> {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM",
        "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF",
        "WINCH", "IO", "PWR", "SYS",
    ];
    let upper = signal.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    // Docker takes any number but 0, and leaves the rest to the runtime.
    let is_number = signal.parse::<u32>().is_ok_and(|number| number > 0 && signal.starts_with(|c: char| c != '+'));
    let real_time = name.strip_prefix("RTMIN").or_else(|| name.strip_prefix("RTMAX"));
    let is_real_time = real_time.is_some_and(|offset| {
        offset.is_empty() || offset.strip_prefix(['+', '-']).is_some_and(|number| number.parse::<u8>().is_ok())
    });
    if !is_number && !NAMES.contains(&name) && !is_real_time && !matches!(name, "IOT" | "POLL" | "CLD") {
        return Err(Problem::Value { value: signal.to_owned(), expected: "a signal such as SIGTERM or 15" });
    }
    config.stop_signal = Some(signal.to_owned());
    Ok(())
}

/// `HEALTHCHECK CMD`; what the options leave out is the runtime's default.
fn healthcheck(test: Vec<String>, options: &HealthcheckOptions) -> Healthcheck {
    let nanoseconds = |duration: Option<std::time::Duration>| {
        duration.map_or(0, |duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
    };
    Healthcheck {
        test,
        interval: nanoseconds(options.interval),
        timeout: nanoseconds(options.timeout),
        start_period: nanoseconds(options.start_period),
        start_interval: nanoseconds(options.start_interval),
        retries: options.retries.map_or(0, i64::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_signals_are_names_or_numbers_that_linux_has() {
        for (signal, valid) in [
            ("SIGTERM", true),
            ("term", true),
            ("9", true),
            ("SIGRTMIN+3", true),
            ("SIGRTMAX", true),
            ("0", false),
            ("65", true),
            ("+9", false),
            ("-9", false),
            ("SIGNOPE", false),
            ("", false),
        ] {
            let result = stop_signal(&mut ProcessConfig::default(), signal);
            assert_eq!(result.is_ok(), valid, "STOPSIGNAL {signal}");
        }
    }
}
