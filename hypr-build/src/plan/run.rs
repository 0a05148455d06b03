//! `RUN`: command line, environment and network of its process.

use std::collections::BTreeSet;

use super::{
    error::{PlanError, Problem},
    graph::{Mount, Operation, Run, Script},
    mount::{self, Options},
    shell,
    stage::{Builder, State, values},
    stages::Task,
    variables::{BuildArgs, Scope, is_proxy},
};
use crate::{
    dockerfile::{self, Script as Written},
    executor::Network,
    image::ProcessConfig,
    ssh::SSH_AUTH_SOCK,
};

impl Builder<'_, '_> {
    pub(super) fn run(
        &mut self,
        stage: usize,
        state: &mut State,
        task: &Task<'_>,
        run: &dockerfile::Run,
    ) -> Result<(), PlanError> {
        if let Some(device) = run.devices.first() {
            let message = "--device is refused: no sandbox of this version gives a step a device of the host";
            return Err(Problem::NotAllowed(message.to_owned()).at(task.span(device.span)));
        }
        let words = self.words(state, task);
        if let Some(security) = &run.security {
            match words.word(security)?.as_str() {
                "sandbox" => {}
                "insecure" => {
                    let message = "--security=insecure is refused: no sandbox of this version can grant it";
                    return Err(Problem::NotAllowed(message.to_owned()).at(task.span(security.span)));
                }
                _ => {
                    let expected = "sandbox or insecure";
                    return Err(Problem::Value { value: security.value.clone(), expected }.at(task.span(security.span)));
                }
            }
        }
        let given = self.shared.request.network;
        let network = match &run.network {
            None => given,
            Some(word) => match words.word(word)?.as_str() {
                "default" => given,
                "none" => Network::None,
                "host" if given == Network::Host => Network::Host,
                "host" => {
                    let message = "--network=host is not allowed; allow it with `hypr build --network host`";
                    return Err(Problem::NotAllowed(message.to_owned()).at(task.span(word.span)));
                }
                _ => {
                    let expected = "default, none or host";
                    return Err(Problem::Value { value: word.value.clone(), expected }.at(task.span(word.span)));
                }
            },
        };
        let cwd = working_directory(&state.built.config.config);
        let mut mounts = Vec::new();
        for word in &run.mounts {
            let place = |error: PlanError| PlanError { span: error.span.map(|span| task.span(span)), ..error };
            let options = Options::read(word).map_err(place)?;
            let from = options.from().map_err(place)?;
            let from = from.map(|from| self.source(stage, from, task.span(word.span))).transpose()?;
            let sockets = mounts.iter().filter(|mount: &&Mount| mount.is_ssh()).count();
            mounts.push(options.mount(&words, &cwd, from, sockets).map_err(place)?);
        }
        let agent = mounts.iter().find(|mount| mount.is_ssh()).map(|mount| mount.target.clone());
        mount::sort(&mut mounts);
        self.undefined(state, task, words);
        let config = &state.built.config.config;
        let (args, script) = match run.script() {
            Written::Shell(line) => (shell::with_shell(&config.shell, &line), None),
            Written::Exec(args) => (values(args), None),
            Written::File { name, text } => {
                let path = format!("/dev/pipes/{name}");
                (vec![path.clone()], Some(Script { path, text: text.into_owned() }))
            }
        };
        let Environment { keyed: env, unkeyed } =
            environment(&config.env, &state.built.scope, self.shared.request.args, agent);
        // As docker shows them: every declared argument once, with the value that the process sees.
        let shown =
            state.built.scope.names().map(|name| format!("{name}={}", state.variable(name).unwrap_or_default()));
        let arguments: Vec<String> = shown.collect();
        let command = args.join(" ");
        let text = match arguments.len() {
            0 => format!("RUN {command}"),
            count => format!("RUN |{count} {} {command}", arguments.join(" ")),
        };
        let run = Run {
            args,
            script,
            env,
            unkeyed,
            cwd,
            user: config.user.clone(),
            network,
            mounts,
            command: task.statement.text.clone(),
        };
        self.step(state, task, text, Operation::Run(run))
    }
}

fn working_directory(config: &ProcessConfig) -> String {
    if config.working_dir.is_empty() { "/".to_owned() } else { config.working_dir.clone() }
}

/// The variables of a process.
struct Environment {
    keyed: Vec<(String, String)>,
    /// Proxies that the Dockerfile does not declare, which no key holds.
    unkeyed: Vec<(String, String)>,
}

/// A `RUN`'s environment: the image's variables, but arguments that were declared after them; the other arguments, a
/// search path, the proxies that were given, declared or not, and where the first SSH agent is.
fn environment(image: &[String], scope: &Scope, given: &BuildArgs, agent: Option<String>) -> Environment {
    let mut environment = Environment { keyed: Vec::new(), unkeyed: Vec::new() };
    let mut seen = BTreeSet::new();
    let mut set = |list: &mut Vec<(String, String)>, name: &str, value: &str| {
        if seen.insert(name.to_owned()) {
            list.push((name.to_owned(), value.to_owned()));
        }
    };
    for (name, value) in image.iter().filter_map(|entry| entry.split_once('=')) {
        if scope.visible(name).is_none() {
            set(&mut environment.keyed, name, value);
        }
    }
    for (name, value) in scope.args() {
        set(&mut environment.keyed, name, value);
    }
    set(&mut environment.keyed, "PATH", shell::DEFAULT_PATH);
    for (name, value) in given.iter().filter(|(name, _)| is_proxy(name)) {
        set(&mut environment.unkeyed, name, value);
    }
    if let Some(agent) = agent {
        set(&mut environment.keyed, SSH_AUTH_SOCK, &agent);
    }
    environment
}
